/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - writing checkpoints and dropping old ones; see checkpoint.h.
 */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/checkpoint_priv.h"

char *pt_checkpoint_path(const char *out, int64_t step, struct pt_error *err)
{
	return pt_format(err, "%s/" PT_CHECKPOINTS "/step-%08lld", out, (long long)step);
}

static int compare_steps(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int pt_checkpoint_steps(const char *out, int64_t **steps, size_t *n, struct pt_error *err)
{
	char *path = pt_path_join(out, PT_CHECKPOINTS, err);
	DIR *d = path ? opendir(path) : NULL;
	struct dirent *e;
	size_t cap = 0;
	int status = 0;

	*steps = NULL;
	*n = 0;
	if (!path)
		return err->status;
	if (!d && errno != ENOENT)
		status = pt_error_errno(err, "%s", path);
	while (d && !status && (e = readdir(d)) != NULL) {
		char *end;
		long long v;

		if (strncmp(e->d_name, "step-", 5) || e->d_name[5] < '0' || e->d_name[5] > '9')
			continue;
		v = strtoll(e->d_name + 5, &end, 10);
		if (*end)
			continue;
		status = pt_grow(steps, &cap, *n + 1, sizeof **steps, err);
		if (!status)
			(*steps)[(*n)++] = v;
	}
	if (d)
		closedir(d);
	free(path);
	if (*n)
		qsort(*steps, *n, sizeof **steps, compare_steps);
	return status;
}

int pt_checkpoint_set_aside(const char *out, int64_t after, struct pt_error *err)
{
	int64_t *steps;
	size_t n;
	int status = pt_checkpoint_steps(out, &steps, &n, err);

	for (; !status && n > 0 && steps[n - 1] > after; n--) {
		char *from = pt_checkpoint_path(out, steps[n - 1], err);
		char *to = pt_format(err, "%s/" PT_CHECKPOINTS "/damaged-%08lld", out, (long long)steps[n - 1]);

		status = from && to ? pt_dir_remove(to, err) : err->status;
		if (!status && !rename(from, to))
			pt_log(PT_WARN, "%s is set aside as %s", from, to);
		else if (!status && errno != ENOENT)
			status = pt_error_errno(err, "%s: cannot rename", from);
		free(from);
		free(to);
	}
	free(steps);
	return status;
}

/* Cleaning up is never the cause of a failure: another's files, or those that somebody has open over NFS, stay. */
static void remove_or_say(const char *path)
{
	struct pt_error err = PT_ERROR_INIT;

	if (pt_dir_remove(path, &err))
		pt_log(PT_WARN, "%s is left behind: %s", path, err.msg);
}

int pt_checkpoint_clean(const char *out, struct pt_error *err)
{
	char *path = pt_path_join(out, PT_CHECKPOINTS, err), *name;
	DIR *d = path ? opendir(path) : NULL;
	struct dirent *e;
	int status = path ? 0 : err->status;

	while (d && !status && (e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, ".step-", 6))
			continue;
		name = pt_path_join(path, e->d_name, err);
		status = name ? 0 : err->status;
		if (name)
			remove_or_say(name);
		free(name);
	}
	if (d)
		closedir(d);
	free(path);
	return status;
}

/* Out of sight by one rename, then removed: a half-removed one is never taken for a checkpoint. */
static int drop(const char *out, int64_t step, struct pt_error *err)
{
	char *path = pt_checkpoint_path(out, step, err);
	char *gone = pt_format(err, "%s/" PT_CHECKPOINTS "/.step-%08lld.old", out, (long long)step);
	int status = path && gone ? pt_dir_remove(gone, err) : err->status;

	if (!status && rename(path, gone) && errno != ENOENT)
		status = pt_error_errno(err, "%s: cannot remove", path);
	if (!status)
		remove_or_say(gone);
	free(path);
	free(gone);
	return status;
}

static int prune(const char *out, int keep, const struct pt_progress *at, struct pt_error *err)
{
	int64_t *steps;
	size_t n;
	int status = pt_checkpoint_steps(out, &steps, &n, err);
	struct pt_error e = PT_ERROR_INIT;

	/* What is beyond the one just saved is not this run's, and no reason to drop it. */
	while (n && steps[n - 1] > at->step)
		n--;
	for (size_t i = 0; !status && i + (size_t)keep < n; i++)
		if (steps[i] != at->best_step && drop(out, steps[i], &e))
			pt_log(PT_WARN, "the checkpoint of step %lld is left behind: %s", (long long)steps[i], e.msg);
	free(steps);
	return status;
}

