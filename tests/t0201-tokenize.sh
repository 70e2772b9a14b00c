#!/bin/sh
# SPDX-License-Identifier: MIT
# What peft-tokenize makes of each kind of line: ids, what is learned, cutting,
# pieces, pairs, ready ids, labels. tests/aux/show prints it: "=" is learned,
# "-" is not.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH

# A tokenizer that one can follow by hand: <s> 0, </s> 1, [SEP] 2, a..z 3..28, space 29, ab 30.
mkdir m bare
vocab='"<s>":0,"</s>":1,"[SEP]":2' i=3
for c in a b c d e f g h i j k l m n o p q r s t u v w x y z; do
	vocab="$vocab,\"$c\":$i" i=$((i + 1))
done
vocab="$vocab,\"\u0120\":29,\"ab\":30"
special() {
	printf '{"id":%d,"content":"%s","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}' "$1" "$2"
}
piece() {
	printf '{"%s":{"id":"%s","type_id":%d}}' "$1" "$2" "$3"
}
# tokenizer POST_PROCESSOR
tokenizer() {
	printf '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[%s,%s,%s],"normalizer":null,' \
		"$(special 0 '<s>')" "$(special 1 '</s>')" "$(special 2 '[SEP]')"
	printf '"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},'
	printf '"post_processor":%s,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,' "$1"
	printf '"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,'
	printf '"byte_fallback":false,"vocab":{%s},"merges":["a b"]}}\n' "$vocab"
}
template() {
	printf '{"type":"TemplateProcessing","single":[%s],"pair":[%s],"special_tokens":{' "$1" "$2"
	printf '"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[1],"tokens":["</s>"]},'
	printf '"[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}}'
}
A=$(piece Sequence A 0) B=$(piece Sequence B 1) BOS=$(piece SpecialToken '<s>' 0) EOS=$(piece SpecialToken '</s>' 0)
SEP=$(piece SpecialToken '[SEP]' 0) SEPB=$(piece SpecialToken '[SEP]' 1)
# m: <s> A and <s> A [SEP] B [SEP]; bare: no template; ends: <s> A </s>
tokenizer "$(template "$BOS,$A" "$BOS,$A,$SEP,$B,$SEPB")" >m/tokenizer.json
tokenizer null >bare/tokenizer.json
mkdir ends
tokenizer "$(template "$BOS,$A,$EOS" "$BOS,$A,$EOS,$B,$EOS")" >ends/tokenizer.json
for d in m bare ends; do
	echo '{"bos_token":"<s>","eos_token":"</s>","model_max_length":64}' >$d/tokenizer_config.json
done

# gives WANT ARGS...: standard input tokenized, as show prints it.
gives() {
	want=$1
	shift
	peft-tokenize "$@" >got.pts
	show got.pts >got
	printf '%b' "$want" | diff - got
}

# head_has KEY VALUE FILE (spelled as in JSON)
head_has() {
	dd if="$3" bs=4096 count=1 2>/dev/null | tr -d '\0' | grep -aqF "\"$1\":\"$2\""
}

test_that 'a plain text is learned whole, and ends in a learned EOS' '
	printf "ab c\nd\n" | gives "0 0 1 : 0 30 29 5 1 : = = = = =\n1 0 2 : 0 6 1 : = = =\n" -m m
	head_has task lm got.pts
	head_has vocab_size 31 got.pts
	head_has options "--task lm --max-length 64" got.pts
	head_has max_len 64 got.pts
	printf "ab\n" | gives "0 0 1 : 30 1 : = =\n" -m bare'
test_that '--no-eos, EOS that is there, and templates that end themselves add none' '
	printf "ab\n" | gives "0 0 1 : 0 30 : = =\n" -m m --no-eos
	head_has options "--task lm --max-length 64 --no-eos" got.pts
	printf "ab</s>\n" | gives "0 0 1 : 0 30 1 : = = =\n" -m m
	printf "ab\n" | gives "0 0 1 : 0 30 1 : = = =\n" -m ends'
