#!/bin/sh
# SPDX-License-Identifier: MIT
# The scripts of pipelines/ on small input: each runs, and runs again.
. "$(dirname "$0")/lib.sh"
P=$SRC/pipelines
export P

test_that 'a classifier from labelled text' '
	"$P/reviews" "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >result 2>err && status=0 || status=$?
	# The base of the examples is no BERT: its modules have other names.
	test $status -eq 2
	grep "query" err
	sed "s/--targets query,value/--targets q_proj,v_proj/" "$P/reviews" >reviews
	rm -r out
	sh reviews "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >result
	grep -E "^accuracy	" result
	peft-view --json out/predictions.pts | grep -c "\"label\"" | grep -x 8
	cp -R out before
	sh reviews "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >again
	cmp result again
	cmp before/adapter/adapter_model.safetensors out/adapter/adapter_model.safetensors'
# The layout of the published archive.
imdb_layout() {
	for part in train test; do
		mkdir -p aclImdb/$part/pos aclImdb/$part/neg
		i=0
		sed 's/.*"text": "\(.*\)", "label": "\(.*\)".*/\2 \1/' "$DATA/examples/$part.jsonl" >list
		while read -r label text; do
			case $label in good) to=pos ;; *) to=neg ;; esac
			printf '%s' "$text" >aclImdb/$part/$to/${i}_5.txt
			i=$((i + 1))
		done <list
		echo 'http://example.org' >aclImdb/$part/urls_pos.txt
		echo '9 0:9' >aclImdb/$part/labeledBow.feat
	done
	mkdir aclImdb/train/unsup
	echo 'neither good nor bad' >aclImdb/train/unsup/0_0.txt
	echo 'the' >aclImdb/imdb.vocab
	echo 'Large Movie Review Dataset' >aclImdb/README
	find aclImdb -type f | sort >list
	tar czf aclImdb_v1.tar.gz -T list
	rm -r aclImdb
}
imdb_layout

test_that 'reviews from the published archive, and a label for new sentences' '
	export TARGETS=q_proj,v_proj BATCH=4 EPOCHS=20 RATE=1e-2
	"$P/imdb" "$DATA/examples/base" aclImdb_v1.tar.gz imdb >result
	grep -E "^examples	8$" result
	peft-view --tsv imdb/log.pts >log
	awk "NR == 2 { first = \$2 } END { exit !(NR == 81 && \$2 < first / 2) }" log
	peft-view imdb/train.pts | grep "labels *\[\"neg\",\"pos\"\]"
	test "$(peft-view --tsv imdb/train.pts | sed 1d | wc -l)" -eq 16
	cp -R imdb once
	"$P/imdb" "$DATA/examples/base" aclImdb_v1.tar.gz imdb >again
	cmp result again
	cmp once/adapter/adapter_model.safetensors imdb/adapter/adapter_model.safetensors
	printf "The lamp works.\r\n\nIt broke \"at once\",\tand I am angry.\n" >new.txt
	"$P/label" "$DATA/examples/base" imdb/adapter new.txt >labels
	cat labels
	test "$(wc -l <labels)" -eq 2
	sed -n 1p labels | grep -E "^(pos|neg)	(0\.[5-9][0-9]*|1\.000)	The lamp works\.$"
	sed -n 2p labels | grep -E "^(pos|neg)	(0\.[5-9][0-9]*|1\.000)	It broke \"at once\",	and I am angry\.$"
	"$P/label" "$DATA/examples/base" imdb/adapter <new.txt | cmp - labels
	{ printf "\357\273\277\n"; cat new.txt; } >marked.txt
	"$P/label" "$DATA/examples/base" imdb/adapter marked.txt | cmp - labels
	exits 2 "$P/imdb" "$DATA/examples/base" missing.tar.gz x 2>err
	grep "published at" err'
test_that 'labels of a stream' '
	peft-tokenize -m "$DATA/examples/base" --labels bad,good -o t.pts "$DATA/examples/test.jsonl"
	peft-init -q -m "$DATA/examples/base" --task class --labels t.pts -o c
	tr -d " \n" <c/labels.json | grep -x "\[\"bad\",\"good\"\]"
	peft-tokenize -m "$DATA/examples/base" -o lm.pts "$DATA/examples/notes.txt"
	exits 2 peft-init -q -m "$DATA/examples/base" --task class --labels lm.pts -o d 2>err
	grep "has no labels" err'
test_that 'every method on the same batches' '
	BATCH=4 "$P/methods" "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" all >table 2>left
	grep -v "^#" "$P/methods.tsv" | cut -f 1 | sort >listed
	{ sed 1d table | cut -f 1; sed "s/:.*//" left; } | sort | diff listed -
	grep -E "^lora	3e-3	accuracy [01]\.?[0-9]*	928	[0-9.]+	0\.[0-9]+	$(wc -c <all/lora/adapter/adapter_model.safetensors)$" table
	BATCH=4 "$P/methods" "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" all 2>/dev/null |
	cmp - table
	printf "r2\t1e-2\t-t lora -r 2\t--warmup 2\n" >rows
	METHODS=rows "$P/methods" "$DATA/examples/base" "$DATA/examples/notes.txt" "$DATA/examples/notes.txt" text >table
	sed 1d table | grep -E "^r2	1e-2	loss [0-9.]+	"'

test_that 'the texts of the demo are the same everywhere' '
	for s in text orders; do
		awk -f "$P/demo/words.awk" -f "$P/demo/$s.awk" -v seed=7 -v n=500 >$s.jsonl
		cksum <$s.jsonl
	done >sums
	cat sums
	diff - sums <<-END
	1927740497 87234
	3353008284 86950
	END'
test_that 'the carried model knows nothing of the task, and is whole' '
	peft-check --finite "$P/demo/base"
	head -n 8 orders.jsonl >few.jsonl
	peft-generate -m "$P/demo/base" --max-tokens 24 --score few.jsonl | grep -E "^right	0$"'
test_done
