#!/bin/sh
# SPDX-License-Identifier: MIT
# --help, --version and misuse of every tool; its options against its man page.
. "$(dirname "$0")/lib.sh"

# Options in "-x --long" spelling, one a line, sorted. --[no-]x counts as --x and --no-x.
spread() {
	sed -n 's/^--\[no-\]\(.*\)/--\1\n--no-\1/p; t; p' | sort -u
}

help_options() {
	"$1" --help | sed -n '/^Options:/,$p' |
	grep -oE '^  (-[A-Za-z0-9], |    )--(\[no-\])?[a-z0-9][a-z0-9-]*' |
	tr -d ' ' | tr ',' '\n' | spread
}

# Of a page: the options that .It Fl lines list, as in ".It Fl o , Fl -output Ar FILE".
page_options() {
	awk '/^\.It Fl/ {
		for (i = 2; i <= NF; i++)
			if ($i == "Fl" && i < NF) {
				name = $(i + 1)
				gsub(/\\&/, "", name)
				print "-" name
			}
	}' "$1" | spread
}

# The helpers themselves: a difference must be seen.
cat >peft-fake <<'X'
#!/bin/sh
printf 'Usage: x\nOptions:\n  -o, --output FILE   where, --not-this\n      --[no-]fast     be fast\n  -h, --help   x\n'
X
chmod +x peft-fake
cat >page.1 <<'X'
.Bl -tag
.It Fl o , Fl -output Ar FILE
.It Fl -[no-]fast
.It Fl h , Fl -help
X
test_that 'options are found in help and page' '
	help_options ./peft-fake >a
	page_options page.1 >b
	printf "%s\n" --fast --help --no-fast --output -h -o | sort >want
	diff want a
	diff want b'

for path in "$SRC"/tools/peft-*.c; do
	[ -e "$path" ] || continue
	tool=$(basename "$path" .c)
	export tool
	test_that "$tool --help and man/$tool.1 list the same options" '
		help_options "$tool" >help.txt
		page_options "$SRC/man/$tool.1" >man.txt
		test -s help.txt
		diff help.txt man.txt'
	test_that "$tool --help, -V and misuse: status and form" '
		"$tool" --help >out 2>err
		test ! -s err
		head -n 1 out | grep "^Usage: $tool "
		"$tool" -V >out
		grep -Ex "$tool [0-9.]+" out
		exits 2 "$tool" --no-such-option >out 2>err
		test ! -s out
		test "$(wc -l <err)" -eq 2
		head -n 1 err | grep "^$tool: .*--no-such-option"
		tail -n 1 err | grep "^usage: $tool "
		exits 1 sh -c "$tool --help >/dev/full" 2>err
		grep "^$tool: " err'
	test_that "man/$tool.1 names what it documents" '
		grep -x "\.Nm $tool" "$SRC/man/$tool.1"'
done
test_that 'peft-models(7) has the table of peft-view --families' '
	peft-view --families --tsv | sed 1d | cut -f 1,3 | tr , " " | sort >is
	sed -n "s/^\.It \([a-z0-9_-]*\) Ta \([a-z0-9 -]*\) Ta .*/\1	\2/p" "$SRC/man/peft-models.7" | sort >says
	test -s is
	diff is says'
test_done