test_that 'special tokens typed in a text, and --split-special' '
	printf "a<s>b\n" | gives "0 0 1 : 0 3 0 4 1 : = = = = =\n" -m m
	# "<" and ">" are not in the vocabulary.
	printf "a<s>b\n" | gives "0 0 1 : 0 3 21 4 1 : = = = = =\n" -m m --split-special'
test_that 'prompt and completion are one string; learned is where their ids part' '
	echo "{\"prompt\":\"c d\",\"completion\":\" ab\"}" | gives "0 0 1 : 0 5 29 6 29 30 1 : - - - - = = =\n" -m m
	# "a" + "b" is one token, which the prompt alone has not.
	echo "{\"prompt\":\"ca\",\"completion\":\"bd\"}" | gives "0 0 1 : 0 5 30 6 1 : - - = = =\n" -m m
	echo "{\"prompt\":\"\",\"completion\":\"c\"}" | gives "0 0 1 : 0 5 1 : - = =\n" -m m
	echo "{\"prompt\":\"c\",\"completion\":\"\"}" | gives "0 0 1 : 0 5 1 : - - =\n" -m m
	echo "{\"prompt\":\"c\",\"completion\":\"d\"}" | gives "0 0 1 : 0 5 6 : - - =\n" -m m --no-eos
	echo "{\"prompt\":\"c\",\"completion\":\"d\"}" | gives "0 0 1 : 0 5 6 1 : - - = =\n" -m ends'
test_that 'what is too long is cut, the special tokens stay, the EOS does not' '
	printf "cdefg\nc\n" | gives "0 0 1 : 0 5 6 7 : = = = =\n1 0 2 : 0 5 1 : = = =\n" -m m --max-length 4
	printf "cde\n" | gives "0 0 1 : 0 5 6 7 : = = = =\n" -m m --max-length 4
	printf "cdefg\n" | gives "0 0 1 : 0 5 6 1 : = = = =\n" -m ends --max-length 4
	grep -aq "\"cut\":\"1\"" got.pts
	sed "s/64/64,\"truncation_side\":\"left\"/" m/tokenizer_config.json >t && mkdir -p left && cp m/tokenizer.json left
	cp t left/tokenizer_config.json
	printf "cdefg\n" | gives "0 0 1 : 0 8 9 1 : = = = =\n" -m left --max-length 4
	echo "{\"prompt\":\"cdef\",\"completion\":\"gh\"}" |
		gives "0 0 1 : 0 8 9 10 1 : - - = = =\n" -m left --max-length 5'
test_that 'the limit is the least of the tokenizer, the positions and 1024, less --reserve' '
	for pair in "2000 3000 1024" "200 3000 200" "2000 300 300" "1000000000000000019884624838656 77 77"; do
		set -- $pair
		rm -rf l && mkdir l && cp m/tokenizer.json l
		echo "{\"eos_token\":\"</s>\",\"model_max_length\":$1}" >l/tokenizer_config.json
		echo "{\"model_type\":\"llama\",\"max_position_embeddings\":$2}" >l/config.json
		echo a | peft-tokenize -m l >x.pts
		head_has max_len $3 x.pts
		echo a | peft-tokenize -m l --reserve 20 >x.pts
		head_has max_len $((($3 == 1024) ? 1024 : $3 - 20)) x.pts
	done
	# RoBERTa counts positions from pad_token_id + 1.
	echo "{\"model_type\":\"roberta\",\"max_position_embeddings\":66,\"pad_token_id\":1}" >l/config.json
	echo a | peft-tokenize -m l >x.pts
	head_has max_len 64 x.pts
	echo a | peft-tokenize -m l --max-length 65 2>err >x.pts
	grep "warning: examples of 65 tokens: the model has 64 positions" err
	exits 2 peft-tokenize -m l --reserve 64 -o x notes </dev/null 2>err
	grep -e "--reserve 64 leaves no room" err
	echo a | exits 2 peft-tokenize -m m --max-length 1 -o x 2>err
	grep -e "--max-length 1 leaves no room beside" err'
