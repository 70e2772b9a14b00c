#!/bin/sh
# SPDX-License-Identifier: MIT
# What peft-tokenize makes of words and tags, questions, sets of texts, sources
# and targets; and how peft-batch masks. tests/aux/show prints it.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH

# A WordPiece tokenizer to follow by hand: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, a..z 5..30, ##a..##z 31..56,
# ab 57, the 58, ##ing 59, "." 60.
mkdir m
{
	printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'
	for p in '' '##'; do
		for c in a b c d e f g h i j k l m n o p q r s t u v w x y z; do echo "$p$c"; done
	done
	printf 'ab\nthe\n##ing\n.\n'
} >m/vocab.txt
echo '{"do_lower_case":true,"model_max_length":32,"tokenizer_class":"BertTokenizer"}' >m/tokenizer_config.json

# gives WANT ARGS...: standard input tokenized, as show prints it.
gives() {
	want=$1
	shift
	peft-tokenize "$@" >got.pts
	show got.pts >got
	printf '%b' "$want" | diff - got
}

# head_has KEY TEXT FILE
head_has() {
	dd if="$3" bs=4096 count=1 2>/dev/null | tr -d '\0' | grep -aqF "\"$1\":\"$2\""
}

test_that 'words with tags: the first token of each has the label' '
	echo "{\"tokens\":[\"Ab\",\"abing\",\"x\"],\"ner_tags\":[\"O\",\"B-X\",\"I-X\"]}" |
		gives "0 0 1 : 2 57 57 59 28 3 : - 2 0 - 1 -\n" -m m --labels B-X,I-X,O
	head_has task token-class got.pts
	peft-view got.pts | grep "labels.*B-X.*I-X.*O"
	echo "{\"words\":[\"a\",\"b\"],\"tags\":[0,-100]}" | gives "0 0 1 : 2 5 6 3 : - 0 - -\n" -m m --labels X,Y
	echo "{\"tokens\":[\"a\",\"b\"],\"labels\":[1,0]}" | gives "0 0 1 : 2 5 6 3 : - 1 0 -\n" -m m --labels X,Y'

test_that 'tags are collected from files, cut with their words, and none is no example' '
	echo "{\"tokens\":[\"a\",\"bc\",\"d\"],\"ner_tags\":[\"Z\",\"A\",\"Z\"]}" >w.jsonl
	gives "0 0 1 : 2 5 6 33 3 : - 1 0 - -\n" -m m --max-length 5 w.jsonl
	peft-view got.pts | grep "labels.*A.*Z"
	echo "{\"tokens\":[\"a\",\"b\"]}" | gives "0 0 1 : 2 5 6 3\n" -m m --labels X,Y
	{ cat w.jsonl; echo "{\"tokens\":[\"a\"],\"ner_tags\":[-100]}"; } >w2.jsonl
	peft-tokenize -m m --labels A,Z w2.jsonl 2>err >got.pts
	grep "1 examples dropped" err
	echo "{\"tokens\":[\"a\",\"b\"],\"ner_tags\":[\"A\"]}" | exits 3 peft-tokenize -m m --labels A,Z -o x 2>err
	grep "2 words with 1 tags" err
	echo "{\"tokens\":[\"a\"],\"ner_tags\":[\"B\"]}" | exits 3 peft-tokenize -m m --labels A,Z -o x 2>err
	grep "unknown label .B.; known: A, Z" err
	echo "{\"tokens\":[1],\"ner_tags\":[\"A\"]}" | exits 3 peft-tokenize -m m --labels A,Z -o x 2>err
	grep "a word that is not a string" err'

test_that 'words for a byte-level tokenizer have a space before them' '
	mkdir b
	cp "$DATA/tokenizers/gpt2-files/"* b/
	echo "{\"tokens\":[\"in\",\"in\"],\"ner_tags\":[\"A\",\"A\"]}" | peft-tokenize -m b --labels A,Z | show >got
	echo " in in" | peft-tokenize -m b --task lm --no-eos | show >plain
	test "$(cut -d: -f2 got)" = "$(cut -d: -f2 plain)"'

