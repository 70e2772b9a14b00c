#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-view: text, TSV, JSON lines; statistics; big files.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH
cp -R "$DATA/examples/base" base && chmod -R u+w base

test_that 'a stream: head, provenance, records, end' '
	sample -n 3 --per 2 --options "--max-length 7" -o e.pts examples
	peft-cat e.pts | peft-view >out
	cat >want <<-X
	head
	  id             ID
	  kind           examples
	  kind_v         1
	  options        --max-length 7
	  task           lm
	  tokenizer      0123456789abcdef
	  tool           peft-cat
	  v              1
	  version        V
	  vocab_size     100
	provenance
	ID peft-cat V -> examples
	  ID sample V --max-length 7 -> examples
	record 1: 2 examples, 7 tokens
	  group            I64[2]         0 0
	  index            I64[2]         0 1
	  offsets          I64[3]         0 1 7
	  row              I64[2]         1 1
	  source           I64[2]         0 1
	  input_ids        I32[7]         0 7 10 13 16 19 ...
	  labels           I32[7]         0 -100 -100 -100 16 19 ...
	record 2: 1 examples, 4 tokens
	  group            I64[1]         1
	  index            I64[1]         2
	  offsets          I64[2]         0 4
	  row              I64[1]         2
	  source           I64[1]         0
	  input_ids        I32[4]         14 17 20 23
	  labels           I32[4]         -100 -100 20 23
	end
	  digest         ID
	  examples       3
	  id             ID
	  records        2
	  tokens         11
	provenance
	ID peft-cat V -> examples examples=3 tokens=11 digest ID
	  ID sample V --max-length 7 -> examples examples=3 tokens=11 digest ID
	X
	sed "s/[0-9a-f]\{16\}/ID/; s/digest [0-9a-f]*$/digest ID/; s/0\.[0-9]*\.[0-9]*/V/; s/ID *0123456789abcdef/X/" out |
		sed "s/tokenizer      ID/tokenizer      0123456789abcdef/" | diff want -'
test_that 'a tree names a step that was shown before by its id' '
	peft-cat -o ab.pts e.pts e.pts
	sample -n 3 --per 2 --options other -o f.pts examples
	peft-cat ab.pts f.pts e.pts | peft-view | tail -n 6 >tree
	grep -c "^    [0-9a-f]* sample" tree | grep -x 1
	grep "(above)" tree'
test_that 'values: a line for each list of an example' '
	peft-view --values -n 2 e.pts | tail -n 6 >out
	cat >want <<-X
	index 0  group 0  source 0  row 1
	  input_ids        0
	  labels           0
	index 1  group 0  source 1  row 1
	  input_ids        7 10 13 16 19 22
	  labels           -100 -100 -100 16 19 22
	X
	diff want out'
test_that 'TSV: a head line, a line an example, classes with their names' '
	sample --task class -n 5 --per 2 -o c.pts batch
	peft-view --tsv c.pts >out
	test "$(wc -l <out)" -eq 6
	printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n" \
		step micro micros epoch index input_ids class group source row label \
		1 1 2 1 0 0 0 0 0 1 bad >want
	head -n 2 out | diff want -
	sample -n 4 -o p.pts predictions
	peft-view --tsv p.pts | tail -n 1 >out
	printf "3\t0\t0.875\t0 1 2\tbad\n" | diff - out'
test_that 'JSON lines: one object a line, head and end with "pts"' '
	for k in examples batch metrics predictions other bare; do
		sample -o x $k
		peft-view --json x >out
		exits 1 grep -v "^{.*}$" out
	done
	peft-view --json e.pts >out
	test "$(wc -l <out)" -eq 5
	head -n 1 out | grep "^{\"pts\":\"head\",.*\"kind\":\"examples\""
	tail -n 1 out | grep "^{\"pts\":\"end\",.*\"examples\":\"3\""
	sed -n 2p out >row
	printf "{\"index\":0,\"input_ids\":[0],\"labels\":[0],\"group\":0,\"source\":0,\"row\":1}\n" | diff - row'
test_that 'metrics: a table; TSV has a column for what some records have' '
	sample -n 5 -o m.pts metrics
	peft-view m.pts >out
	grep "^    step       loss         lr  grad_norm   tokens examples   seconds$" out
	grep "^       4       0.75     0.0004        1.5       43        8     1.000  eval_loss 1.25$" out
	peft-view --tsv m.pts >out
	test "$(wc -l <out)" -eq 6
	head -n 1 out | grep "seconds	eval_loss$"
	sed -n 2p out | grep "^1	3	0.001	1.5	40	8	0.25	$"
	sed -n 5p out | grep "	1.25$"
	peft-view --json m.pts | sed -n 5p | grep "\"seconds\":1,\"eval_loss\":1.25}"'
test_that 'statistics: of a file, of a whole stream' '
	sample -o b.st --nan-at 5 bare
	peft-view --tsv --stats --tensor layer.weight b.st | tail -n 1 >out
	printf "layer.weight\tF32[3,4]\t12\t-0.5\t0.875\t0.193181818181818\t1\t0\n" | cut -f 1-5,7 >want
	cut -f 1-5,7 out | diff want -
	cut -f 6 out | grep "^0.19318181818181"
	sample -n 20 -o e20.pts examples
	peft-view --tsv --stats e20.pts >out
	grep "^tokens of an example	I64	20	1	7	4.05	0	0$" out
	grep "^index	I64	20	0	19	9.5	0	0$" out
	peft-view --json --stats b.st | grep "\"nan\":1"'