test_that 'long texts in pieces; what a piece repeats is not learned again' '
	printf "cdefgh\n" | gives "0 0 1 : 0 5 6 7 : = = = =\n1 0 1 : 0 8 9 10 : - = = =\n2 0 1 : 0 1 : - =\n" -m m --chunk 4
	printf "cdefg\n" | gives "0 0 1 : 0 5 6 7 : = = = =\n1 0 1 : 0 7 8 9 : - - = =\n2 0 1 : 0 9 1 : - - =\n" \
		-m m --chunk 4 --stride 1
	head_has options "--task lm --chunk 4 --stride 1" got.pts
	head_has max_len 4 got.pts
	printf "cd\n" | gives "0 0 1 : 0 5 6 1 : = = = =\n" -m m --chunk 4
	exits 2 peft-tokenize -m m --chunk 4 --max-length 4 -o x x.pts 2>err
	echo a | exits 2 peft-tokenize -m m --stride 4 -o x 2>err
	echo a | exits 2 peft-tokenize -m m --chunk 4 --stride 3 -o x 2>err
	grep "nothing new in pieces" err
	echo "{\"prompt\":\"a\",\"completion\":\"b\"}" | exits 3 peft-tokenize -m m --chunk 4 -o x 2>err
	grep "^peft-tokenize: standard input:1: --chunk is for texts" err'
test_that '--whole takes a text file as one text' '
	printf "c\n\nd\n" >t.txt
	gives "0 0 1 : 0 5 1 : = = =\n1 0 3 : 0 6 1 : = = =\n" -m m t.txt
	# Newlines are not in the vocabulary.
	gives "0 0 1 : 0 5 6 1 : = = = =\n" -m m --whole t.txt'
test_that 'examples of which nothing would be learned are dropped, with a word' '
	printf "{\"prompt\":\"cdef\",\"completion\":\"g\"}\n{\"prompt\":\"c\",\"completion\":\"g\"}\n" |
		gives "0 0 2 : 0 5 9 : - - =\n" -m m --max-length 3 2>err
	grep "warning: 1 examples dropped" err
	grep -aq "\"dropped\":\"1\"" got.pts'
test_that 'text and label are a class; the file says which there are, sorted' '
	printf "{\"text\":\"c\",\"label\":\"z\"}\n{\"text\":\"d\",\"label\":\"y\"}\n" >c.jsonl
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 0 : 0 6\n" -m m c.jsonl
	head_has task class got.pts
	head_has labels "[\\\"y\\\",\\\"z\\\"]" got.pts
	printf "{\"text\":\"c\",\"label\":10}\n{\"text\":\"d\",\"label\":9}\n{\"text\":\"d\",\"label\":true}\n" >n.jsonl
	head -n 2 n.jsonl >n2.jsonl
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 0 : 0 6\n" -m m n2.jsonl
	gives "0 0 1 class 0 : 0 5\n1 0 2 class 1 : 0 6\n2 0 3 class 2 : 0 6\n" -m m n.jsonl'
