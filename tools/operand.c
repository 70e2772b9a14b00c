/* SPDX-License-Identifier: MIT */
/*
 * operand.c - see operand.h.
 */
#include "operand.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

static int by_name(const void *a, const void *b)
{
	const struct pt_st_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int add_tensors(struct operand *o, const struct pt_st *st, struct pt_error *err)
{
	const struct pt_st_tensor **p = pt_realloc(o->tensor, o->n + st->ntensors, sizeof *p, err);

	if (!p)
		return err->status;
	o->tensor = p;
	for (size_t i = 0; i < st->ntensors; i++)
		p[o->n++] = &st->tensor[i];
	if (o->n)
		qsort(p, o->n, sizeof *p, by_name);
	return 0;
}

/* A safetensors file of a directory; absent: fine when it is optional. */
static int open_part(struct operand *o, struct pt_st *st, const char *name, bool optional, struct pt_error *err)
{
	char *path = pt_path_join(o->dir, name, err);
	int status = path ? 0 : err->status;

	if (path && (!optional || pt_is_file(path))) {
		status = pt_st_open(st, path, err);
		if (!status)
			status = add_tensors(o, st, err);
	}
	free(path);
	return status;
}

static int open_adapter(struct operand *o, const char *config, struct pt_error *err)
{
	const struct pt_layout *l;

	o->type = OPERAND_ADAPTER;
	o->config = pt_json_read(config, 0, err);
	if (!o->config)
		return err->status;
	if (!cJSON_IsObject(o->config))
		return pt_error(err, PT_DATA, "%s: not a JSON object", config);
	l = o->layout = pt_layout_of(o->config);
	if (pt_layout_no_pickle(l, o->dir, err) || open_part(o, &o->weights, l->weights, false, err) ||
	    (l->head && open_part(o, &o->head, l->head, true, err)))
		return err->status;
	return open_part(o, &o->state, "peft_state.safetensors", true, err);
}

static int open_model(struct operand *o, const char *path, struct pt_error *err)
{
	const struct pt_st_tensor *t;
	size_t n = 0;

	o->type = OPERAND_MODEL;
	if (pt_modeldir_open(&o->model, path, PT_MODELDIR_NO_WEIGHTS, err))
		return err->status;
	o->dir = pt_strdup(o->model.path, err);
	o->config = o->model.config;
	while (pt_modeldir_tensor(&o->model, n))
		n++;
	o->tensor = pt_calloc(n, sizeof *o->tensor, err);
	if (!o->dir || !o->tensor)
		return err->status;
	while ((t = pt_modeldir_tensor(&o->model, o->n)) != NULL)
		o->tensor[o->n++] = t;
	return 0;
}

static int open_dir(struct operand *o, const char *path, struct pt_error *err)
{
	char *adapter = pt_path_join(path, PT_ADAPTER_CONFIG, err);
	char *model = pt_path_join(path, PT_MODEL_CONFIG, err);

	if (!adapter || !model) {
		err->status = PT_FAIL;
	} else if (pt_is_file(adapter)) {
		o->dir = pt_strdup(path, err);
		if (o->dir)
			open_adapter(o, adapter, err);
	} else if (pt_is_file(model)) {
		open_model(o, path, err);
	} else {
		pt_error(err, PT_DATA, "%s: neither an adapter (adapter_config.json) nor a model (config.json)", path);
	}
	free(adapter);
	free(model);
	return err->status;
}

static int open_file(struct operand *o, const char *path, struct pt_error *err)
{
	const struct pt_record *rec;

	o->type = OPERAND_STREAM;
	if (pt_reader_open(&o->reader, &path, 1, NULL, PT_READ_BARE | PT_READ_ANY_KIND, err) ||
	    pt_reader_head(o->reader, &rec, err))
		return err->status;
	if (rec)
		return 0;
	o->type = OPERAND_FILE;
	if (pt_reader_next(o->reader, &rec, err))
		return err->status;
	o->file = &rec->st;
	return add_tensors(o, o->file, err);
}

int operand_open(struct operand *o, const char *path, struct pt_error *err)
{
	struct pt_error other = PT_ERROR_INIT;
	char *dir = NULL;
	bool hub;
	int status;

	*o = (struct operand){ .name = strcmp(path, "-") ? path : "standard input" };
	if (strcmp(path, "-") && access(path, F_OK) && (dir = pt_modeldir_resolve(path, &hub, &other)) != NULL)
		status = open_model(o, path, err);	/* a model of the hub cache */
	else
		status = pt_is_dir(path) ? open_dir(o, path, err) : open_file(o, path, err);
	free(dir);
	if (status)
		operand_close(o);
	return status;
}

void operand_close(struct operand *o)
{
	pt_reader_close(o->reader);
	if (o->type == OPERAND_ADAPTER)
		pt_json_free(o->config);
	pt_st_release(&o->weights);
	pt_st_release(&o->state);
	pt_st_release(&o->head);
	pt_modeldir_close(&o->model);
	free(o->tensor);
	free(o->dir);
	memset(o, 0, sizeof *o);
}

const char *operand_what(const struct operand *o)
{
	static const char *const what[] = { "a stream", "a safetensors file", "an adapter", "a model" };

	return what[o->type];
}
