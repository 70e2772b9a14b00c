/* SPDX-License-Identifier: MIT */
/*
 * peft-batch.c - examples to micro-batches.
 */
#include "data/batch.h"
#include "filter.h"

static struct pt_batch_options o = { .accumulate = 1, .epochs = 1, .memory = (size_t)256 << 20,
				    .mask = { .prob = 0.15, .replace = 0.8, .random = 0.1 } };
static int64_t batch = 8, seed, split_seed, memory = (int64_t)256 << 20;
static bool split_given, part_given, zstd;
static const char *output = "-";
static int part;

static const struct pt_opt opts[] = {
	{ .name = "batch-size", .letter = 'b', .type = PT_OPT_INT, .arg = "N", .value = &batch, .min = 1, .max = 1e6,
	  .help = "examples of a micro-batch (8)" },
	{ .name = "tokens", .type = PT_OPT_INT, .arg = "N", .value = &o.tokens, .min = 1, .max = 1e8,
	  .excludes = "batch-size",
	  .help = "tokens of a micro-batch, packed by best fit, instead of -b" },
	{ .name = "accumulate", .type = PT_OPT_INT, .arg = "N", .value = &o.accumulate, .min = 1, .max = 1e6,
	  .help = "micro-batches of an optimiser step (1)" },
	{ .name = "epochs", .letter = 'e', .type = PT_OPT_INT, .arg = "N", .value = &o.epochs, .min = 1, .max = 1e6,
	  .help = "times that each example comes (1)" },
	{ .name = "seed", .letter = 's', .type = PT_OPT_INT, .arg = "SEED", .value = &seed, .max = 9e15,
	  .given = &o.shuffle, .help = "shuffle, anew in each epoch (the order of the input)" },
	{ .name = "split", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.split, .max = 1, .given = &split_given,
	  .help = "hold out this share of the examples; --part says which is written" },
	{ .name = "part", .type = PT_OPT_CHOICE, .arg = "PART", .value = &part, .choices = "train|held",
	  .given = &part_given, .wants = "split", .help = "of --split: train or held" },
	{ .name = "split-seed", .type = PT_OPT_INT, .arg = "SEED", .value = &split_seed, .max = 9e15, .wants = "split",
	  .help = "another split of the same share (0)" },
	{ .name = "mask-prob", .type = PT_OPT_FLOAT, .arg = "P", .value = &o.mask.prob, .max = 1, .given = &o.masks,
	  .help = "mlm: share of the tokens that are learned (0.15)" },
	{ .name = "mask-replace", .type = PT_OPT_FLOAT, .arg = "P", .value = &o.mask.replace, .max = 1, .given = &o.masks,
	  .help = "mlm: share of those that become a mask (0.8)" },
	{ .name = "mask-random", .type = PT_OPT_FLOAT, .arg = "P", .value = &o.mask.random, .max = 1, .given = &o.masks,
	  .help = "mlm: share of those that become a random token (0.1)" },
	{ .name = "stream", .type = PT_OPT_FLAG, .value = &o.stream, .excludes = "memory",
	  .help = "keep nothing: one epoch, in order, written while it is read" },
	{ .name = "memory", .type = PT_OPT_INT, .arg = "BYTES", .value = &memory, .max = 9e15,
	  .help = "examples kept in memory, the rest in TMPDIR (256Mi)" },
	{ .name = "steps", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &o.steps, .min = 1, .max = 9e15,
	  .help = "stop after N optimiser steps" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &output,
	  .help = "write to FILE instead of standard output" },
	{ .name = "zstd", .letter = 'z', .type = PT_OPT_FLAG, .value = &zstd, .help = "compress each record" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-batch", "[options] [FILE ...]",
	"Makes micro-batches of examples: sizes, packing, shuffling, epochs, splits, masks.", opts
};

static int settings(struct pt_error *err)
{
	if (split_given && !part_given)
		return pt_error(err, PT_USAGE, "--split wants --part train or --part held");
	if (o.mask.replace + o.mask.random > 1 + 1e-9)
		return pt_error(err, PT_USAGE, "--mask-replace and --mask-random are shares of one whole: %g and %g are more",
				o.mask.replace, o.mask.random);
	o.examples = o.tokens ? 0 : batch;
	o.seed = (uint64_t)seed;
	o.split_seed = (uint64_t)split_seed;
	o.memory = (size_t)memory;
	o.part = !split_given ? PT_PART_ALL : part ? PT_PART_HELD : PT_PART_TRAIN;
	return 0;
}

int main(int argc, char **argv)
{
	struct pt_writer_options out = { .tool = "peft-batch", .kind = "batch" };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_reader *in = NULL;
	struct pt_writer *w = NULL;
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	if (settings(&err) || tool_check_input(t.operand, t.noperands, &err) || tool_check_output(output, &err) ||
	    tool_check_same(output, t.operand, t.noperands, &err))
		return tool_report(&err);
	out.path = output;
	out.zstd = zstd;
	tool_catch_signals_briefly();
	if (!pt_writer_open(&w, &out, &err) &&
	    !pt_reader_open(&in, (const char *const *)t.operand, t.noperands, "examples", 0, &err))
		pt_batch_run(&o, in, w, &err);
	return filter_end(w, &in, 1, &err);
}
