#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-tokenize: archives, compressed files, TSV, the class from the path.
. "$(dirname "$0")/lib.sh"
require tar gzip
M=$DATA/examples/base
export M

# The layout of aclImdb_v1.tar.gz.
imdb() {
	mkdir -p aclImdb/train/pos aclImdb/train/neg aclImdb/train/unsup aclImdb/test/pos
	echo 'The text of the readme.' >aclImdb/README
	echo 'the and a' >aclImdb/imdb.vocab
	echo '9 0:9 1:1' >aclImdb/train/labeledBow.feat
	echo 'http://example.org' >aclImdb/train/urls_pos.txt
	printf 'The lamp works.' >aclImdb/train/pos/0_9.txt
	printf 'I would buy the lamp again.\n\nReally.' >aclImdb/train/pos/1_7.txt
	printf 'The lamp broke.' >aclImdb/train/neg/0_3.txt
	printf 'A lamp.' >aclImdb/train/unsup/0_0.txt
	printf 'The fan works.' >aclImdb/test/pos/0_10.txt
	tar cf imdb.tar aclImdb/README aclImdb/imdb.vocab aclImdb/train/labeledBow.feat aclImdb/train/urls_pos.txt \
		aclImdb/train/unsup aclImdb/train/pos/1_7.txt aclImdb/train/pos/0_9.txt aclImdb/train/neg aclImdb/test
	gzip -c imdb.tar >imdb.tar.gz
}
imdb

# The examples, without HEAD and END; bare: without where they came from
rows() {
	peft-view --json "$@" | grep "^{\"index\""
}
bare() {
	rows "$@" | sed "s/\"source\":[0-9]*,\"row\":[0-9]*//"
}

test_that 'a class from the path, in the order of the archive' '
	peft-tokenize -m "$M" --whole --path "aclImdb/train/{label:neg|pos}/*.txt" -o a.pts imdb.tar.gz
	peft-view a.pts | grep "labels *\[\"neg\",\"pos\"\]"
	rows a.pts | grep -c . | grep -x 3
	rows a.pts | sed "s/.*\"source\"/source/" | tee got
	diff - got <<-"END"
	source:0,"row":1,"label":"pos"}
	source:1,"row":1,"label":"pos"}
	source:2,"row":1,"label":"neg"}
	END
	# The same texts as JSON lines, in that order.
	cat >same.jsonl <<-"END"
	{"text":"I would buy the lamp again.\n\nReally.","label":"pos"}
	{"text":"The lamp works.","label":"pos"}
	{"text":"The lamp broke.","label":"neg"}
	END
	peft-tokenize -m "$M" -o same.pts same.jsonl
	bare a.pts >want
	bare same.pts | cmp - want'
test_that 'the same archive, compressed or not, from a file or a pipe' '
	for f in imdb.tar imdb.tar.gz; do
		peft-tokenize -m "$M" --whole --labels neg,pos --path "train/{label:neg|pos}/*" $f | rows - >$f.json
		peft-tokenize -m "$M" --whole --labels neg,pos --path "train/{label:neg|pos}/*" <$f | rows - | cmp - $f.json
		cat $f | peft-tokenize -m "$M" --whole --labels neg,pos --path "train/{label:neg|pos}/*" | rows - | cmp - $f.json
	done
	cmp imdb.tar.json imdb.tar.gz.json
	cat imdb.tar.gz | exits 2 peft-tokenize -m "$M" --whole --path "train/{label}/*" -o x.pts 2>err
	grep "cannot be read twice" err'
test_that 'the same files, not in an archive' '
	peft-tokenize -m "$M" --whole --path "train/{label:neg|pos}/*.txt" -o b.pts aclImdb/train/pos/1_7.txt aclImdb/train/pos/0_9.txt aclImdb/train/neg/0_3.txt
	rows a.pts >a.json
	rows b.pts | cmp - a.json
	exits 2 peft-tokenize -m "$M" --path "train/{label:neg|pos}/*.txt" -o x.pts aclImdb/train/pos/1_7.txt aclImdb/train/unsup/0_0.txt 2>err
	grep "aclImdb/train/unsup/0_0.txt: does not match --path" err
	test ! -e x.pts'
