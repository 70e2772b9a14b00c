/* SPDX-License-Identifier: MIT */
/*
 * peft-view.c - show streams, safetensors files, adapter and model
 * directories as text, TSV or JSON lines.
 */
#include "decode.h"
#include "tool.h"
#include "view.h"

static bool tsv, json, families;
static const char *model;
static struct view v = { .limit = -1 };
static const struct pt_opt opts[] = {
	{ .name = "count", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &v.limit, .max = 9e15,
	  .help = "stop after N examples, micro-batches, steps, predictions" },
	{ .name = "families", .type = PT_OPT_FLAG, .value = &families,
	  .excludes = "count|model|sites|stats|tensor|values",
	  .help = "list the kinds of models that are supported" },
	{ .name = "json", .type = PT_OPT_FLAG, .value = &json, .excludes = "tsv", .help = "JSON lines" },
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "decode ids with this model's tokenizer" },
	{ .name = "sites", .type = PT_OPT_FLAG, .value = &v.sites,
	  .excludes = "count|model|stats|tensor|values", .help = "of a model: its sites, not its tensors" },
	{ .name = "stats", .type = PT_OPT_FLAG, .value = &v.stats, .excludes = "values",
	  .help = "min, max, mean, NaN and infinities of each tensor" },
	{ .name = "tensor", .type = PT_OPT_LIST, .arg = "NAME", .value = &v.only, .help = "only this one; repeatable" },
	{ .name = "tsv", .type = PT_OPT_FLAG, .value = &tsv, .help = "tab-separated values with a head line" },
	{ .name = "values", .type = PT_OPT_FLAG, .value = &v.values, .help = "all values, not the first ones" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-view", "[options] [FILE|DIR ...]",
	"Shows tensor streams, safetensors files, adapters and models as text.", opts
};

static int show(const char *path, struct pt_error *err)
{
	struct operand o;

	if (operand_open(&o, path, err))
		return err->status;
	if (v.sites && o.type != OPERAND_MODEL)
		pt_error(err, PT_USAGE, "%s is no model directory: it has no sites", o.name);
	else if (o.type == OPERAND_STREAM)
		view_stream(&v, &o, err);
	else if (model || v.limit >= 0)
		pt_error(err, PT_USAGE, "%s: %s is for streams, and this is %s", o.name, model ? "-m" : "-n", operand_what(&o));
	else
		view_tensors(&v, &o, err);
	operand_close(&o);
	return err->status;
}

static int run(const struct pt_tool *t, struct pt_error *err)
{
	if (tool_check_input(t->operand, t->noperands, err) || (model && decode_open(&v.decode, model, err)))
		return err->status;
	v.format = tsv ? VIEW_TSV : json ? VIEW_JSON : VIEW_TEXT;
	if (families)
		return t->noperands ? pt_error(err, PT_USAGE, "--families takes no operands") : view_families(&v, err);
	if (!t->noperands)
		show("-", err);
	for (int i = 0; i < t->noperands && !err->status; i++) {
		if (v.format == VIEW_TEXT && t->noperands > 1)
			pt_buf_printf(&v.out, "%s==> %s <==\n", i ? "\n" : "", t->operand[i]);
		show(t->operand[i], err);
	}
	return err->status;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT, output = PT_ERROR_INIT;
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	run(&t, &err);
	decode_close(v.decode);
	pt_buf_release(&v.out);
	pt_opt_list_release(&v.only);
	if (tool_finish(&output) && !err.status)
		err = output;
	return err.status ? tool_report(&err) : 0;
}
