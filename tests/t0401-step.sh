# SPDX-License-Identifier: MIT
# peft-step: a whole run, what it leaves, kills and stops and going on, what it
# refuses.
. "$(dirname "$0")/lib.sh"
sample=$BUILD/tests/aux/sample
export sample

# The tokenizer of the base is not that of the sample: said here once.
cat >fixture.sh <<'X'
args='-q -m base -a init --lr 1e-2 --other-tokenizer'
step() { peft-step $args "$@"; }
# Tensors of two safetensors files, and metrics but for the seconds.
same_run() {
	(cd "$1" && find . -path ./checkpoints -prune -o -type f -print | sort) >files1
	(cd "$2" && find . -path ./checkpoints -prune -o -type f -print | sort) >files2
	cmp files1 files2
	while read -r f; do cmp "$1/$f" "$2/$f" || return 1; done <files1
	n=$(ls "$1/checkpoints" | grep step- | tail -n 1)
	for f in training_state.safetensors adapter_model.safetensors; do
		cmp "$1/checkpoints/$n/$f" "$2/checkpoints/$n/$f" || return 1
	done
}
# Digest of metrics: seconds are not in it.
digest() { tail -c 4096 "$1" | tr -d '\000' | tr , '\n' | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p' | tail -n 1; }
X
. ./fixture.sh
cp -R "$DATA/examples/base" base
peft-init -q -m base -r 4 --dropout 0.1 -o init || exit 1
"$sample" -n 96 --per 32 --length 30 examples >ex.pts
peft-batch -b 3 -e 2 -s 1 --accumulate 2 -o b.pts ex.pts
peft-batch -b 8 -n 2 -o held.pts ex.pts

test_that 'a run leaves an adapter and a complete stream of metrics' '
	. ./fixture.sh
	step --save-steps 1 -o whole b.pts >whole.pts
	peft-head -n 1000 whole.pts >/dev/null
	test -f whole/adapter_model.safetensors
	test -f whole/adapter_config.json
	total=$(head -c 2000 b.pts | tr , "\n" | sed -n "s/.*total_steps\":\"\([0-9]*\).*/\1/p")
	ls whole/checkpoints >got
	printf "finished\nstep-%08d\nstep-%08d\n" $((total - 1)) $total | cmp - got
	test -n "$(digest whole.pts)"'

test_that 'it reads a pipe, and the same again leaves it alone' '
	. ./fixture.sh
	cat b.pts | step --save-steps 1 -o piped >piped.pts
	same_run whole piped
	test "$(digest whole.pts)" = "$(digest piped.pts)"
	touch -d "2001-01-01" piped/adapter_model.safetensors
	cat b.pts | step --save-steps 1 -o piped >again.pts
	cmp piped.pts again.pts
	test -n "$(find piped/adapter_model.safetensors -newermt 2001-01-01)" && exit 1
	test "$(find piped -name "*.safetensors" -newermt 2001-02-01 -path "./piped/adapter*" | wc -l)" -eq 0'

test_that '1, 2 and 4 threads give the same bytes' '
	. ./fixture.sh
	for j in 1 2 4; do
		step -j $j --save-steps 1 -o threads$j b.pts >threads.pts
		same_run whole threads$j
		test "$(digest whole.pts)" = "$(digest threads.pts)"
	done'

test_that 'recomputing gives the same bytes' '
	. ./fixture.sh
	step --recompute --save-steps 1 -o recompute b.pts >recompute.pts
	same_run whole recompute'

# Killed when a further checkpoint has appeared, at most six times, until it ends by itself.
test_that 'killed with -9 again and again, it ends the same' '
	. ./fixture.sh
	newest() { ls killed/checkpoints 2>/dev/null | grep "^step-" | tail -n 1; }
	kills=0
	while :; do
		was=$(newest) || :
		cat b.pts | (exec peft-step $args --save-steps 1 -o killed) >killed.pts &
		pid=$!
		n=0
		while [ $kills -lt 6 ] && [ $n -lt 1000 ] && [ "$(newest)" = "$was" ] && kill -0 $pid; do
			n=$((n + 1))
			sleep 0.01
		done
		[ $kills -lt 6 ] && kill -9 $pid || break
		kills=$((kills + 1))
		wait $pid || :
	done
	wait $pid
	test $kills -ge 3
	same_run whole killed
	test "$(digest whole.pts)" = "$(digest killed.pts)"'

test_that 'TERM: saved, 75, and the same end; INT: saved, 130' '
	. ./fixture.sh
	for sig in TERM INT; do
		"$sample" -n 200 --per 6 --length 30 --total 17 batch >slow.pts
		rm -rf one two two.pts err
		step -o one slow.pts >one.pts
		head -c 30000 slow.pts >part.pts
		mkfifo fifo 2>/dev/null || :
		exec 9<>fifo
		cat part.pts >&9
		(exec env --default-signal=INT timeout --foreground 60 peft-step $args -o two) <fifo >two.pts 2>err 9>&- &
		pid=$!
		n=0
		until grep -q . two.pts 2>/dev/null && [ "$(wc -c <two.pts)" -gt 3000 ] || [ $n -gt 500 ]; do
			n=$((n + 1)); sleep 0.01
		done
		kill -$sig $pid
		rc=0
		wait $pid || rc=$?
		exec 9>&-
		cat err
		[ $sig = TERM ] && test $rc -eq 75
		[ $sig = INT ] && test $rc -eq 130
		grep "stopped by $sig: step [0-9]* is saved in two" err
		exits 3 peft-head -n 1000 two.pts >/dev/null
		step -o two slow.pts >two.pts
		same_run one two
		test "$(digest one.pts)" = "$(digest two.pts)"
	done'

test_that 'input that is cut short is saved and refused' '
	. ./fixture.sh
	head -c 60000 b.pts >cut.pts
	exits 3 step -o cut cut.pts >cut.log 2>err
	cat err
	grep "cut short" err
	grep "is saved in cut" err
	test ! -e cut/adapter_model.safetensors
	step --save-steps 1 -o cut b.pts >cut.log
	same_run whole cut || test $? -eq 1
	cmp whole/adapter_model.safetensors cut/adapter_model.safetensors
	: | exits 3 step -o empty >/dev/null 2>err
	grep "empty input" err
	test ! -e empty/adapter_model.safetensors'

test_that 'what is no adapter is told with the cure' '
	. ./fixture.sh
	mkdir -p stopped/checkpoints/step-00000003
	exits 3 peft-eval -q -m base -a stopped --other-tokenizer b.pts 2>err
	grep "stopped: a run of peft-step was stopped there: the same command ends it, and stopped/checkpoints/step-\* are adapters" err
	exits 2 peft-eval -q -m base -a base --other-tokenizer b.pts 2>err
	grep "^peft-eval: -a base is the directory of -m" err
	exits 2 peft-step -q -m base -a ./base/ -o none b.pts 2>err >/dev/null
	grep "^peft-step: -a ./base/ is the directory of -m" err
	test ! -e none
	exits 2 peft-step -d foo -m base -a init -o none b.pts 2>err >/dev/null
	grep "^peft-step: no device .foo.: auto, cpu, cuda or cuda:N$" err'

test_that 'a stream without examples is named, in training and in evaluation' '
	. ./fixture.sh
	"$sample" -n 2 --per 2 --length 30 examples | peft-batch --split 0.999 --part train >none.pts
	exits 3 step -o none none.pts 2>err >/dev/null
	grep "^peft-step: none.pts: a stream without a single example" err
	exits 3 step -o none --eval none.pts b.pts 2>err >/dev/null
	grep "^peft-step: none.pts: a stream without a single example" err
	exits 3 peft-eval -m base --other-tokenizer none.pts 2>err >out
	grep "^peft-eval: none.pts: a stream without a single example" err
	test ! -s out'

test_that 'a schedule that the stream does not hold is one warning' '
	. ./fixture.sh
	n=$(peft-view b.pts | sed -n "s/^ *total_steps *//p")
	step -o long --steps $((n + 1)) --warmup 1 b.pts 2>err >/dev/null
	grep "^peft-step: warning: --steps is $((n + 1)), the stream has $n: the run ends there" err
	test "$(wc -l <err)" -eq 1
	step -o warm --warmup "$n" b.pts 2>err >/dev/null
	grep "^peft-step: warning: --warmup $n is all of the $n steps: the rate never reaches --lr" err
	step -o exact --steps "$n" --warmup $((n - 1)) b.pts 2>err >/dev/null
	test ! -s err'

test_that 'a signal after a failure decides the status, and hides no cause' '
	. ./fixture.sh
	head -c 60000 b.pts >cut.pts
	(exec peft-step $args -o both cut.pts) >both.pts 2>err & pid=$!
	n=0
	until ls both/checkpoints 2>/dev/null | grep -q "^step-" || [ $n -gt 1000 ]; do n=$((n + 1)); sleep 0.01; done
	kill -TERM $pid
	rc=0
	wait $pid || rc=$?
	cat err
	test $rc -eq 75
	grep "stopped by TERM: step [0-9]* is saved in both.*; before that: .*cut short" err'

test_that 'FAIL that names a signal is 75, another one 3' '
	. ./fixture.sh
	"$sample" -n 60 --per 6 --fail-after 4 --total 5 batch >fail.pts || :
	exits 3 step -o fail fail.pts >/dev/null 2>err
	grep "upstream sample failed: this sample fails" err
	ls fail/checkpoints | grep step-00000002'

test_that 'an early END of the input is a complete one' '
	. ./fixture.sh
	peft-head -n 10 b.pts >head.pts
	step -o head head.pts >head.log 2>err
	test -f head/adapter_model.safetensors
	test -d head/checkpoints/step-00000005
	all=$(tail -c 4096 whole.pts | tr -d "\000" | tr , "\n" | sed -n "s/.*\"steps\":\"\([0-9]*\)\".*/\1/p" | tail -n 1)
	grep -x "peft-step: warning: the stream ended after 5 of $all steps: the learning rate has not come down to its end" err
	step --schedule constant -o level head.pts 2>err >head.log
	grep -x "peft-step: warning: the stream ended after 5 of $all steps" err
	step --steps 6 -o six head.pts 2>err >head.log
	grep "ended after 5 of 6 steps: " err
	step --steps 5 -o five head.pts 2>err >head.log
	test ! -s err
	rm -r five
	step --steps 5 -o five b.pts 2>err >five.log
	test ! -s err
	test -f five/adapter_model.safetensors
	test -d five/checkpoints/step-00000005'

test_that 'nobody reads the metrics: said once, trained on' '
	. ./fixture.sh
	step --save-steps 1 -o unread b.pts 2>err | true
	n=0
	until test -f unread/checkpoints/finished || [ $n -gt 500 ]; do n=$((n + 1)); sleep 0.02; done
	cmp whole/adapter_model.safetensors unread/adapter_model.safetensors
	test "$(grep -c "training goes on" err)" -le 1'

test_that 'evaluation: results in the metrics, the best kept and published' '
	. ./fixture.sh
	step --eval held.pts --eval-steps 10 -o eval b.pts >eval.pts
	grep -a -o "eval_loss" eval.pts | wc -l | grep -x " *5"
	grep "\"best_step\"" eval/checkpoints/step-*/training_state.json
	exits 2 step --eval - -o eval2 b.pts 2>err
	grep "regular file" err'

test_that 'what is refused, with the cure' '
	. ./fixture.sh
	exits 2 peft-step -m base -a init b.pts 2>err
	grep -e "-o" err
	exits 2 peft-step -m base -a init -o init b.pts 2>err
	grep "the directory of -a" err
	ln -s init link
	exits 2 peft-step -m base -a init -o link b.pts 2>err
	exits 1 step --eval nofile -o unmade b.pts 2>err >/dev/null
	grep "nofile: No such file" err
	cp -R init foreign
	exits 2 step -o foreign b.pts 2>err >/dev/null
	grep "foreign holds adapter_config.json, which no run has left there" err
	cmp init/adapter_model.safetensors foreign/adapter_model.safetensors
	cp -R base model
	exits 2 step -o model b.pts 2>err >/dev/null
	grep "model holds config.json" err
	test ! -e model/checkpoints
	exits 2 peft-step -m base -a init -o new b.pts 2>err >fail.log
	grep "another tokenizer" err
	exits 3 peft-head -n 1 fail.log >/dev/null 2>err2
	grep "upstream peft-step failed: .*another tokenizer" err2
	grep -e "--other-tokenizer" err
	exits 2 peft-step -q -m base -a init --lr 1e-3 --other-tokenizer --save-steps 1 -o whole b.pts 2>err
	grep "lr=0.01, not lr=0.001" err
	peft-batch -b 3 -e 2 -s 2 --accumulate 2 -o other.pts ex.pts
	exits 2 step -o whole other.pts 2>err
	grep "other data" err
	"$sample" -n 60 --per 6 batch >endless.pts
	exits 2 step -o endless endless.pts 2>err
	grep -e "--steps" err
	step --schedule constant -o endless endless.pts >/dev/null
	exits 3 step -o kind ex.pts 2>err
	grep "peft-batch" err'

test_that 'the output directory is locked' '
	. ./fixture.sh
	mkfifo pipe
	step -o locked <pipe >/dev/null 2>first & pid=$!
	exec 9>pipe
	n=0
	until test -e locked/checkpoints/.lock || [ $n -gt 300 ]; do n=$((n + 1)); sleep 0.01; done
	sleep 0.1
	exits 1 step -o locked b.pts 2>err
	grep locked err
	cat b.pts >&9
	exec 9>&-
	wait $pid'

# An address space of this size is too small for sanitizers themselves.
case $BUILD in
*/san) test_skip 'a step that does not fit is refused at the start' 'sanitizers' ;;
*)	test_that 'a step that does not fit is refused at the start' '
	. ./fixture.sh
	"$sample" -n 128 --per 64 --length 4096 --total 1 batch >big.pts
	ulimit -v 300000
	exits 2 step -j 1 -o big big.pts 2>err >metrics.pts
	grep "tokens needs [0-9]* bytes, .*up to [0-9]* tokens fit" err
	test ! -e big/adapter_model.safetensors' ;;