q='{"question":"a","context":"the ab. x ing","answers":{"text":["ab"],"answer_start":[4]}}'
test_that 'an answer by its place in the context, as tokens' '
	# [CLS] a [SEP] the ab . x i ##n ##g [SEP]
	echo "$q" | gives "0 0 1 group 0 span 4 4 : 2 5 3 58 57 60 28 13 44 37 3 : 0 0 0 1 1 1 1 1 1 1 1\n" -m m
	head_has task qa got.pts
	for a in "a,4,4 4" "the ab,0,3 4" ".,6,5 5" "ing,10,7 9" "g,12,9 9" "b,5,4 4" "the ab. x ing,0,3 9" "n,11,8 8"; do
		text=${a%%,*} rest=${a#*,}
		echo "{\"question\":\"a\",\"context\":\"the ab. x ing\",\"answers\":{\"text\":[\"$text\"],\"answer_start\":[${rest%%,*}]}}" |
			peft-tokenize -m m | show | grep "span ${rest#*,} :"
	done
	# characters, not bytes
	echo "{\"question\":\"a\",\"context\":\"é ab\",\"answers\":{\"text\":\"ab\",\"answer_start\":2}}" |
		peft-tokenize -m m | show | grep "span 4 4"'

test_that 'an answer has all tokens of its characters, and no space that is put in front' '
	# asks NAME CONTEXT START TEXT: the ids and the span
	asks() {
		[ -d "$1" ] || { mkdir "$1"; cp "$DATA/tokenizers/$1.json" "$1/tokenizer.json"; }
		echo "{\"question\":\"q\",\"context\":\"$2\",\"answers\":{\"text\":[\"$4\"],\"answer_start\":[$3]}}" |
			peft-tokenize -m "$1" | show | sed "s/^0 0 1 group 0 span //"
	}
	# <s> Ġ q </s> </s> Ġa and four bytes, b
	test "$(asks roberta "a🙂b" 1 🙂)" = "6 9 : 0 224 84 2 2 280 176 257 251 228 69 2"
	# Ġ is the space before it, but offsets are trimmed; it shows nothing of the character
	test "$(asks roberta "a 🙂 b" 2 🙂)" = "7 10 : 0 224 84 2 2 280 224 176 257 251 228 289 2"
	test "$(asks gemma "a 🙂 b" 2 🙂)" = "5 8 : 1 300 1 284 310 243 162 156 133 310 285 : 0 0 1 1 1 1 1 1 1 1 1"
	# ▁q </s> ▁ unknown ▁a: the second ▁ stands at the unknown character
	test "$(asks t5 "a 🙂 b" 2 🙂)" = "6 6 : 4 82 1 4 6 4 2 29 1"
	test "$(asks t5 "the . a" 4 .)" = "5 5 : 4 82 1 12 4 9 4 6 1"
	test "$(asks t5 "the dog a" 6 "g a")" = "6 8 : 4 82 1 12 66 13 72 4 6 1"
	# what no token holds is no answer
	test "$(asks t5 "a  b" 1 " ")" = "0 0 : 4 82 1 4 6 29 1"'

test_that 'a long context in pieces of one group; without an answer: the first token' '
	# room for 4 tokens of the context, 2 shared
	echo "$q" | gives "0 0 1 group 0 span 4 4 : 2 5 3 58 57 60 28 3 : 0 0 0 1 1 1 1 1
1 0 1 group 0 span 0 0 : 2 5 3 60 28 13 44 3 : 0 0 0 1 1 1 1 1
2 0 1 group 0 span 0 0 : 2 5 3 13 44 37 3 : 0 0 0 1 1 1 1\n" -m m --max-length 8 --stride 2
	head_has options "--task qa --max-length 8 --stride 2" got.pts
	{ echo "$q"; echo "{\"question\":\"b\",\"context\":\"ab\",\"answers\":{\"text\":[],\"answer_start\":[]}}"; } |
		peft-tokenize -m m --max-length 8 --stride 2 | show >got
	grep "^3 0 2 group 3 span 0 0 : 2 6 3 57 3" got
	echo "{\"question\":\"b\",\"context\":\"ab\"}" | gives "0 0 1 group 0 : 2 6 3 57 3 : 0 0 0 1 1\n" -m m
	peft-tokenize -m m --max-length 8 --stride 2 -n 2 -o n.pts <<-END
		$q
		$q
	END
	test "$(show n.pts | wc -l)" -eq 3'

test_that 'answers that are not there, questions that leave no room, are bad lines' '
	echo "{\"question\":\"a\",\"context\":\"ab\",\"answers\":{\"text\":[\"x\"],\"answer_start\":[0]}}" |
		exits 3 peft-tokenize -m m -o x 2>err
	grep "the answer does not stand in the context" err
	echo "{\"question\":\"a\",\"context\":\"ab\",\"answers\":{\"text\":[\"b\"],\"answer_start\":[7]}}" |
		exits 3 peft-tokenize -m m -o x 2>err
	echo "{\"question\":\"a b c d\",\"context\":\"ab x y z\"}" | exits 3 peft-tokenize -m m --max-length 9 --stride 2 -o x 2>err
	grep "a question of 4 tokens leaves no room" err
	echo "{\"question\":\"a\",\"context\":\"ab\",\"group\":1}" | exits 3 peft-tokenize -m m -o x 2>err
	grep "makes a group of each line" err'

test_that 'sets of texts: a line is a group, its weight is at its first text' '
	{
		echo "{\"anchor\":\"a\",\"positive\":\"b\",\"negative\":\"c\"}"
		echo "{\"anchor\":\"d\",\"positive\":\"e\",\"weight\":2}"
	} >s.jsonl
	gives "0 0 1 group 0 weight 1 : 2 5 3\n1 0 1 group 0 weight 0 : 2 6 3\n2 0 1 group 0 weight 0 : 2 7 3
3 0 2 group 3 weight 2 : 2 8 3\n4 0 2 group 3 weight 0 : 2 9 3\n" -m m s.jsonl
	head_has task contrastive got.pts
	echo "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"score\":0.5}" |
		gives "0 0 1 target 0.5 group 0 weight 1 : 2 5 3\n1 0 1 target 0.5 group 0 weight 0 : 2 6 3\n" -m m --task contrastive
	echo "{\"query\":\"a\",\"answer\":\"b\",\"negative_1\":\"c\",\"negative_2\":\"d\"}" | peft-tokenize -m m | show | tail -n 1 |
		grep "^3 0 1 group 0 weight 0 : 2 8 3"
	cp -r m st
	echo "{\"max_seq_length\": 4, \"do_lower_case\": false}" >st/sentence_bert_config.json
	echo "{\"anchor\":\"a b c d\",\"positive\":\"b\"}" | peft-tokenize -m st | show | head -n 1 | grep ": 2 5 6 3$"
	echo "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":\"x\"}" | peft-tokenize -m m --labels x,y | show |
		grep "class 0 : 2 5 3 6 3"'

test_that 'a source and its target' '
	for keys in "prompt completion" "text text_target" "source target" "inputs targets" "document summary"; do
		echo "{\"${keys% *}\":\"a b\",\"${keys#* }\":\"c\"}" |
			gives "0 0 1 : 2 5 6 3 -> : 2 7 3 : 2 7 3\n" -m m --task seq2seq
	done
	head_has max_decoder_len 32 got.pts
	echo "{\"prompt\":\"a b c\",\"completion\":\"a b c\"}" |
		gives "0 0 1 : 2 5 6 3 -> : 2 5 3 : 2 5 3\n" -m m --task seq2seq --max-length 4 --max-target 3
	head_has options "--task seq2seq --max-length 4 --max-target 3 --no-eos" got.pts
	echo "{\"input_ids\":[5,6],\"labels\":[7,-100,3]}" | gives "0 0 1 : 5 6 -> : 7 0 3 : 7 -100 3\n" -m m --task seq2seq
	echo "{\"prompt\":\"a\"}" | gives "0 0 1 : 2 5 3\n" -m m --task seq2seq
	echo "a" | exits 2 peft-tokenize -m m --task seq2seq --max-target 2 -o x 2>err
	grep "no room beside" err'

test_that 'texts to be masked: their HEAD says what a mask is' '
	echo "abing x" | gives "0 0 1 : 2 57 59 28 3\n" -m m --task mlm
	head_has mask_id 4 got.pts
	head_has special_ids "[0,1,2,3,4]" got.pts
	echo "a b c d e" | gives "0 0 1 : 2 5 6 3\n1 0 1 : 2 7 8 3\n2 0 1 : 2 9 3\n" -m m --task mlm --chunk 4
	echo "{\"input_ids\":[4,6],\"labels\":[5,-100]}" | gives "0 0 1 : 4 6 : 5 -\n" -m m --task mlm
	cp -r "$DATA/tokenizers/gpt2-files" g
	echo a | exits 2 peft-tokenize -m g --task mlm -o x 2>err
	grep "no mask token" err'

# counts FILE: learned, masks, kept, others of the tokens that are no special ones, and of special ones learned
counts() {
	show "$1" | awk -F" : " "{
		n = split(\$2, id, \" \"); split(\$3, l, \" \")
		for (i = 1; i <= n; i++) {
			if (l[i] == \"-\") { plain++; continue }
			learned++
			if (id[i] == 4) masks++; else if (l[i] == \"=\") kept++; else other++
			if (l[i] != \"=\" && l[i] < 5) special++
		} }
		END { print plain + learned, learned, masks, kept, other, special + 0 }"
}

test_that 'masks: 15% of the tokens, of which 80% are a mask and 10% a random id; special ones never' '
	awk "BEGIN { for (i = 0; i < 400; i++) { for (k = 0; k < 20; k++) printf \"%c \", 97 + (i * 7 + k * k) % 26; print \"\" } }" >t.txt
	peft-tokenize -m m --task mlm -o t.pts t.txt
	peft-batch -b 16 -s 1 -o b.pts t.pts
	counts b.pts | {
		read all learned masks kept other special
		test $all -eq 8800 -a $special -eq 0
		test $learned -gt 1080 -a $learned -lt 1320
		test $((masks * 100)) -gt $((learned * 76)) -a $((masks * 100)) -lt $((learned * 84))
		test $((kept * 100)) -gt $((learned * 7)) -a $((kept * 100)) -lt $((learned * 14))
		test $((other * 100)) -gt $((learned * 7)) -a $((other * 100)) -lt $((learned * 13))
	}
	exits 1 head_has mask_id 4 b.pts
	peft-view b.pts | grep "options.*-b 16 -s 1 --mask-prob 0.1499"
	peft-check b.pts'

test_that 'masks depend on seed, epoch and example, not on packing' '
	peft-batch -b 16 -s 1 -o again.pts t.pts
	cmp b.pts again.pts
	peft-batch --tokens 100 -s 1 -o packed.pts t.pts
	show b.pts | sort -n >one
	show packed.pts | sort -n | cmp one -
	peft-batch -b 16 -s 2 -o other.pts t.pts
	show other.pts | sort -n >other
	exits 1 cmp -s one other
	peft-batch -b 16 -s 1 -e 2 -o two.pts t.pts
	show two.pts | sort -n >both
	test "$(sort -u both | wc -l)" -gt 790
	peft-batch -b 16 --stream -o stream.pts t.pts
	peft-batch -b 16 -o plain.pts t.pts
	show stream.pts >s1
	show plain.pts | cmp s1 -'

test_that 'the step says how many tokens are learned in it; shares may be others' '
	peft-batch -b 4 --accumulate 3 -n 1 -o step.pts t.pts
	learned=$(counts step.pts | cut -d" " -f2)
	test "$(grep -ao "step_tokens\":\"[0-9]*" step.pts | sort -u)" = "step_tokens\":\"$learned"
	peft-batch --mask-prob 1 --mask-replace 1 --mask-random 0 -o all.pts t.pts
	test "$(counts all.pts)" = "8800 8000 8000  0" || test "$(counts all.pts)" = "8800 8000 8000   0"
	exits 2 peft-batch --mask-replace 0.9 --mask-random 0.2 -o x t.pts
	# those that somebody masked stay as they are
	echo "{\"input_ids\":[4,6],\"labels\":[5,-100]}" | peft-tokenize -m m --task mlm | peft-batch -o ready.pts
	test "$(show ready.pts)" = "0 0 1 : 4 6 : 5 -"
	peft-check step.pts all.pts ready.pts'

test_that 'the texts of a group stay together' '
	for i in 1 2 3 4 5 6; do echo "{\"anchor\":\"a\",\"positive\":\"b\",\"negative\":\"c\"}"; done | peft-tokenize -m m |
		peft-batch -b 6 -s 1 -o g.pts
	peft-view g.pts | grep "max_seqs  *6"
	test "$(show g.pts | grep -o "group [0-9]*" | uniq -c | grep -c "^ *3 ")" -eq 6'

test_that 'of sources and targets --stream promises both bounds' '
	echo "{\"prompt\":\"a\",\"completion\":\"b\"}" |
		peft-tokenize -m m --task seq2seq --max-length 20 --max-target 10 | peft-batch --stream -b 4 >a 2>err
	test ! -s err
	head_has max_tokens 80 a
	head_has max_decoder_tokens 40 a'

test_that 'every task makes something of a line, or says why not' '
	exits 2 peft-tokenize -m m --task nonsense l 2>err
	sed "s/.*auto, //; s/,//g; s/ or / /" err >tasks
	test "$(wc -w <tasks)" -ge 9
	for t in $(cat tasks); do
		grep -q "$t" "$SRC/man/peft-tokenize.1"
		st=0
		echo "{\"text\":\"a\",\"label\":\"x\"}" | peft-tokenize -m m --task $t --labels x,y -o t.pts 2>err || st=$?
		test $st -eq 0 || test $st -eq 2 || test $st -eq 3
	done'

test_that 'a mask that no file names is the special token of that name' '
	mkdir unnamed
	cp "$DATA/tokenizers/roberta.json" unnamed/tokenizer.json
	echo "{\"model_max_length\": 512}" >unnamed/tokenizer_config.json
	echo "a b" | peft-tokenize -m unnamed --task mlm -o masked.pts
	head_has mask_id 360 masked.pts'
test_done
