/* SPDX-License-Identifier: MIT */
/*
 * tensors.c - the tensors of an adapter: one list, under the names of the
 * files, that the loader and the writer walk.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"

/* Where a module's name says norm, as the Trainer looks for it: "layernorm", "rmsnorm", ".norm.", "_norm.". */
static bool names_norm(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i + 4 <= n; i++) {
		const char *p = name + i;

		if (strncmp(p, "norm", 4) != 0)
			continue;
		if ((i >= 5 && !strncmp(p - 5, "layer", 5)) || (i >= 3 && !strncmp(p - 3, "rms", 3)))
			return true;
		if ((p[4] == '.' || p[4] == '\0') && (i == 0 || p[-1] == '.' || p[-1] == '_'))
			return true;
	}
	return false;
}

/* Weight decay spares biases and norms, by name, as the Trainer does. */
static bool decays(const char *name, struct pt_error *err)
{
	char *low = pt_strdup(name, err);
	bool yes;

	if (!low)
		return true;
	for (char *p = low; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	yes = !strstr(low, "bias") && !names_norm(low);
	free(low);
	return yes;
}

static const char *param_name(const struct pt_adapter *a, const char *key)
{
	const char *prefix = pt_key_prefix(a->method);
	size_t n = strlen(prefix);

	return strncmp(key, prefix, n) ? key : key + n;
}

/* "[8, 64]" of a tensor that is wanted. */
static void want_text(int ndim, const int64_t *shape, struct pt_buf *out)
{
	pt_buf_char(out, '[');
	for (int i = 0; i < ndim; i++)
		pt_buf_printf(out, "%s%lld", i ? "," : "", (long long)shape[i]);
	pt_buf_char(out, ']');
}

static int check_shape(const char *key, int ndim, const int64_t *shape, const struct pt_st_tensor *f, struct pt_error *err)
{
	struct pt_buf want = PT_BUF_INIT, have = PT_BUF_INIT;
	bool same = f->ndim == ndim;

	for (int i = 0; same && i < ndim; i++)
		same = f->shape[i] == shape[i];
	if (!same) {
		want_text(ndim, shape, &want);
		pt_st_shape_text(f, &have);
		if (!pt_buf_check(&want, err) && !pt_buf_check(&have, err))
			pt_error(err, PT_DATA, "%s is %s, this model and configuration want %s", key, have.data, want.data);
		pt_buf_release(&want);
		pt_buf_release(&have);
		return err->status;
	}
	return pt_st_floats(f, NULL, err);
}

/* Files of before PEFT 0.6 have biases of adapted modules without "base_layer.". */
static const struct pt_st_tensor *find_old(const struct pt_st *st, const char *key)
{
	static const char infix[] = ".base_layer.";
	const char *at = strstr(key, infix);
	const struct pt_st_tensor *t;
	struct pt_error err = PT_ERROR_INIT;
	char *old;

	if (!at)
		return NULL;
	old = pt_format(&err, "%.*s.%s", (int)(at - key), key, at + strlen(infix));
	t = old ? pt_st_find(st, old) : NULL;
	free(old);
	return t;
}

/* What a file has under a key, by any name that it has had; NULL: nothing. */
static const struct pt_st_tensor *find(const struct pt_st *file, const char *key)
{
	const struct pt_st_tensor *f = pt_st_find(file, key);

	return f ? f : find_old(file, key);
}

static enum pt_adapter_in file_of(int flags)
{
	return flags & PT_TENSOR_STATE ? PT_IN_STATE : flags & PT_TENSOR_HEAD ? PT_IN_HEAD : PT_IN_WEIGHTS;
}

/* A file that is open is asked before there is memory for what its configuration says. */
static int check_stored(const struct pt_adapter *a, const char *key, int flags, int ndim, const int64_t *shape,
			struct pt_error *err)
{
	enum pt_adapter_in in = file_of(flags);
	const struct pt_st_tensor *f = a->file[in] ? find(a->file[in], key) : NULL;

	if (f)
		return check_shape(key, ndim, shape, f, err);
	if (a->file[in] && !(flags & PT_TENSOR_OPTIONAL))
		return pt_error(err, PT_DATA, "%s lacks %s", pt_adapter_file_name(a, in), key);
	return 0;
}

int pt_adapter_tensor(struct pt_adapter *a, const char *key, int flags, int ndim, const int64_t *shape,
		      struct pt_param **out, struct pt_error *err)
{
	bool frozen = !a->trainable || flags & PT_TENSOR_FROZEN;
	struct pt_adapter_tensor *t;
	struct pt_param *p;
	int st;

	st = check_stored(a, key, flags, ndim, shape, err);
	if (!st)
		st = pt_grow(&a->tensor, &a->cap_tensors, a->ntensors + 1, sizeof *a->tensor, err);
	if (!st)
		st = pt_params_add(frozen ? &a->frozen : &a->params, param_name(a, key), ndim, shape, &p, err);
	if (st)
		return st;
	p->decay = decays(p->name, err);
	t = &a->tensor[a->ntensors];
	*t = (struct pt_adapter_tensor){ .param = p, .in = file_of(flags),
					  .optional = flags & PT_TENSOR_OPTIONAL, .up = flags & PT_TENSOR_UP,
					  .table = flags & PT_TENSOR_TABLE,
					  .memory = flags & PT_TENSOR_STATE && flags & PT_TENSOR_FROZEN };
	t->key = pt_strdup(key, err);
	if (!t->key)
		return err->status;
	a->ntensors++;
	if (out)
		*out = p;
	return err->status;
}

int pt_adapter_twin(struct pt_adapter *a, const char *key, struct pt_param *p, struct pt_error *err)
{
	struct pt_adapter_tensor *t;

	if (pt_grow(&a->tensor, &a->cap_tensors, a->ntensors + 1, sizeof *a->tensor, err))
		return err->status;
	t = &a->tensor[a->ntensors];
	*t = (struct pt_adapter_tensor){ .param = p, .twin = true, .optional = true };
	t->key = pt_strdup(key, err);
	if (!t->key)
		return err->status;
	a->ntensors++;
	return 0;
}

void pt_adapter_grouped(struct pt_adapter *a, int groups)
{
	a->tensor[a->ntensors - 1].groups = groups;
}

void pt_adapter_regroup(const struct pt_adapter_tensor *t, const float *from, float *to, bool to_file)
{
	int64_t rows = t->param->t.shape[0], groups = t->groups, rank = t->param->t.shape[1] / groups;

	for (int64_t g = 0; g < groups; g++) {
		for (int64_t i = 0; i < rows; i++) {
			for (int64_t k = 0; k < rank; k++) {
				int64_t own = (g * rows + i) * rank + k, file = (i * rank + k) * groups + g;

				to[to_file ? file : own] = from[to_file ? own : file];
			}
		}
	}
}

int pt_adapter_tensor_at(struct pt_adapter *a, struct pt_adapter_site *s, const char *name, int flags,
			 int ndim, const int64_t *shape, struct pt_error *err)
{
	struct pt_param *p;
	char *key;
	int st;

	if (s->nparams == PT_SITE_MAX_TENSORS)
		return pt_error(err, PT_FAIL, "%s: more than %d tensors", s->site->path, PT_SITE_MAX_TENSORS);
	key = pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);
	if (!key)
		return err->status;
	st = pt_adapter_tensor(a, key, flags, ndim, shape, &p, err);
	free(key);
	if (!st)
		s->param[s->nparams++] = p;
	return st;
}