test_that 'labels of a pipe must be named: by --labels, a file, the model or the adapter' '
	exits 2 peft-tokenize -m m -o x <c.jsonl 2>err
	grep "cannot be read twice: give --labels" err
	gives "0 0 1 class 0 : 0 5\n1 0 2 class 1 : 0 6\n" -m m --labels z,y <c.jsonl
	printf "y\nz\n" >labels.txt
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 0 : 0 6\n" -m m --labels labels.txt <c.jsonl
	cp -r m named
	echo "{\"model_type\":\"bert\",\"id2label\":{\"1\":\"z\",\"0\":\"x\",\"2\":\"y\"}}" >named/config.json
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 2 : 0 6\n" -m named <c.jsonl
	echo "{\"model_type\":\"bert\",\"id2label\":{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\"}}" >named/config.json
	exits 2 peft-tokenize -m named -o x <c.jsonl 2>err
	mkdir -p ad
	echo "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\",\"r\":1,\"lora_alpha\":1}" >ad/adapter_config.json
	echo "[\"y\",\"z\"]" >ad/labels.json
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 0 : 0 6\n" -m m -a ad <c.jsonl
	head_has labels "[\\\"y\\\",\\\"z\\\"]" got.pts
	# On another adapter it still tells them, and virtual tokens of both count.
	mkdir -p below
	echo "{\"peft_type\":\"PROMPT_TUNING\",\"task_type\":\"CAUSAL_LM\",\"num_virtual_tokens\":7}" >below/adapter_config.json
	gives "0 0 1 class 1 : 0 5\n1 0 2 class 0 : 0 6\n" -m m -a below -a ad <c.jsonl
	head_has max_len $(($(peft-tokenize -m m -a ad <c.jsonl | peft-view | sed -n "s/^ *max_len  *//p") - 7)) got.pts
	printf "a\\377,b" >bad
	exits 2 peft-tokenize -m m --labels "$(cat bad)" -o x c.jsonl 2>err
	grep "label 1 is not UTF-8" err
	# Text without a label is for that classifier, too.
	echo c | gives "0 0 1 : 0 5\n" -m m -a ad
	head_has task class got.pts
	# Numbers that are no names are numbers of classes.
	echo "{\"text\":\"c\",\"label\":1}" | gives "0 0 1 class 1 : 0 5\n" -m m --labels no,yes
	echo "{\"text\":\"c\",\"label\":1}" | gives "0 0 1 class 0 : 0 5\n" -m m --labels 1,0'
test_that 'an unknown label is an error, as is a line without one' '
	exits 3 peft-tokenize -m m --labels x,y -o x c.jsonl 2>err
	grep "^peft-tokenize: c.jsonl:1: unknown label .z." err
	echo "{\"text\":\"c\",\"label\":2}" | exits 3 peft-tokenize -m m --labels x,y -o x 2>err
	grep "unknown label .2." err
	printf "{\"text\":\"c\",\"label\":\"x\"}\n{\"text\":\"c\"}\n" | exits 3 peft-tokenize -m m --labels x,y -o x 2>err
	grep "standard input:2: no \"label\"" err
	exits 2 peft-tokenize -m m --labels x,x -o x c.jsonl 2>err
	grep -e "--labels: label .x. is there twice" err
	exits 2 peft-tokenize -m m --labels nowhere.txt -o x c.jsonl 2>err
	grep -e "--labels: .nowhere.txt. is no file, and one class is nothing to tell apart" err'
test_that 'unlabelled text for a classifier has no class' '
	echo c | gives "0 0 1 : 0 5\n" -m m --task class
	head_has task class got.pts
	echo c | gives "0 0 1 : 0 5\n" -m m --task class --labels a,b
	head_has labels "[\\\"a\\\",\\\"b\\\"]" got.pts
	cp -r m clf
	echo "{\"architectures\":[\"BertForSequenceClassification\"],\"id2label\":{\"0\":\"n\",\"1\":\"p\"}}" >clf/config.json
	echo c | gives "0 0 1 : 0 5\n" -m clf
	head_has labels "[\\\"n\\\",\\\"p\\\"]" got.pts
	# A label of the data is not in the way of another task.
	gives "0 0 1 : 0 5 1 : = = =\n1 0 2 : 0 6 1 : = = =\n" -m m --task lm c.jsonl
	echo "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":1,\"lora_alpha\":1}" >ad/adapter_config.json
	rm ad/labels.json
	gives "0 0 1 : 0 5 1 : = = =\n1 0 2 : 0 6 1 : = = =\n" -m m -a ad c.jsonl'
