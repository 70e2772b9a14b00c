#!/bin/sh
# SPDX-License-Identifier: MIT
# Damaged, cut and wrong input: every tool that reads streams says so in one
# line, ends with status 3 and leaves no output. All cuts and all bits are tried
# on the reader itself (tests/unit/stream.c); here samples of them on each tool, with
# FAULTS=1 (make test-faults) each byte.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH

for k in examples batch metrics predictions; do
	sample -n 9 --per 4 -o $k.pts $k
	sample -n 9 --per 4 -z -o $k.zst $k
done

# refused FILE [WORDS]: by each tool as an operand, by some from a pipe. $k is the kind it should be.
refused() {
	for tool in peft-cat 'peft-head -n 1000' peft-check 'peft-view --json' "peft-cmp ${k:-examples}.pts" \
		'cat | peft-cat' 'cat | peft-view'; do
		rc=0
		rm -f out.pts
		name=${tool#cat | }
		case $tool in
		cat*cat|cat*head*) sh -c "cat $1 | $name -o out.pts" ;;
		cat*) sh -c "cat $1 | $name" ;;
		peft-cat|peft-head*) $tool -o out.pts "$1" ;;
		*) $tool "$1" ;;
		esac >shown 2>err || rc=$?
		[ $rc -eq 3 ] && [ "$(wc -l <err)" -eq 1 ] && [ ! -e out.pts ] && grep -q "^${name%% *}: [^ ].*: ." err &&
			{ [ -z "$2" ] || grep -q "$2" err; } && continue
		echo "$tool of $1: status $rc, says:"
		cat err
		return 1
	done
	[ -z "$(ls -A | grep tmp)" ]
}

# places SIZE PLACE...: these, or all.
places() {
	[ -z "$FAULTS" ] || set -- "$1" $(awk "BEGIN { for (i = 0; i < $1; i++) print i }")
	shift
	echo "$@"
}

# cut FILE BYTES, flip FILE BYTE: into a file named "bad".
cut_at() {
	head -c "$2" "$1" >bad
}
flip() {
	v=$(tail -c +$(($2 + 1)) "$1" | head -c 1 | od -An -tu1)
	{ head -c "$2" "$1"; printf "\\$(printf %o $((v ^ 1 << $2 % 8)))"; tail -c +$(($2 + 2)) "$1"; } >bad
}

test_that 'whole files are taken by each' '
	for f in *.pts *.zst; do
		peft-cat -o out $f
		peft-head -n 1000 -o out $f
		peft-check $f
		peft-view $f >/dev/null
		peft-cmp $f $f
	done'
for k in examples batch; do
	export k
	test_that "$k: cuts are refused" '
		for f in $k.pts $k.zst; do
			size=$(wc -c <$f)
			for at in $(places $size 1 9 30 $((size / 3)) $((size / 2)) $((size - 64)) $((size - 1))); do
				cut_at $f $at
				refused bad
			done
		done'
	test_that "$k: flipped bits are refused" '
		size=$(wc -c <$k.pts)
		for at in $(places $size 0 8 100 $((size / 4)) $((size / 2)) $((size - 17)) $((size - 1))); do
			flip $k.pts $at
			refused bad
		done'
	test_that "$k: flipped bits of compressed streams are refused" '
		peft-cat $k.zst >$k.plain
		size=$(wc -c <$k.zst)
		for at in $(places $size 0 9 50 $((size / 3)) $((size / 2)) $((size - 3))); do
			flip $k.zst $at
			# Some bits a frame does not feel.
			peft-cat <bad 2>/dev/null | cmp -s - $k.plain || refused bad
		done'
done
k=examples
test_that 'a cut between two records names the missing END' '
	at=64 found=0 size=$(wc -c <examples.pts)
	while [ $at -lt $size ]; do
		cut_at examples.pts $at
		if read_stream <bad 2>&1 | grep "no END"; then
			refused bad "no END"
			found=$((found + 1))
		fi
		at=$((at + 64))
	done
	test $found -eq 4	# behind HEAD and three records'
test_that 'an empty input is named' '
	: >bad
	refused bad "empty input"'
test_that 'what follows the end is refused' '
	{ cat examples.pts; printf x; } >bad
	refused bad
	{ cat examples.pts; head -c 64 /dev/zero; } >bad
	refused bad
	{ cat examples.pts; cat examples.pts | head -c 500; } >bad
	refused bad'
test_that 'wrong input is named for what it is' '
	gzip -c examples.pts >bad
	refused bad "gzip data"
	printf "\200\004\225\036\000\000\000\000\000\000\000}q" >bad
	refused bad "a Python pickle"
	printf "PK\003\004aaaaaaaaaaaaaaaaaaaaaaaaaaa" >bad
	refused bad "a zip archive (perhaps a PyTorch .bin)"
	printf "GGUF\003\000\000\000\000\000\000\000\000\000\000\000" >bad
	refused bad "this is GGUF"
	printf "Some text,\nin two lines.\n" >bad
	refused bad "this is text, not a tensor stream; make a stream of it with peft-tokenize"
	printf "{\"text\": \"a review\", \"label\": 1}\n" >bad
	refused bad "this is JSON"
	head -c 300 /dev/zero >bad
	refused bad "unknown data"'
test_that 'a bare safetensors file is an operand of those who look, and of no filter' '
	sample -o bare.safetensors bare
	peft-check bare.safetensors | grep "bare.safetensors: ok: safetensors, 4 tensors, 84 bytes"
	peft-view bare.safetensors | grep "^layer.weight  F32\[3,4\]"
	peft-cmp bare.safetensors bare.safetensors
	for t in peft-cat peft-head; do
		exits 3 $t -o no.pts bare.safetensors 2>err
		grep "^$t: bare.safetensors: this is a safetensors file without stream records, not a tensor stream" err
	done
	cat bare.safetensors | exits 3 peft-check 2>err
	grep "a safetensors file without stream records" err
	test ! -e no.pts'
test_that 'a damaged safetensors file is said to be one' '
	size=$(wc -c <bare.safetensors)
	for at in $((size - 1)) 300 100 20; do
		cut_at bare.safetensors $at
		for t in peft-check peft-view; do
			exits 3 $t bad 2>err
			grep "^$t: bad: the file is cut short" err
		done
	done
	{ cat bare.safetensors; printf x; } >bad
	exits 3 peft-check bad 2>err
	grep "bytes follow the last tensor" err
	sed "s/\"half\"/\"haXf\"/; s/\[3,4\]/[3,5]/" bare.safetensors >bad
	exits 3 peft-view bad 2>err
	grep "offsets of layer.weight do not fit its shape" err'
test_that 'what was good before the damage is shown' '
	cut_at examples.pts $(($(wc -c <examples.pts) - 700))
	exits 3 peft-view --tsv bad >shown 2>err
	test "$(wc -l <shown)" -ge 9'
test_done
