/* SPDX-License-Identifier: MIT */
/*
 * resume.c - finding and reading checkpoints, and what is published of them
 * at the end of a run; see checkpoint.h.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "peft/adapter.h"
#include "train/checkpoint_priv.h"

void pt_below_free(struct pt_below *b, int n)
{
	for (int i = 0; i < n; i++)
		free(b[i].dir);
	free(b);
}

void pt_checkpoint_release(struct pt_checkpoint *c)
{
	pt_below_free(c->below, c->nbelow);
	free(c->dir);
	free(c->options);
	free(c->path);
	memset(c, 0, sizeof *c);
}

static int get_hex(const cJSON *j, const char *key, bool must, uint64_t *out, struct pt_error *err)
{
	const char *s;

	*out = 0;
	if (pt_json_str(j, key, NULL, &s, err))
		return err->status;
	if ((!s && must) || (s && !pt_unhex64(s, out)))
		return pt_error(err, PT_DATA, "'%s' is not 16 hexadecimal digits", key);
	return 0;
}

static int get_text(const cJSON *j, const char *key, char **out, struct pt_error *err)
{
	const char *s;

	if (pt_json_str(j, key, "", &s, err))
		return err->status;
	*out = pt_strdup(s, err);
	return *out ? 0 : err->status;
}

static int read_below(struct pt_checkpoint *c, const cJSON *list, struct pt_error *err)
{
	const cJSON *item;
	int n = cJSON_GetArraySize(list);

	if (list && !cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "'below' is not a list");
	c->below = n ? pt_calloc((size_t)n, sizeof *c->below, err) : NULL;
	cJSON_ArrayForEach(item, list) {
		struct pt_below *b = c->below ? &c->below[c->nbelow] : NULL;

		if (!b || get_text(item, "adapter", &b->dir, err))
			return err->status;
		c->nbelow++;
		if (get_hex(item, "digest", true, &b->digest, err))
			return err->status;
	}
	return 0;
}

static int read_json(struct pt_checkpoint *c, const cJSON *j, uint64_t *checksum, struct pt_error *err)
{
	const char *dtype;
	int64_t version;
	int status;

	if (pt_json_int(j, "version", 0, INT32_MAX, 0, &version, err))
		return err->status;
	if (version != 1)
		return pt_error(err, PT_DATA, "version %lld of the training state; this program reads 1", (long long)version);
	if ((status = pt_json_int(j, "step", 1, INT64_C(1) << 53, 0, &c->at.step, err)) ||
	    (status = get_hex(j, "consumed", true, &c->at.digest, err)) ||
	    (status = get_text(j, "options", &c->options, err)) ||
	    (status = get_hex(j, "base", true, &c->base, err)) ||
	    (status = get_hex(j, "adapter", true, &c->adapter, err)) ||
	    (status = read_below(c, pt_json_get(j, "below"), err)) ||
	    (status = get_hex(j, "head", true, &c->head, err)) ||
	    (status = pt_json_str(j, "dtype", "f32", &dtype, err)) ||
	    (status = get_text(j, "path", &c->path, err)) ||
	    (status = get_hex(j, "eval", false, &c->at.eval, err)) ||
	    (status = pt_json_int(j, "best_step", 0, INT64_C(1) << 53, 0, &c->at.best_step, err)) ||
	    (status = pt_json_double(j, "best_loss", NAN, &c->at.best_loss, err)) ||
	    (status = pt_json_int(j, "stale", 0, INT64_C(1) << 53, 0, &c->at.stale, err)))
		return status;
	/* NaN is null in JSON: no best. */
	if (!isfinite(c->at.best_loss))
		c->at.best_step = 0;
	c->bf16 = !strcmp(dtype, "bf16");
	return get_hex(j, "checksum", true, checksum, err);
}

/* The tensors are those that were written. */
static int check_tensors(const char *dir, uint64_t checksum, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_STATE_TENSORS, err);
	struct pt_hash hash;
	struct pt_st st;
	int status = path ? pt_st_open(&st, path, err) : err->status;

	if (!status) {
		pt_hash_init(&hash);
		for (size_t i = 0; i < st.ntensors; i++)
			pt_hash_add(&hash, st.tensor[i].data, st.tensor[i].bytes);
		if (pt_hash_value(&hash) != checksum)
			status = pt_error(err, PT_DATA, "%s is damaged: its checksum differs", path);
		pt_st_release(&st);
	}
	free(path);
	return status;
}

