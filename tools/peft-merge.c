/* SPDX-License-Identifier: MIT */
/*
 * peft-merge.c - base and adapter become one model directory, or several
 * adapters one adapter.
 */
#include <stdio.h>
#include <string.h>

#include "combine.h"
#include "load.h"
#include "newdir.h"
#include "peft/merge.h"
#include "tool.h"

static const char *model, *output, *device = "cpu";
static struct pt_opt_list adapters;
static struct combine combine;
static int64_t threads;
static int dtype;

#define DTYPES "stored|f32|bf16|f16"
static const int types[] = { -1, PT_F32, PT_BF16, PT_F16 };

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "the base: a model directory or a name in the hub cache" },
	{ .name = "adapter", .letter = 'a', .type = PT_OPT_LIST, .arg = "DIR", .value = &adapters,
	  .help = "the adapter to merge, or a trained model directory; DIR[=WEIGHT], repeated, with --combine" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "DIR", .value = &output,
	  .help = "the directory to make" },
	{ .name = "combine", .type = PT_OPT_STRING, .arg = "KIND", .value = &combine.kind,
	  .help = "make one adapter of several: cat, svd, linear, ties, dare_linear, ..." },
	{ .name = "rank", .letter = 'r', .type = PT_OPT_INT, .arg = "N", .value = &combine.rank, .min = 1, .max = 1 << 20,
	  .given = &combine.rank_given, .wants = "combine", .help = "its rank, where that is free (the largest of theirs)" },
	{ .name = "density", .type = PT_OPT_FLOAT, .arg = "F", .value = &combine.density, .max = 1,
	  .given = &combine.density_given, .wants = "combine", .help = "share of values that stay, where some are dropped" },
	{ .name = "sign", .type = PT_OPT_CHOICE, .arg = "HOW", .value = &combine.sign, .choices = "total|frequency",
	  .given = &combine.sign_given, .wants = "combine",
	  .help = "elected by the total of values or by their frequency (total)" },
	{ .name = "seed", .letter = 's', .type = PT_OPT_INT, .arg = "SEED", .value = &combine.seed, .max = 9e15,
	  .given = &combine.seed_given, .wants = "combine", .help = "of what is dropped at random (0)" },
	{ .name = "dtype", .type = PT_OPT_CHOICE, .arg = "TYPE", .value = &dtype, .choices = DTYPES,
	  .excludes = "combine",
	  .help = "type of the written tensors (stored: as the base has each)" },
	{ .name = "device", .letter = 'd', .type = PT_OPT_STRING, .arg = "NAME", .value = &device,
	  .help = "where it is computed (cpu)" },
	LOAD_OPTION_THREADS(&threads),
	{ .name = "force", .letter = 'f', .type = PT_OPT_FLAG, .value = &combine.force,
	  .help = "replace a directory that holds something else" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-merge", "[options] -m DIR -a DIR -o DIR", "Merges an adapter into its base model, or adapters into one.", opts
};

/* This step joins what is known of the adapter. */
static int note(struct pt_merge *mg, struct pt_error *err)
{
	struct pt_prov_step step = { .tool = "peft-merge", .version = PT_VERSION, .kind = "model" };
	static const char *const words[] = { "stored", "f32", "bf16", "f16" };
	char options[32];
	uint64_t parent = mg->prov_id;

	snprintf(options, sizeof options, "--dtype %s", words[dtype]);
	step.options = options;
	step.parent = &parent;
	step.nparents = parent != 0;
	return pt_prov_add(&mg->prov, &step, &mg->prov_id, err);
}

static int merge(struct load *l, bool *same, struct pt_merge *mg, struct pt_error *err)
{
	const struct pt_merge_options o = { .dtype = types[dtype], .stop = tool_signal };
	struct newdir d;
	int st = pt_merge_init(mg, l->model, l->adapter, &o, err);

	if (!st)
		st = note(mg, err);
	if (!st)
		st = newdir_open(&d, output, err);
	if (st)
		return st;
	st = pt_merge_write(mg, d.tmp, err);
	if (!st)
		return newdir_publish(&d, combine.force, same, err);
	return newdir_abort(&d, err);
}

static int merge_one(struct load *l, struct pt_error *err)
{
	struct pt_merge mg = { 0 };
	bool same = false;
	int st = merge(l, &same, &mg, err);

	if (!st && same)
		pt_log(PT_FACT, "%s is there already, the same; left alone", output);
	else if (!st)
		pt_log(PT_FACT, "%s: %lld of %lld tensors merged", output, (long long)mg.merged, (long long)mg.total);
	pt_merge_release(&mg);
	return st;
}

static int check_usage(const struct pt_tool *t, const struct combine_inputs *in, struct pt_error *err)
{
	if (t->noperands)
		return pt_error(err, PT_USAGE, "unexpected argument '%s'", t->operand[0]);
	if (!model || !in->n || !output)
		return pt_error(err, PT_USAGE, "%s is needed", !model ? "-m DIR" : !in->n ? "-a DIR" : "-o DIR");
	if (!combine.kind && (in->n > 1 || in->weighted))
		return pt_error(err, PT_USAGE, "several adapters, or a weight: --combine makes one adapter of them");
	return 0;
}

static int run(const struct pt_tool *t, struct pt_error *err)
{
	struct load_options o = { .model = model, .device = device, .threads = (int)threads };
	struct combine_inputs in;
	struct load l = { 0 };
	bool same = false;
	int st = combine_inputs(&in, &adapters, err);

	combine.output = output;
	if (!st)
		st = check_usage(t, &in, err);
	if (!st) {
		o.adapter = (const char *const *)in.dir;
		o.nadapters = 1;
		st = load_open(&l, &o, err);
	}
	if (!st)
		st = newdir_check(output, l.base.path, "base", err);
	if (!st)
		st = newdir_check(output, in.dir[0], "adapter", err);
	if (!st)
		st = combine.kind ? combine_run(&combine, &in, &l, &same, err) : merge_one(&l, err);
	load_close(&l);
	combine_inputs_release(&in);
	pt_opt_list_release(&adapters);
	return st;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_tool t;
	int st;

	tool_init(&t, &spec, argc, argv);
	/* So that no half-made directory stays. */
	tool_catch_signals();
	st = run(&t, &err);
	if (tool_signal())
		tool_die_of(tool_signal());
	return st ? tool_report(&err) : 0;
}