test_that 'numbers with a point are regression, lists of names are multilabel' '
	printf "{\"text\":\"c\",\"label\":1.0}\n{\"text\":\"d\",\"label\":-0.5}\n" |
		gives "0 0 1 target 1 : 0 5\n1 0 2 target -0.5 : 0 6\n" -m m
	head_has task regression got.pts
	printf "{\"text\":\"c\",\"label\":[1,2.5]}\n" | gives "0 0 1 target 1 2.5 : 0 5\n" -m m --task regression
	printf "{\"text\":\"c\",\"label\":[\"q\",\"p\"]}\n{\"text\":\"d\",\"label\":[]}\n{\"text\":\"d\",\"label\":[\"r\"]}\n" >ml.jsonl
	gives "0 0 1 target 1 1 0 : 0 5\n1 0 2 target 0 0 0 : 0 6\n2 0 3 target 0 0 1 : 0 6\n" -m m ml.jsonl
	head_has task multilabel got.pts
	head_has labels "[\\\"p\\\",\\\"q\\\",\\\"r\\\"]" got.pts
	printf "{\"text\":\"c\",\"label\":[1,2]}\n" | exits 2 peft-tokenize -m m -o x 2>err
	grep -e "--task says" err'
test_that 'pairs, longest first, with token types where the template has some' '
	echo "{\"text\":\"cd\",\"text_pair\":\"efgh\",\"label\":\"x\"}" >p.jsonl
	gives "0 0 1 class 0 : 0 5 6 2 7 8 9 10 2 : 0 0 0 0 1 1 1 1 1\n" -m m p.jsonl
	gives "0 0 1 class 0 : 0 5 6 2 7 8 2 : 0 0 0 0 1 1 1\n" -m m --max-length 7 p.jsonl
	# Without a template they follow each other.
	gives "0 0 1 class 0 : 5 6 7 8 9 10\n" -m bare p.jsonl
	exits 3 peft-tokenize -m m --task lm -o x p.jsonl 2>err
	grep "is for --task class" err'
test_that 'ready input_ids with labels, types, weights and groups' '
	printf "%s\n" "{\"input_ids\":[3,4,5],\"labels\":[-100,4,9]}" "{\"input_ids\":[3,4]}" |
		gives "0 0 1 : 3 4 5 : - = 9\n1 0 2 : 3 4 : = =\n" -m m
	echo "{\"input_ids\":[3,4,5,6],\"labels\":[-100,4,5,6]}" | gives "0 0 1 : 3 4 5 : - = =\n" -m m --max-length 3
	echo "{\"input_ids\":[3],\"token_type_ids\":[1],\"label\":\"x\"}" | gives "0 0 1 class 0 : 3 : 1\n" -m m --labels x,y
	echo "{\"input_ids\":[3],\"labels\":0,\"attention_mask\":[1]}" | gives "0 0 1 class 0 : 3\n" -m m --labels x,y
	echo "{\"text\":\"c\",\"weight\":0.5,\"group\":7}" | gives "0 0 1 group 7 weight 0.5 : 0 5 1 : = = =\n" -m m
	echo "{\"input_ids\":[3,4],\"labels\":[0,1]}" | gives "0 0 1 : 3 4 : 0 1\n" -m m --task token-class --labels o,x
	while read -r line; do
		echo "$line" | exits 3 peft-tokenize -m m -o x 2>err
		grep "^peft-tokenize: standard input:1: " err
	done <<-X
	{"input_ids":[31]}
	{"input_ids":[-1]}
	{"input_ids":[1.5]}
	{"input_ids":["a"]}
	{"input_ids":[3,4],"labels":[3]}
	{"input_ids":[3,4],"labels":[3,-99]}
	{"input_ids":[3,4],"attention_mask":[1,0]}
	{"input_ids":[]}
	{"input_ids":3}
	{"text":"a","weight":-1}
	{"text":"a","group":"x"}
	X'
test_done