/* A file that is gone is damage; one that cannot be read now (rights, a disk, memory) is none: it may be whole. */
static int check_there(const char *dir, struct pt_error *err)
{
	static const char *const names[] = { PT_STATE_JSON, PT_STATE_TENSORS, PT_STATE_METRICS };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char *path = pt_path_join(dir, names[i], err);

		if (!path)
			return err->status;
		if (access(path, F_OK) && errno == ENOENT)
			pt_error(err, PT_DATA, "%s is missing", path);
		free(path);
		if (err->status)
			return err->status;
	}
	return 0;
}

static int read_one(struct pt_checkpoint *c, const char *out, int64_t step, struct pt_error *err)
{
	char *path = NULL;
	uint64_t checksum;
	cJSON *j = NULL;
	int status;

	c->dir = pt_checkpoint_path(out, step, err);
	path = c->dir && !check_there(c->dir, err) ? pt_path_join(c->dir, PT_STATE_JSON, err) : NULL;
	j = path ? pt_json_read(path, 0, err) : NULL;
	status = j ? read_json(c, j, &checksum, err) : err->status;
	if (j && status)
		pt_error_prefix(err, "%s", path);
	if (!status)
		status = check_tensors(c->dir, checksum, err);
	if (!status && c->at.step != step)
		status = pt_error(err, PT_DATA, "%s is of step %lld", path, (long long)c->at.step);
	pt_json_free(j);
	free(path);
	return status;
}

int pt_checkpoint_find(struct pt_checkpoint *c, const char *out, int64_t before, struct pt_error *err)
{
	int64_t *steps;
	size_t n;
	int status = pt_checkpoint_steps(out, &steps, &n, err);

	memset(c, 0, sizeof *c);
	while (!status && n > 0) {
		struct pt_error e = PT_ERROR_INIT;

		if (steps[--n] >= before)
			continue;
		if (read_one(c, out, steps[n], &e) == 0)
			break;
		if (e.status != PT_DATA) {
			*err = e;
			status = pt_error_prefix(err, "checkpoint of step %lld", (long long)steps[n]);
			break;
		}
		pt_log(PT_WARN, "checkpoint of step %lld passed over: %s", (long long)steps[n], e.msg);
		pt_checkpoint_release(c);
	}
	free(steps);
	return status;
}

/* A tensor is there with its shape; to its place, unless that is NULL. */
static int load_tensor(const struct pt_st *st, struct pt_params *ps, const char *kind, const struct pt_param *p,
		       void *to, struct pt_error *err)
{
	char *name = pt_format(err, "%s.%s", kind, p->name);
	const struct pt_st_tensor *t;
	int status = name ? pt_st_require(st, name, PT_F32, p->t.ndim, p->t.shape, &t, err) : err->status;

	if (!status && to && t->bytes)
		status = ps->dev->upload(ps->dev, to, t->data, t->bytes, err);
	free(name);
	return status;
}

/* Which tensors had no gradient so far. */
static int load_moved(const struct pt_checkpoint *c, struct pt_optimizer *opt, struct pt_error *err)
{
	char *path = pt_path_join(c->dir, PT_STATE_JSON, err);
	cJSON *j = path ? pt_json_read(path, 0, err) : NULL;
	const cJSON *item;

	free(path);
	if (!j)
		return err->status;
	for (int i = 0; i < opt->params->n; i++)
		opt->moved[i] = true;
	cJSON_ArrayForEach(item, pt_json_get(j, "without_gradient")) {
		for (int i = 0; cJSON_IsString(item) && i < opt->params->n; i++)
			if (!strcmp(opt->params->item[i]->name, item->valuestring))
				opt->moved[i] = false;
	}
	pt_json_free(j);
	return 0;
}

static int load_tensors(const struct pt_st *st, struct pt_params *ps, bool upload, struct pt_error *err)
{
	ps->version += upload;
	for (int i = 0; i < ps->n; i++) {
		struct pt_param *p = ps->item[i];

		if (load_tensor(st, ps, "value", p, upload ? p->t.data : NULL, err) ||
		    load_tensor(st, ps, "m", p, upload ? p->m : NULL, err) ||
		    load_tensor(st, ps, "v", p, upload ? p->v : NULL, err))
			return err->status;
	}
	if (st->ntensors != 3 * (size_t)ps->n)
		return pt_error(err, PT_DATA, "%zu tensors, not three for each of %d", st->ntensors, ps->n);
	return 0;
}

