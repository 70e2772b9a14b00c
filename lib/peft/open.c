/* SPDX-License-Identifier: MIT */
/*
 * open.c - an adapter from its directory: its files found, what they hold
 * read and checked.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

/*
 * A head that the model had to make up must come from the adapter: a fresh
 * one trains and saves it, whatever the configuration says.
 */
static int check_fresh(const struct pt_adapter *a, struct pt_error *err)
{
	for (int i = 0; i < a->model->nweights; i++) {
		const struct pt_weight *w = &a->model->weight[i];

		if (w->fresh && !pt_adapter_replaced(a, w))
			return pt_error(err, PT_DATA, "neither the base nor the adapter has %s", w->path);
	}
	return 0;
}

static int open_file(const char *dir, const char *name, struct pt_st *st, struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	int status = path ? pt_st_open(st, path, err) : PT_FAIL;

	free(path);
	return status;
}

static bool has_file(const char *dir, const char *name)
{
	struct pt_error err = PT_ERROR_INIT;
	char *path = pt_path_join(dir, name, &err);
	bool yes = path && pt_is_file(path);

	free(path);
	return yes;
}

/*
 * What is said of dir's contents names it; what is said of one of its files
 * names that already. What is misuse in options is bad data in a file.
 */
static int of_dir(int st, const char *dir, struct pt_error *err)
{
	if (st == PT_USAGE)
		err->status = PT_DATA;
	return st == PT_USAGE || st == PT_DATA ? pt_error_prefix(err, "%s", dir) : st;
}

static int open_files(struct pt_adapter *a, const char *dir, struct pt_st file[PT_INS], struct pt_error *err)
{
	int st = pt_layout_no_pickle(a->layout, dir, err);

	for (int i = 0; i < PT_INS && !st; i++) {
		const char *name = pt_adapter_file_name(a, (enum pt_adapter_in)i);

		if ((i == PT_IN_HEAD && a->under) || (i != PT_IN_WEIGHTS && !(name && has_file(dir, name))))
			continue;
		st = open_file(dir, name, &file[i], err);
		a->file[i] = &file[i];
	}
	return st;
}

static int read_tensors(struct pt_adapter *a, struct pt_error *err)
{
	int st = pt_adapter_create(a, err);

	if (!st)
		st = pt_adapter_load(a, err);
	for (int i = 0; i < a->nsites && !st && a->method->load; i++)
		st = a->method->load(a, &a->site[i], err);
	if (!st)
		st = pt_adapter_check_made(a, err);
	return st || a->under ? st : check_fresh(a, err);
}

/* The configuration's meaning. */
static int parse(struct pt_adapter *a, struct pt_error *err)
{
	int st = a->under ? 0 : pt_adapter_check_task(a, err);

	/* Where the head has a file of its own, that says what it holds. */
	if (!st && !a->layout->head && !a->under)
		st = pt_adapter_list_heads(a, err);
	return st ? st : a->method->parse(a, err);
}

int pt_adapter_read(struct pt_adapter *a, const char *dir, struct pt_error *err)
{
	char *prov = pt_path_join(dir, PT_PROV_FILE, err);
	struct pt_st file[PT_INS] = { 0 };
	int st = prov ? pt_prov_read(&a->prov, prov, &a->prov_id, err) : PT_FAIL;

	free(prov);
	if (!st && !a->under)
		st = pt_labels_find(a->layout, dir, a->config, a->task, &a->labels, &a->nlabels, err);
	if (st || a->full)
		return st ? st : pt_full_open(a, dir, err);
	if (!a->labels)
		a->nlabels = 0;
	st = of_dir(parse(a, err), dir, err);
	if (!st)
		st = open_files(a, dir, file, err);
	if (!st)
		st = of_dir(read_tensors(a, err), dir, err);
	for (int i = 0; i < PT_INS; i++) {
		a->file[i] = NULL;
		pt_st_release(&file[i]);
	}
	return st;
}

int pt_adapter_open_from(struct pt_adapter **out, struct pt_model *m, const struct pt_adapter_origin *from,
			 struct pt_error *err)
{
	const char *dir = from->dir;
	const struct pt_layout *layout;
	const struct pt_method *method;
	cJSON *config;

	*out = NULL;
	if (!has_file(dir, PT_ADAPTER_CONFIG))
		return pt_adapter_make(out, m, NULL, NULL, from, err);
	if (pt_layout_read(dir, &layout, &config, err))
		return err->status;
	if (!pt_method_of_config(config, &method, err) && layout != pt_method_layout(method))
		pt_error(err, PT_DATA, "peft_type %s is not %s's", method->peft_type, layout->library);
	if (err->status) {
		pt_json_free(config);
		return pt_error_prefix(err, "%s", dir);
	}
	return pt_adapter_make(out, m, method, config, from, err);
}

int pt_adapter_open(struct pt_adapter **out, struct pt_model *m, const char *dir, bool trainable,
		    struct pt_error *err)
{
	return pt_adapter_open_from(out, m, &(struct pt_adapter_origin){ .dir = dir, .trainable = trainable }, err);
}