int pt_adapter_made(struct pt_adapter *a, const char *key, int flags, struct pt_error *err)
{
	char *copy = pt_strdup(key, err);

	if (!copy || pt_grow(&a->made, &a->cap_made, a->nmade + 1, sizeof *a->made, err)) {
		free(copy);
		return err->status;
	}
	a->made[a->nmade++] = (struct pt_adapter_made){ copy, flags & PT_TENSOR_OPTIONAL };
	return 0;
}

const struct pt_st_tensor *pt_adapter_stored(const struct pt_adapter *a, const char *key)
{
	const struct pt_st_tensor *t = NULL;

	for (int i = PT_INS; i-- && !t; )
		t = a->file[i] ? pt_st_find(a->file[i], key) : NULL;
	return t;
}

int pt_adapter_get(struct pt_adapter *a, const struct pt_param *p, float *host, struct pt_error *err)
{
	return pt_param_read(&a->params, p, host, err);
}

int pt_adapter_set(struct pt_adapter *a, struct pt_param *p, const float *host, struct pt_error *err)
{
	return pt_param_write(&a->params, p, host, err);
}

static int take_value(struct pt_adapter *a, const struct pt_adapter_tensor *t, const struct pt_st_tensor *f,
		      struct pt_error *err)
{
	float *v = pt_malloc(f->count, sizeof *v, err), *order = NULL;
	int st = v ? 0 : err->status;