static int load_metrics(const struct pt_checkpoint *c, struct pt_history *h, struct pt_error *err)
{
	char *path = pt_path_join(c->dir, PT_STATE_METRICS, err);
	int status = path ? pt_history_load(h, path, err) : err->status;

	if (!status && h->n != (size_t)c->at.step)
		status = pt_error(err, PT_DATA, "%s has %zu steps", path, h->n);
	free(path);
	return status;
}

int pt_checkpoint_load(const struct pt_checkpoint *c, struct pt_adapter *adapter, struct pt_optimizer *opt,
		       struct pt_history *h, struct pt_error *err)
{
	char *path = pt_path_join(c->dir, PT_STATE_TENSORS, err);
	struct pt_st st;
	int status = path ? pt_st_open(&st, path, err) : err->status;

	if (status)
		goto out;
	if (!(status = load_tensors(&st, opt->params, false, err)) && !(status = load_metrics(c, h, err)) &&
	    !(status = load_moved(c, opt, err)) && (!adapter || !(status = pt_adapter_restore(adapter, c->dir, err))))
		status = load_tensors(&st, opt->params, true, err);
	pt_st_release(&st);
	if (status) {
		pt_error_prefix(err, "%s", c->dir);
		pt_history_release(h);
	}
out:
	free(path);
	return status;
}

static int publish_file(const char *dir, const char *out, const char *name, struct pt_error *err)
{
	char *from = pt_path_join(dir, name, err), *to = pt_path_join(out, name, err);
	int status = from && to ? 0 : err->status;

	if (!status && !pt_file_same(from, to))
		status = pt_file_copy(from, to, err);
	free(from);
	free(to);
	return status;
}

static int publish_text(const char *out, const char *name, const struct pt_buf *text, struct pt_error *err)
{
	struct pt_buf is = PT_BUF_INIT;
	struct pt_error ignored = PT_ERROR_INIT;
	char *to = pt_path_join(out, name, err);
	int status = to ? 0 : err->status;

	if (!status && (pt_file_read(to, (size_t)1 << 30, &is, &ignored) || is.len != text->len ||
			memcmp(is.data, text->data, text->len)))
		status = pt_file_write(to, text->data, text->len, err);
	pt_buf_release(&is);
	free(to);
	return status;
}

bool pt_checkpoint_is_state(const char *name)
{
	return name[0] == '.' || !strcmp(name, PT_STATE_JSON) || !strcmp(name, PT_STATE_TENSORS) ||
	       !strcmp(name, PT_STATE_METRICS) || !strcmp(name, PT_PROV_FILE);
}

int pt_checkpoint_file_digest(const char *dir, const char *name, uint64_t *out, struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	struct pt_mapping m;
	int status = path ? pt_mapping_open(&m, path, err) : err->status;

	if (!status) {
		*out = pt_hash64(m.data, m.size);
		pt_mapping_close(&m);
	}
	free(path);
	return status;
}

/* What is to be published is what was written; older checkpoints do not tell. */
static int check_files(const char *dir, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_STATE_JSON, err);
	cJSON *j = path ? pt_json_read(path, 0, err) : NULL;
	const cJSON *files = pt_json_get(j, "files"), *item;
	int status = j ? 0 : err->status;

	if (files && !cJSON_IsObject(files))
		status = pt_error(err, PT_DATA, "%s: 'files' is not an object", path);
	cJSON_ArrayForEach(item, files) {
		uint64_t is, was;

		if (!status)
			status = pt_checkpoint_file_digest(dir, item->string, &is, err);
		if (!status && (!cJSON_IsString(item) || !pt_unhex64(item->valuestring, &was) || is != was))
			status = pt_error(err, PT_DATA, "%s/%s is damaged: its checksum differs; nothing is published, the checkpoints beside it can be given as -a",
					  dir, item->string);
	}
	pt_json_free(j);
	free(path);
	return status;
}

int pt_checkpoint_publish(const char *dir, const char *out, const struct pt_buf *prov, struct pt_error *err)
{
	int status = check_files(dir, err);

	if (!status)
		status = publish_text(out, PT_PROV_FILE, prov, err);
	for (int last = 0; last < 2 && !status; last++) {
		DIR *d = opendir(dir);
		struct dirent *e;

		if (!d)
			return pt_error_errno(err, "%s", dir);
		while (!status && (e = readdir(d)) != NULL)
			if (!pt_checkpoint_is_state(e->d_name) && (pt_adapter_part(e->d_name) == PT_MODELSAVE_LAST) == last)
				status = publish_file(dir, out, e->d_name, err);
		closedir(d);
	}
	return status ? status : pt_dir_sync(out, err);
}