esac

test_that 'the plan says what a run takes' '
	. ./fixture.sh
	peft-step -m base -a init --other-tokenizer --plan b.pts >plan
	cat plan
	test "$(wc -l <plan)" -eq 7
	grep "the step fits, 0 of" plan'

test_that 'in less memory: layers are computed again, to the same bits, or the step is refused' '
	. ./fixture.sh
	bytes() {
		peft-step -m base -a init --other-tokenizer --plan "$@" b.pts | awk "/^trained|^other/ { n += \$3 } /^step/ { n += \$2 } END { print n }"
	}
	all=$(bytes) least=$(bytes --recompute)
	test "$least" -lt "$all"
	test "$(bytes --recompute=1000)" -eq "$least"
	test "$(bytes --recompute=0)" -eq "$all"
	step -o all b.pts >all.pts
	for mem in $((all - 1)) "$least"; do
		peft-step -m base -a init --other-tokenizer --plan --mem $mem b.pts | grep "the step fits, [1-9]"
		rm -rf less
		peft-step -v ${args#-q} --mem $mem -o less b.pts >less.pts 2>err
		grep "^peft-step: [1-9] of [0-9]* blocks are computed again" err
		cmp all/adapter_model.safetensors less/adapter_model.safetensors
	done
	exits 2 step --mem $((all - 1)) --recompute=0 -o tight b.pts >never.pts 2>err
	grep "tokens fit: .* or --recompute$" err
	exits 2 step --mem $((least - 1)) -o tight b.pts >never.pts 2>err
	grep "tokens fit" err
	exits 2 step --mem 0 -o tight b.pts'

test_that 'the plan adds up: with evaluation, on a device of its own, and what does not fit is told' '
	. ./fixture.sh
	peft-batch -b 20 -o large.pts ex.pts
	plan() { peft-step -m base -a init --other-tokenizer --plan "$@" b.pts; }
	sum() { awk "/^weights  |^trained|^other/ { n += \$(NF > 2 && \$2 + 0 == 0 ? 3 : 2) } /^step|^evaluation/ { m = \$2 > m ? \$2 : m } END { print n + m }" "$1"; }
	plan -d guard >plan
	plan -d guard --eval large.pts >with
	grep "^evaluation " with
	grep "the step fits" with
	test "$(sum with)" -gt "$(sum plan)"
	all=$(sum with)
	step -d guard --mem "$all" --recompute=0 --eval large.pts -o just b.pts >just.pts
	exits 2 plan -d guard --mem $((all - 1)) --recompute=0 --eval large.pts >plan 2>err
	grep "the evaluation does not fit" plan
	grep "does not fit into $((all - 1)) bytes: it takes $all at least, with micro-batches of one token [1-9]" err
	exits 2 step -d guard --mem $((all - 1)) --recompute=0 --eval large.pts -o tight b.pts >never.pts 2>err
	grep "evaluating a micro-batch" err
	exits 2 plan --recompute --mem 1k >plan 2>err
	grep "the step does not fit" plan
	exits 1 grep " 0 tokens" plan
	least=$(sed -n "s/.*it takes \([0-9]*\) at least.*/\1/p" err) one=$(sed -n "s/.* of one token //p" err)
	plan --recompute --mem "$least" | grep "the step fits"
	exits 2 step --recompute --mem 1k -o tight b.pts >never.pts 2>err
	grep "training does not fit into 1000 bytes: with micro-batches of one token it takes $one" err'

test_that 'a dry run changes nothing' '
	. ./fixture.sh
	peft-step -m base -a init --other-tokenizer --dry-run b.pts >dry
	cat dry
	grep "^loss [0-9.]*  grad_norm" dry'
test_that 'a mistyped model or adapter leaves nothing behind' '
	exits 1 peft-step -m nowhere -a init -o never b.pts >never.pts 2>err
	grep nowhere err
	exits 1 peft-step -m base -a nowhere -o never b.pts >never.pts 2>err
	grep nowhere err
	test ! -e never'
test_done