/* The tensors of training_state.safetensors, fetched from the device as the file is written. */
struct fill {
	struct pt_optimizer *opt;
	struct pt_hash hash;
	void *chunk;
	size_t cap;
};

/* Device memory behind a tensor's name, "value.PATH", "m.PATH", "v.PATH". */
static const float *source(const struct pt_optimizer *opt, const char *name)
{
	const struct pt_param *p = pt_params_find(opt->params, strchr(name, '.') + 1);

	return !p ? NULL : name[0] == 'm' ? p->m : name[1] == '.' ? p->v : p->t.data;
}

static int fill_tensor(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	struct fill *f = arg;
	struct pt_device *dev = f->opt->params->dev;

	if (!t->bytes)
		return 0;
	if (pt_grow(&f->chunk, &f->cap, t->bytes, 1, err) ||
	    dev->download(dev, f->chunk, source(f->opt, t->name), t->bytes, err))
		return err->status;
	pt_hash_add(&f->hash, f->chunk, t->bytes);
	return pt_out_write(out, f->chunk, t->bytes, err);
}

static int write_tensors(const char *dir, struct pt_optimizer *opt, uint64_t *checksum, struct pt_error *err)
{
	static const char *const kinds[] = { "value", "m", "v" };
	char *path = pt_path_join(dir, PT_STATE_TENSORS, err), *name;
	struct fill f = { .opt = opt };
	struct pt_st_build b;
	int status = path ? 0 : err->status;

	pt_hash_init(&f.hash);
	pt_st_build_init(&b);
	for (int i = 0; !status && i < opt->params->n; i++) {
		const struct pt_param *p = opt->params->item[i];

		for (int k = 0; !status && k < 3; k++) {
			name = pt_format(err, "%s.%s", kinds[k], p->name);
			if (name)
				pt_st_build_tensor(&b, name, PT_F32, p->t.ndim, p->t.shape, NULL);
			else
				status = err->status;
			free(name);
		}
	}
	if (!status)
		status = pt_st_build_write_fill(&b, path, fill_tensor, &f, err);
	*checksum = pt_hash_value(&f.hash);
	pt_st_build_release(&b);
	free(f.chunk);
	free(path);
	return status;
}

static bool add_hex(cJSON *j, const char *key, uint64_t v)
{
	return cJSON_AddStringToObject(j, key, pt_hex64(v).s) != NULL;
}

/* Trained tensors that no gradient has reached yet. */
static bool add_unmoved(cJSON *j, const struct pt_optimizer *opt)
{
	cJSON *list = cJSON_AddArrayToObject(j, "without_gradient");

	for (int i = 0; list && i < opt->params->n; i++)
		if (!opt->moved[i] && !cJSON_AddItemToArray(list, cJSON_CreateString(opt->params->item[i]->name)))
			return false;
	return list != NULL;
}

static int is_published(const struct dirent *e)
{
	return !pt_checkpoint_is_state(e->d_name);
}

/* Digests of the files that are published, to be compared then. */
static int add_files(cJSON *j, const char *dir, struct pt_error *err)
{
	cJSON *files = cJSON_AddObjectToObject(j, "files");
	struct dirent **list;
	int n = scandir(dir, &list, is_published, alphasort), status = 0;
	uint64_t digest;

	if (n < 0)
		return pt_error_errno(err, "%s", dir);
	for (int i = 0; i < n; i++) {
		if (!status)
			status = pt_checkpoint_file_digest(dir, list[i]->d_name, &digest, err);
		if (!status && !add_hex(files, list[i]->d_name, digest))
			status = pt_error(err, PT_FAIL, "out of memory");
		free(list[i]);
	}
	free(list);
	return status;
}