	if (!st && t->groups > 1 && !(order = pt_malloc(f->count, sizeof *order, err)))
		st = err->status;
	if (!st)
		st = pt_st_floats(f, v, err);
	if (order)
		pt_adapter_regroup(t, v, order, false);
	if (!st)
		st = pt_adapter_set(a, t->param, order ? order : v, err);
	free(order);
	free(v);
	return st;
}

const char *pt_adapter_file_name(const struct pt_adapter *a, enum pt_adapter_in in)
{
	return in == PT_IN_STATE ? PT_ADAPTER_STATE : in == PT_IN_HEAD ? a->layout->head : a->layout->weights;
}

static int load_one(struct pt_adapter *a, const struct pt_adapter_tensor *t, bool *const used[PT_INS], struct pt_error *err)
{
	const struct pt_st *file = a->file[t->in];
	const struct pt_st_tensor *f = file ? find(file, t->key) : NULL;
	int st;

	if (!f && t->optional)
		return 0;
	if (!f)
		return pt_error(err, PT_DATA, "%s lacks %s", pt_adapter_file_name(a, t->in), t->key);
	used[t->in][f - file->tensor] = true;
	st = check_shape(t->key, t->param->t.ndim, t->param->t.shape, f, err);
	return st || t->twin ? st : take_value(a, t, f, err);
}

/*
 * A key that is neither the method's nor that of a module that trains: PEFT
 * writes whole embeddings beside adapters on them. Then it is a weight of the
 * base, which the file's value replaces, and which is written again.
 */
static int adopt(struct pt_adapter *a, const struct pt_st_tensor *f, bool *const used[PT_INS], struct pt_error *err)
{
	const char *name = param_name(a, f->name), *infix = strstr(name, ".base_layer.");
	struct pt_weight *w;
	char *path;
	int st;

	if (name == f->name)
		return pt_error(err, PT_DATA, "nothing uses %s", f->name);
	if (pt_adapter_leaves(a, name)) {
		pt_log(PT_FACT, "%s is of its head, which is another adapter's here", f->name);
		return 0;
	}
	/* Side products of PEFT's bias "all": the base's and the head's own bias a second time. */
	if (strstr(name, ".original_module.") || strstr(name, ".modules_to_save.")) {
		pt_log(PT_FACT, "%s repeats another tensor; ignored", f->name);
		return 0;
	}
	path = infix ? pt_format(err, "%.*s.%s", (int)(infix - name), name, infix + strlen(".base_layer."))
		     : pt_strdup(name, err);
	if (!path)
		return err->status;
	w = pt_model_weight(a->model, path);
	free(path);
	if (!w || pt_adapter_replaced(a, w))
		return pt_error(err, PT_DATA, "nothing uses %s", f->name);
	st = pt_adapter_replace(a, w, f->name, PT_TENSOR_FROZEN, err);
	return st ? st : load_one(a, &a->tensor[a->ntensors - 1], used, err);
}

int pt_adapter_load(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_st *weights = a->file[PT_IN_WEIGHTS];
	bool *used[PT_INS] = { NULL };
	int st = 0;

	for (int in = 0; in < PT_INS && !st; in++) {
		used[in] = pt_calloc((a->file[in] ? a->file[in]->ntensors : 0) + 1, 1, err);
		st = err->status;
	}
	for (size_t i = 0; i < a->ntensors && !st; i++)
		st = load_one(a, &a->tensor[i], used, err);
	for (size_t i = 0; i < a->nmade && !st; i++) {
		const struct pt_st_tensor *f = pt_st_find(weights, a->made[i].key);

		if (f)
			used[PT_IN_WEIGHTS][f - weights->tensor] = true;
		else if (!a->made[i].optional)
			st = pt_error(err, PT_DATA, "%s lacks %s", pt_adapter_file_name(a, PT_IN_WEIGHTS), a->made[i].key);
	}
	for (size_t i = 0; i < weights->ntensors && !st; i++) {
		if (!used[PT_IN_WEIGHTS][i])
			st = adopt(a, &weights->tensor[i], used, err);
	}
	for (int in = PT_IN_WEIGHTS + 1; in < PT_INS; in++) {
		for (size_t i = 0; a->file[in] && i < a->file[in]->ntensors && !st; i++) {
			if (!used[in][i])
				st = pt_error(err, PT_DATA, "nothing uses %s of %s", a->file[in]->tensor[i].name,
					      pt_adapter_file_name(a, (enum pt_adapter_in)in));
		}
	}
	for (int in = 0; in < PT_INS; in++)
		free(used[in]);
	return st;
}

