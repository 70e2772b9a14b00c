# SPDX-License-Identifier: MIT
# peft.mk - rules for Makefiles that train adapters.
#
#     MODEL = models/MiniLM
#     INIT = -r 8 --task class --labels negative,positive
#     TEST = test.pts
#     include peft.mk
#
#     reviews.batch.pts: BATCH = -b 16 -e 3 -s 1
#     all: reviews.eval.txt
#
# Of reviews.jsonl (or .txt) "make reviews.eval.txt" makes reviews.pts, reviews.batch.pts, the fresh adapter
# reviews.init/, the trained one reviews/ and its evaluation on TEST. Each step runs again when what it is made of
# is newer; peft-step goes on where it was stopped. Options: TOKENIZE, BATCH, INIT, STEP, EVAL, EVALBATCH.

MODEL ?= base
TOKENIZE ?=
BATCH ?=
INIT ?=
STEP ?=
EVAL ?=
EVALBATCH ?=

# A filter that fails leaves no half of a file that the next run takes for a whole one.
.DELETE_ON_ERROR:
# Adapters hold hours of work, in checkpoints too: they stay when make is interrupted, and are no intermediate files.
.PRECIOUS: %/adapter_model.safetensors %.init/adapter_model.safetensors
.SECONDARY:

# No pipefail here: a stage that stops early ends those before it by SIGPIPE, and that is no failure.
# A stage that fails says so in the stream, and the last one fails with it.

%.pts: %.jsonl
	peft-tokenize -m $(MODEL) $(TOKENIZE) -o $@ $<

%.pts: %.txt
	peft-tokenize -m $(MODEL) $(TOKENIZE) -o $@ $<

%.batch.pts: %.pts
	peft-batch $(BATCH) -o $@ $<

%.init/adapter_model.safetensors:
	peft-init -m $(MODEL) $(INIT) -o $*.init

%/adapter_model.safetensors: %.batch.pts %.init/adapter_model.safetensors
	peft-step -m $(MODEL) -a $*.init -o $* $(STEP) $< >$*.metrics.pts

%.eval.txt: %/adapter_model.safetensors $(TEST)
	peft-batch $(EVALBATCH) $(TEST) | peft-eval -m $(MODEL) -a $* $(EVAL) >$@