/* What the adapter of this directory was trained on. */
static bool add_below(cJSON *j, const struct pt_identity *id)
{
	cJSON *list = id->nbelow ? cJSON_AddArrayToObject(j, "below") : NULL;

	for (int i = 0; i < id->nbelow; i++) {
		cJSON *item = cJSON_CreateObject();

		/* The list owns it first, so that it goes with the list. */
		if (!cJSON_AddItemToArray(list, item)) {
			cJSON_Delete(item);
			return false;
		}
		if (!cJSON_AddStringToObject(item, "adapter", id->below[i].dir) || !add_hex(item, "digest", id->below[i].digest))
			return false;
	}
	return true;
}

/* A checkpoint without one of these would be refused, and older ones go for it: all or none. */
static bool add_keys(cJSON *j, const struct pt_identity *id, const struct pt_progress *at, uint64_t checksum)
{
	return cJSON_AddNumberToObject(j, "version", 1) && cJSON_AddNumberToObject(j, "step", (double)at->step) &&
	       add_hex(j, "consumed", at->digest) && cJSON_AddStringToObject(j, "options", id->options) &&
	       add_hex(j, "base", id->base) && add_hex(j, "adapter", id->adapter) && add_below(j, id) &&
	       add_hex(j, "head", id->head) && cJSON_AddStringToObject(j, "dtype", id->bf16 ? "bf16" : "f32") &&
	       cJSON_AddStringToObject(j, "path", id->path) && (!at->eval || add_hex(j, "eval", at->eval)) &&
	       (!at->best_step || (cJSON_AddNumberToObject(j, "best_step", (double)at->best_step) &&
				   cJSON_AddNumberToObject(j, "best_loss", at->best_loss) &&
				   cJSON_AddNumberToObject(j, "stale", (double)at->stale))) &&
	       add_hex(j, "checksum", checksum);
}

static int write_json(const char *dir, const struct pt_identity *id, const struct pt_progress *at,
		      const struct pt_optimizer *opt, uint64_t checksum, struct pt_error *err)
{
	cJSON *j = cJSON_CreateObject();
	int status = j && add_keys(j, id, at, checksum) ? 0 : pt_error(err, PT_FAIL, "out of memory");

	if (!status)
		status = add_files(j, dir, err);
	if (!status && !add_unmoved(j, opt))
		status = pt_error(err, PT_FAIL, "out of memory");
	if (!status)
		status = pt_json_write(j, dir, PT_STATE_JSON, err);
	pt_json_free(j);
	return status;
}

static int write_metrics(const char *dir, const struct pt_history *h, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_STATE_METRICS, err);
	int status = path ? pt_history_save(h, path, err) : err->status;

	free(path);
	return status;
}

int pt_checkpoint_save(const char *out, const struct pt_identity *id, const struct pt_progress *at,
		       struct pt_adapter *adapter, struct pt_optimizer *opt, const struct pt_history *h,
		       int keep, struct pt_error *err)
{
	char *dir = pt_checkpoint_path(out, at->step, err), *parent = pt_path_join(out, PT_CHECKPOINTS, err);
	char *tmp = pt_format(err, "%s/" PT_CHECKPOINTS "/.step-%08lld.tmp", out, (long long)at->step);
	uint64_t checksum;
	int status = PT_FAIL;

	if (!dir || !parent || !tmp)
		goto out;
	if ((status = pt_dir_remove(tmp, err)) || (status = pt_dir_make(tmp, err)) ||
	    (adapter && (status = pt_adapter_save(adapter, tmp, PT_SAVE_ALL, err))) ||
	    (status = write_metrics(tmp, h, err)) || (status = write_tensors(tmp, opt, &checksum, err)) ||
	    (status = write_json(tmp, id, at, opt, checksum, err)) || (status = pt_dir_sync(tmp, err)) ||
	    (pt_is_dir(dir) && (status = drop(out, at->step, err))))
		goto out;
	if (rename(tmp, dir)) {
		status = pt_error_errno(err, "%s: cannot rename", dir);
		goto out;
	}
	status = pt_dir_sync(parent, err);
	if (!status)
		status = prune(out, keep, at, err);
out:
	if (status && tmp) {
		struct pt_error ignored = PT_ERROR_INIT;

		if (dir)
			pt_error_rename(err, tmp, dir);
		pt_dir_remove(tmp, &ignored);
	}
	free(dir);
	free(parent);
	free(tmp);
	return status;
}
