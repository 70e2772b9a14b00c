/* SPDX-License-Identifier: MIT */
/*
 * peft-merge.c - base and adapter become one model directory.
 */
#include <stdio.h>
#include <string.h>

#include "load.h"
#include "newdir.h"
#include "peft/merge.h"
#include "tool.h"

static const char *model, *adapter, *output, *device = "cpu";
static int64_t threads;
static int dtype;
static bool force;

#define DTYPES "stored|f32|bf16|f16"
static const int types[] = { -1, PT_F32, PT_BF16, PT_F16 };

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "the base: a model directory or a name in the hub cache" },
	{ .name = "adapter", .letter = 'a', .type = PT_OPT_STRING, .arg = "DIR", .value = &adapter,
	  .help = "the adapter to merge, or a trained model directory" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "DIR", .value = &output,
	  .help = "the model directory to make" },
	{ .name = "dtype", .type = PT_OPT_CHOICE, .arg = "TYPE", .value = &dtype, .choices = DTYPES,
	  .help = "type of the written tensors (stored: as the base has each)" },
	{ .name = "device", .letter = 'd', .type = PT_OPT_STRING, .arg = "NAME", .value = &device,
	  .help = "where it is computed (cpu)" },
	LOAD_OPTION_THREADS(&threads),
	{ .name = "force", .letter = 'f', .type = PT_OPT_FLAG, .value = &force,
	  .help = "replace a directory that holds something else" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-merge", "[options] -m DIR -a DIR -o DIR", "Merges an adapter into its base model.", opts
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
	const struct pt_merge_options o = { .dtype = types[dtype] };
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
		return newdir_publish(&d, force, same, err);
	newdir_abort(&d);
	return st;
}

static int run(const struct pt_tool *t, struct pt_error *err)
{
	struct load_options o = { .model = model, .adapter = adapter, .device = device, .threads = (int)threads };
	struct load l = { 0 };
	struct pt_merge mg = { 0 };
	bool same = false;
	int st;

	if (t->noperands)
		return pt_error(err, PT_USAGE, "unexpected argument '%s'", t->operand[0]);
	if (!model || !adapter || !output)
		return pt_error(err, PT_USAGE, "%s is needed", !model ? "-m DIR" : !adapter ? "-a DIR" : "-o DIR");
	st = load_open(&l, &o, err);
	if (!st)
		st = newdir_check(output, l.base.path, "base", err);
	if (!st)
		st = newdir_check(output, adapter, "adapter", err);
	if (!st)
		st = merge(&l, &same, &mg, err);
	if (!st && same)
		pt_log(PT_FACT, "%s is there already, the same; left alone", output);
	else if (!st)
		pt_log(PT_FACT, "%s: %lld of %lld tensors merged", output, (long long)mg.merged, (long long)mg.total);
	pt_merge_release(&mg);
	load_close(&l);
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
