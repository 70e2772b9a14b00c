/* SPDX-License-Identifier: MIT */
/*
 * combine.c - several adapters become one; see combine.h.
 */
#include "combine.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "newdir.h"
#include "tool.h"

int combine_inputs(struct combine_inputs *in, const struct pt_opt_list *given, struct pt_error *err)
{
	*in = (struct combine_inputs){ 0 };
	in->dir = pt_calloc((size_t)given->n, sizeof *in->dir, err);
	in->weight = pt_calloc((size_t)given->n, sizeof *in->weight, err);
	if (!in->dir || !in->weight)
		return err->status;
	for (int i = 0; i < given->n; i++) {
		const char *text = given->item[i], *sign = strrchr(text, '=');

		in->weight[i] = 1;
		in->n++;
		if (!sign || pt_is_dir(text)) {
			in->dir[i] = pt_strdup(text, err);
		} else {
			in->dir[i] = pt_strndup(text, (size_t)(sign - text), err);
			in->weighted = true;
			if (in->dir[i] && pt_parse_double(sign + 1, -1e9, 1e9, &in->weight[i], err))
				return pt_error_prefix(err, "-a %s: a weight", text);
		}
		if (!in->dir[i])
			return err->status;
	}
	return 0;
}

void combine_inputs_release(struct combine_inputs *in)
{
	for (int i = 0; i < in->n; i++)
		free(in->dir[i]);
	free(in->dir);
	free(in->weight);
	*in = (struct combine_inputs){ 0 };
}

static int no_such_kind(const char *name, struct pt_error *err)
{
	const struct pt_combine_kind *k;
	struct pt_buf text = PT_BUF_INIT;

	for (int i = 0; (k = pt_combine_kind_at(i)); i++)
		pt_buf_printf(&text, "%s%s", i ? ", " : "", k->name);
	if (!pt_buf_check(&text, err))
		pt_error(err, PT_USAGE, "--combine: '%s' is none of %s", name, text.data);
	pt_buf_release(&text);
	return err->status;
}

static int options(const struct combine *c, const struct combine_inputs *in, struct pt_combine_options *o,
		   struct pt_error *err)
{
	const struct pt_combine_kind *k = pt_combine_kind(c->kind);
	static const char without[] = "--%s has no meaning for --combine %s";

	if (!k)
		return no_such_kind(c->kind, err);
	if (c->rank_given && k->form != PT_COMBINE_PRODUCTS)
		return pt_error(err, PT_USAGE, without, "rank", k->name);
	if (c->density_given && k->drop == PT_DROP_NONE)
		return pt_error(err, PT_USAGE, without, "density", k->name);
	if (c->seed_given && k->drop != PT_DROP_RANDOM)
		return pt_error(err, PT_USAGE, without, "seed", k->name);
	if (c->sign_given && !k->elect)
		return pt_error(err, PT_USAGE, without, "sign", k->name);
	if (!c->density_given && k->drop != PT_DROP_NONE)
		return pt_error(err, PT_USAGE, "--combine %s wants --density: the share of values that stay", k->name);
	*o = (struct pt_combine_options){ .kind = k, .weight = in->weight, .rank = (int)c->rank, .density = c->density,
					  .frequency = c->sign == 1, .seed = (uint64_t)c->seed, .stop = tool_signal };
	return 0;
}

/* This step joins what is known of the adapters. */
static int note(const struct combine *c, const struct combine_inputs *in, struct pt_adapter *to,
		struct pt_adapter *const *from, struct pt_error *err)
{
	struct pt_prov_step step = { .tool = "peft-merge", .version = PT_VERSION, .kind = "adapter", .has_digest = true };
	uint64_t *parent = pt_calloc((size_t)in->n, sizeof *parent, err);
	struct pt_buf text = PT_BUF_INIT;
	int st = parent ? pt_adapter_digest(to, &step.digest, err) : err->status;

	pt_buf_printf(&text, "--combine %s", c->kind);
	for (int i = 0; i < in->n && !st; i++) {
		pt_buf_printf(&text, " =%.9g", in->weight[i]);
		if (from[i]->prov_id)
			parent[step.nparents++] = from[i]->prov_id;
	}
	if (c->rank_given)
		pt_buf_printf(&text, " -r %lld", (long long)c->rank);
	if (c->density_given)
		pt_buf_printf(&text, " --density %.9g", c->density);
	if (c->sign == 1)
		pt_buf_printf(&text, " --sign frequency");
	if (c->seed_given)
		pt_buf_printf(&text, " -s %lld", (long long)c->seed);
	if (!st)
		st = pt_buf_check(&text, err);
	step.options = text.data;
	step.parent = parent;
	if (!st)
		st = pt_prov_add(&to->prov, &step, &to->prov_id, err);
	pt_buf_release(&text);
	free(parent);
	return st;
}

static int write_out(const struct combine *c, struct pt_adapter *a, bool *same, struct pt_error *err)
{
	struct newdir d;
	int st = newdir_open(&d, c->output, err);

	if (st)
		return st;
	st = pt_adapter_save(a, d.tmp, PT_SAVE_ALL, err);
	if (!st)
		return newdir_publish(&d, c->force, same, err);
	return newdir_abort(&d, err);
}

int combine_run(const struct combine *c, const struct combine_inputs *in, struct load *l, bool *same,
		struct pt_error *err)
{
	struct pt_adapter **a = pt_calloc((size_t)in->n, sizeof *a, err), *to = NULL;
	struct pt_combine_options o;
	int st = a ? options(c, in, &o, err) : err->status;

	if (!st && !l->adapter)
		st = pt_error(err, PT_USAGE, "%s is a model, --combine is for adapters", in->dir[0]);
	if (!st)
		a[0] = l->adapter;
	for (int i = 1; i < in->n && !st; i++) {
		st = newdir_check(c->output, in->dir[i], "adapter", err);
		if (!st)
			st = pt_adapter_open(&a[i], l->model, in->dir[i], false, err);
	}
	if (!st)
		st = pt_combine(&to, a, in->n, &o, err);
	if (!st)
		st = note(c, in, to, a, err);
	if (!st)
		st = write_out(c, to, same, err);
	if (!st)
		pt_log(PT_FACT, *same ? "%s is there already, the same; left alone" : "%s: %d adapters combined", c->output,
		       in->n);
	pt_adapter_close(to);
	for (int i = 1; i < in->n && a; i++)
		pt_adapter_close(a[i]);
	free(a);
	return st;
}