/* How far values of a file in this type may be from those that are made: computed on another path, or rounded. */
static double tolerance(enum pt_dtype type)
{
	return type == PT_F32 || type == PT_F64 ? 1e-4 : 2e-2;
}

/* Whether what save() makes is what the file has: of a run that went on elsewhere it is not. */
static int check_one(const struct pt_adapter *a, const struct pt_st_tensor *made, struct pt_error *err)
{
	const char *file = pt_adapter_file_name(a, PT_IN_WEIGHTS);
	const struct pt_st_tensor *f = pt_st_find(a->file[PT_IN_WEIGHTS], made->name);
	bool same = f && f->ndim == made->ndim;
	double diff = 0, top = 0;
	float *v;

	for (int i = 0; same && i < f->ndim; i++)
		same = f->shape[i] == made->shape[i];
	v = same ? pt_malloc(f->count + 1, sizeof *v, err) : NULL;
	if (err->status || (same && pt_st_floats(f, v, err))) {
		free(v);
		return err->status;
	}
	for (size_t i = 0; same && i < f->count; i++) {
		double want = ((const float *)made->data)[i], d = fabs((double)v[i] - want);

		diff = d > diff ? d : diff;
		top = fabs(want) > top ? fabs(want) : top;
	}
	free(v);
	if (same && diff <= tolerance(f->dtype) * top)
		return 0;
	return pt_error(err, PT_DATA, "%s of %s and what %s says of it contradict each other; without the latter the former counts",
			made->name, file, PT_ADAPTER_STATE);
}

int pt_adapter_check_made(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_st_build b;
	struct pt_buf header = PT_BUF_INIT;
	cJSON *config;
	size_t bytes;
	int st;

	if (!a->file[PT_IN_STATE] || !a->nmade || !a->method->save)
		return 0;
	config = cJSON_Duplicate(a->config, true);
	pt_st_build_init(&b);
	st = config ? a->method->save(a, &b, config, err) : pt_error(err, PT_FAIL, "out of memory");
	if (!st)
		st = pt_st_build_header(&b, 8, &header, &bytes, err);
	for (size_t i = 0; i < b.nitems && !st; i++)
		st = check_one(a, pt_st_build_item(&b, i), err);
	pt_buf_release(&header);
	pt_st_build_release(&b);
	cJSON_Delete(config);
	return st;
}

static bool is_kept(const struct pt_adapter_tensor *t)
{
	return t->in == PT_IN_STATE && !t->param->t.needs_grad;
}

int pt_adapter_restore(struct pt_adapter *a, const char *dir, struct pt_error *err)
{
	struct pt_st st = { 0 };
	char *path = NULL;
	size_t kept = 0;
	int status = 0;

	for (size_t i = 0; i < a->ntensors; i++)
		kept += is_kept(&a->tensor[i]);
	if (!kept)
		return 0;
	path = pt_path_join(dir, PT_ADAPTER_STATE, err);
	if (path && access(path, F_OK) && errno == ENOENT)
		status = pt_error(err, PT_DATA, "%s is missing", path);
	else
		status = path ? pt_st_open(&st, path, err) : err->status;
	free(path);
	/* All are looked at before one is taken. */
	for (int take = 0; take < 2 && !status; take++) {
		for (size_t i = 0; i < a->ntensors && !status; i++) {
			const struct pt_adapter_tensor *t = &a->tensor[i];
			const struct pt_st_tensor *f = is_kept(t) ? pt_st_find(&st, t->key) : NULL;

			if (!is_kept(t))
				continue;
			if (!f)
				status = pt_error(err, PT_DATA, "%s lacks %s", PT_ADAPTER_STATE, t->key);
			else
				status = take ? take_value(a, t, f, err)
					      : check_shape(t->key, t->param->t.ndim, t->param->t.shape, f, err);
			if (status == PT_DATA)
				pt_error_prefix(err, "%s", dir);
		}
	}
	pt_st_release(&st);
	return status;
}