test_that 'a class that is not in the list, and no class' '
	exits 3 peft-tokenize -m "$M" --labels neg,pos --path "train/{label}/*.txt" -o x.pts imdb.tar.gz 2>err
	grep "imdb.tar.gz:aclImdb/train/unsup/0_0.txt:1: unknown label .unsup.; known: neg, pos" err
	exits 3 peft-tokenize -m "$M" --path "validation/{label}/*.txt" -o x.pts imdb.tar.gz 2>err
	grep "imdb.tar.gz: no member matches --path; the first is aclImdb/README" err
	test ! -e x.pts'
test_that 'a rating from the path is a number' '
	peft-tokenize -m "$M" --task regression --whole --path "train/pos/*_{label}.txt" imdb.tar.gz | rows - >r.json
	grep -c "\"target\":\[7" r.json | grep -x 1
	grep -c "\"target\":\[9" r.json | grep -x 1'
test_that 'JSON lines in an archive, and one compressed' '
	cp "$DATA/examples/train.jsonl" train.jsonl
	peft-tokenize -m "$M" train.jsonl | rows - >want
	tar czf lines.tgz train.jsonl
	peft-tokenize -m "$M" lines.tgz | rows - | cmp - want
	gzip -k train.jsonl
	peft-tokenize -m "$M" train.jsonl.gz | rows - | cmp - want
	zcat train.jsonl.gz | gzip | peft-tokenize -m "$M" --labels bad,good | rows - | cmp - want'
test_that 'an archive that is cut gives no stream' '
	# without the marker at its end
	size=$(tar cf - --blocking-factor=1 aclImdb | wc -c)
	tar cf - --blocking-factor=1 aclImdb | head -c $((size - 1024)) | gzip >cut.tgz
	exits 3 peft-tokenize -m "$M" --task lm -o x.pts cut.tgz 2>err
	grep "cut.tgz: the tar archive is cut short" err
	head -c 200 imdb.tar.gz >cut.tgz
	exits 3 peft-tokenize -m "$M" --task lm -o x.pts cut.tgz 2>err
	grep "cut.tgz: the gzip data is cut short" err
	test ! -e x.pts'
test_that 'links are refused, and a bomb' '
	ln -s /etc/passwd aclImdb/train/pos/2_8.txt
	tar czf link.tgz aclImdb
	rm aclImdb/train/pos/2_8.txt
	exits 3 peft-tokenize -m "$M" --path "pos/*.txt" -o x.pts link.tgz 2>err
	grep "aclImdb/train/pos/2_8.txt. is a symbolic link" err
	peft-tokenize -m "$M" --task lm --path "neg/*.txt" -o ok.pts link.tgz
	exits 3 peft-tokenize -m "$M" --task lm --path "neg/*.txt" --unpacked 5k -o y.pts link.tgz 2>err
	grep "unpack to more than 5000" err
	test ! -e y.pts'
test_that 'the directory that the shell packs' '
	tar c aclImdb/train/pos | peft-tokenize -m "$M" --task lm --whole -o p.pts
	rows p.pts | grep -c . | grep -x 2'

test_that 'what is no text is named, with a cure' '
	printf "{\"text\":\"a\"}\n" | sed "s/./&\x00/g; 1s/^/\xff\xfe/" >wide.jsonl
	exits 3 peft-tokenize -m "$M" -o x.pts wide.jsonl 2>err
	grep -x "peft-tokenize: wide.jsonl: this is UTF-16, not text; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it" err
	tar cf nested.tar imdb.tar
	exits 3 peft-tokenize -m "$M" -o x.pts nested.tar 2>err
	grep "nested.tar:imdb.tar: this is a tar archive, not text; unpack it first" err
	for name in e.tar e.tgz e.zip e.txt.xz; do
		: >$name
		exits 3 peft-tokenize -m "$M" -o x.pts $name 2>err
		grep -x "peft-tokenize: $name: is empty" err
	done
	test ! -e x.pts'