test_that 'a file and directories' '
	peft-view --values --tensor layer.weight b.st >out
	printf "safetensors\n  format         pt\nlayer.weight  F32[3,4]           \n  -0.5 -0.375 -0.25 -0.125\n  0 NaN 0.25 0.375\n" >want
	head -n 5 out | diff want -
	peft-view --json --values --tensor layer.weight b.st | grep "\"values\":\[\[-0.5,-0.375,-0.25,-0.125\],\[0,\"NaN\",0.25,0.375\],"
	peft-view base >out
	grep "^  model_type  *\"llama\"$" out
	grep "^model.layers.0.self_attn.q_proj.weight  *F32\[16,16\]" out
	tail -n 1 out | grep -x "20 tensors, 9808 values, 39232 bytes"
	peft-view --json base | grep "^{\"config\":{\"architectures\""
	peft-view base e.pts | grep -c "^==> " | grep -x 2'
test_that 'text with what is learned marked' '
	cp "$DATA"/examples/*.jsonl "$DATA"/examples/notes.txt .
	peft-tokenize -m base -o sums.pts sums.jsonl
	peft-view -n 2 -m base sums.pts 2>err | tail -n 4 >out
	printf "index %s  source 0  row %s\n  1 and %s are⟦ %s.</s>⟧\n" 0 1 1 2 1 2 2 3 | diff - out
	test ! -s err
	peft-batch -b 2 sums.pts | peft-view --json -n 1 -m base/tokenizer.json | grep -c "\"text\":\"1 and 1 are⟦ 2.</s>⟧\"" |
		grep -x 1
	peft-view --tsv -m base sums.pts | sed -n 2p | cut -f 6 | grep -x "1 and 1 are⟦ 2.</s>⟧"
	# all is learned but the first token; classes have names; another tokenizer is warned of
	peft-tokenize -m base notes.txt | peft-view -n 1 -m base | tail -n 1 | grep "^  [^⟦][^⟦]*⟦.*⟧$"
	peft-tokenize -m base --task class train.jsonl | peft-view -n 1 -m base | tail -n 2 | grep "class [01] = [a-z]"
	peft-view -m base e.pts 2>err >out
	grep "^peft-view: warning: the stream was made with another tokenizer (0123456789abcdef) than this" err
	exits 1 peft-view -m nowhere e.pts 2>err
	grep "^peft-view: nowhere" err'
test_that 'a model directory is described from its configuration, with weights and without' '
	peft-view base | sed "/^sites/,\$d" >with
	grep "^  family  *llama$" with
	grep "^  attention  *causal, scale 0.5$" with
	grep "^  head  *lm_head, tied to the embeddings$" with
	grep "^  parameters  *9808, linear 4608, embedding 5120, norm 80$" with
	peft-view --sites base | grep "^  model.layers.\*.mlp.down_proj  *linear  *32 -> 16  *F32  *x 2$"
	peft-view --sites --tsv base >sites
	head -n 1 sites | grep "^site	kind	module	layer	in	out	dtype	bias	parameters$"
	grep -c "	linear	Linear	1	" sites | grep -x 7
	peft-view --sites --json base | grep -c "\"kind\":\"linear\",\"module\":\"Linear\",\"layer\":0" | grep -x 7
	mkdir bare && cp base/config.json bare/
	peft-view bare | sed "/^sites/,\$d" | cmp with
	peft-view --sites bare | grep -c "x 2$" | grep -x 12'
test_that 'a model that is not supported says why, and its files are shown' '
	cp -R base odd && chmod -R u+w odd
	sed "s/\"silu\"/\"gelu_odd\"/" base/config.json >odd/config.json
	peft-view odd >out
	grep "^  not supported  *odd: config.json: hidden_act \"gelu_odd\" is not supported$" out
	grep "^model.norm.weight " out
	exits 3 peft-view --sites odd 2>err
	grep "hidden_act \"gelu_odd\"" err
	sed "s/\"intermediate_size\": 32/\"intermediate_size\": 33/" base/config.json >odd/config.json
	peft-view odd | grep "^  not supported  *model.layers.0.mlp.*_proj.weight has the shape"
	exits 2 peft-view --sites e.pts 2>err
	grep "e.pts is no model directory" err
	exits 2 peft-view --sites --stats base 2>err'
test_that 'names with control characters do not reach the terminal' '
	sample --options "$(printf "\033[31mred\nline")" -o x.pts examples
	peft-view x.pts >out
	exits 1 grep "$(printf "\033")" out
	grep "^  options        .x1B\[31mred.x0Aline$" out'
test_that 'the start of a big file is there at once; a closed pipe ends it silently' '
	sample -n 60000 --per 64 --length 100 -o big.pts examples
	start=$(date +%s)
	for i in 1 2 3; do
		status_to status peft-view big.pts 2>err | head -n 3
		grep -x 141 status
		test ! -s err
		peft-view -n 1 --json big.pts | wc -l | grep -x 2
	done
	test $(($(date +%s) - start)) -le 3
	rm big.pts'
test_that 'whole numbers of every width are shown whole' '
	head="{\"x\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}  "
	test ${#head} -eq 56
	printf "\070\0\0\0\0\0\0\0%s\001\0\0\001\377\377\377\376" "$head" >i.safetensors
	peft-view --values i.safetensors | grep "16777217 -16777217"'
test_that 'options that exclude each other' '
	exits 2 peft-view --json --tsv e.pts 2>err
	exits 2 peft-view --stats --values e.pts 2>err
	exits 2 peft-view --families --stats 2>err
	exits 2 peft-view -n 1 base 2>err
	grep "^peft-view: base: -n is for streams, and this is a model" err
	exits 2 peft-view --tensor model.norm.weight --tensor model.norm.wait base 2>err >out
	grep "^peft-view: base has no tensor model.norm.wait" err
	peft-view --tensor model.norm.weight base >out
	exits 1 sh -c "peft-view e.pts >/dev/full" 2>err
	grep "^peft-view: standard output: cannot write" err'
test_done