test_that 'a class with a control character, which no table could show' '
	printf "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"a\",\"label\":\"x\\\\ty\"}\n" >odd.jsonl
	exits 3 peft-tokenize -m "$M" -o x.pts odd.jsonl 2>err
	grep -x "peft-tokenize: odd.jsonl:2: label .x.x09y. has a control character" err
	peft-tokenize -m "$M" --skip-bad -o x.pts odd.jsonl 2>err
	rows x.pts | grep -c . | grep -x 1
	rm x.pts
	exits 2 peft-tokenize -m "$M" --labels "x,$(printf "x\ty")" -o x.pts odd.jsonl
	mkdir -p "odd/x$(printf "\t")y"
	echo a >"odd/x$(printf "\t")y/1.txt"
	exits 3 peft-tokenize -m "$M" --path "odd/{label}/*" -o x.pts odd/*/1.txt
	tar cf odd.tar odd
	exits 3 peft-tokenize -m "$M" --path "odd/{label}/*" -o x.pts odd.tar 2>err
	grep "odd/x.x09y/1.txt. is of a name with control characters" err
	test ! -e x.pts'

tab=$(printf '\t')
export tab
test_that 'TSV by the names of its header' '
	sed "s/|/$tab/g" >t.tsv <<-"END"
	id|sentence|label
	0|The "lamp" works.|good

	1|The lamp broke.|bad
	END
	sed "s/$/\r/" t.tsv >crlf.tsv
	cat >t.jsonl <<-"END"
	{"text":"The \"lamp\" works.","label":"good"}

	{"text":"The lamp broke.","label":"bad"}
	END
	peft-tokenize -m "$M" t.jsonl | bare - >want
	peft-tokenize -m "$M" t.tsv | bare - | cmp - want
	peft-tokenize -m "$M" crlf.tsv | bare - | cmp - want
	tail -n +2 t.tsv >bare.tsv
	peft-tokenize -m "$M" --columns -,text,label bare.tsv | bare - | cmp - want
	peft-tokenize -m "$M" --format tsv --labels bad,good <t.tsv | bare - | cmp - want
	sed "1s/sentence/question/; 1s/label/gold_label/" t.tsv >names.tsv
	peft-tokenize -m "$M" --columns label=gold_label,text=question names.tsv | bare - | cmp - want
	exits 3 peft-tokenize -m "$M" --columns label=class -o x.pts names.tsv 2>err
	grep "names.tsv: no column .class." err
	exits 2 peft-tokenize -m "$M" --columns label=gold_label,text -o x.pts names.tsv 2>err
	# numbers
	printf "text\tlabel\tweight\nThe lamp.\t0.5\t2\n" >n.tsv
	peft-tokenize -m "$M" n.tsv | rows - | grep "\"target\":\[0.5\]" | grep "\"weight\":2"'
test_that 'TSV that is wrong' '
	printf "text\tla\377bel\na\tgood\n" >w.tsv
	exits 3 peft-tokenize -m "$M" --replace -o x.pts w.tsv 2>err
	grep "w.tsv:1: names of columns with invalid UTF-8" err
	{ head -c 600 /dev/zero | tr "\0" a; printf "\ttext\tla\0bel\nx\ta\tgood\n"; } >w.tsv
	exits 3 peft-tokenize -m "$M" -o x.pts w.tsv 2>err
	grep "w.tsv:1: names of columns with NUL" err
	printf "text\tlabel\na\tgood\nb\tbad\tmore\n" >w.tsv
	exits 3 peft-tokenize -m "$M" -o x.pts w.tsv 2>err
	grep "w.tsv:3: 3 fields, the header has 2" err
	printf "text\tlabel\na\tgood\nb\n" >w.tsv
	exits 3 peft-tokenize -m "$M" -o x.pts w.tsv 2>err
	grep "w.tsv:3: 1 fields, the header has 2" err
	printf "content\tlabel\na\tgood\n" >w.tsv
	exits 3 peft-tokenize -m "$M" -o x.pts w.tsv 2>err
	grep "w.tsv:2: none of" err
	printf "text\ttext\na\tgood\n" >w.tsv
	exits 3 peft-tokenize -m "$M" -o x.pts w.tsv 2>err
	grep "w.tsv:2: two columns of \"text\"" err
	printf "text\ttext_pair\na\tb\n" >w.tsv
	exits 2 peft-tokenize -m "$M" --whole --format tsv -o x.pts w.tsv 2>err
	grep "whole is for text" err
	mkdir -p one; printf "text\tlabel\na\tgood\n" >one/w.tsv
	exits 3 peft-tokenize -m "$M" --path "{label}/w.tsv" -o x.pts one/w.tsv 2>err
	grep "one/w.tsv:2: a \"label\" in the line and one in the path" err
	test ! -e x.pts'
test_that 'CSV: fields in quotes hold commas, quotes and lines' '
	printf "id,\"text\",label\r\n0,\"The \"\"lamp\"\", it\nworks.\",good\r\n\r\n1,The lamp broke.,\"bad\"\r\n2,\"\",bad\n3,,bad\n" >t.csv
	printf "%s\n" "{\"text\":\"The \\\"lamp\\\", it\\nworks.\",\"label\":\"good\"}" "{\"text\":\"The lamp broke.\",\"label\":\"bad\"}" >t.jsonl
	peft-tokenize -m "$M" t.jsonl | bare - >want
	sed "/^[23],/d" t.csv >two.csv
	peft-tokenize -m "$M" two.csv | bare - | cmp - want
	peft-tokenize -m "$M" --format csv --labels bad,good <two.csv | bare - | cmp - want
	sed 1d two.csv >none.csv
	peft-tokenize -m "$M" --columns -,text,label none.csv | bare - | cmp - want
	# as it comes, in pieces
	{ head -c 30 two.csv; sleep 0.1; tail -c +31 two.csv; } | peft-tokenize -m "$M" --format csv --labels bad,good | bare - | cmp - want
	# the lines of a file are counted, not the records
	peft-tokenize -m "$M" two.csv | rows - | grep -o "\"row\":[0-9]*" | tr "\n" " " | grep "\"row\":2 \"row\":5"
	exits 3 peft-tokenize -m "$M" -o x.pts t.csv 2>err
	grep "^peft-tokenize: t.csv:6: .*empty" err'
test_that 'CSV that is wrong' '
	exits 2 peft-tokenize -m "$M" --columns text,label -o x.pts t.jsonl 2>err
	grep "^peft-tokenize: t.jsonl: --columns names those of TSV and CSV, and this is JSON lines" err
	while IFS="|" read -r line why; do
		printf "text,label\na,good\n$line\n" >w.csv
		exits 3 peft-tokenize -m "$M" -o x.pts w.csv 2>err
		grep "^peft-tokenize: w.csv:3: $why" err
	done <<-"END"
	a 5" disk,bad|a quote in a field that does not begin with one
	"a" b,bad|text behind the quote that closes a field
	"a,bad|a quote that is not closed
	a,b,bad|3 fields, the header has 2
	a|1 fields, the header has 2
	END
	test ! -e x.pts
	printf "\"te\"xt,label\na,good\n" >w.csv
	exits 3 peft-tokenize -m "$M" -o x.pts w.csv 2>err
	grep "^peft-tokenize: w.csv:1: text behind the quote" err'
test_done
