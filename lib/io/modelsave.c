/* SPDX-License-Identifier: MIT */
/*
 * modelsave.c - names, order and contents of the files of a model directory.
 */
#include "io/modelsave.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/modeldir.h"

enum { NAME_SIZE = 48 };

/* "model-00001-of-00003.safetensors". */
static void shard_name(char *buf, int i, int n)
{
	if (n == 1)
		snprintf(buf, NAME_SIZE, "%s", PT_MODEL_WEIGHTS);
	else
		snprintf(buf, NAME_SIZE, "model-%05d-of-%05d.safetensors", i + 1, n);
}

/* "model-I-of-N.safetensors". */
static bool is_shard(const char *name, int *i, int *n)
{
	int end = 0;

	return sscanf(name, "model-%5d-of-%5d.safetensors%n", i, n, &end) == 2 && end && !name[end];
}

int pt_modelsave_part(const char *name)
{
	int i, n;

	if (!strcmp(name, PT_MODEL_WEIGHTS) || !strcmp(name, PT_MODEL_INDEX))
		return PT_MODELSAVE_LAST;
	return !strcmp(name, PT_MODEL_CONFIG) || is_shard(name, &i, &n) ? PT_MODELSAVE_REST : 0;
}

void pt_modelsave_init(struct pt_modelsave *s)
{
	memset(s, 0, sizeof *s);
	s->max_shard = PT_MODELSAVE_SHARD;
}

void pt_modelsave_release(struct pt_modelsave *s)
{
	for (int i = 0; i < s->nshards; i++)
		pt_st_build_release(&s->shard[i]);
	free(s->shard);
	memset(s, 0, sizeof *s);
}

static size_t tensor_bytes(enum pt_dtype dtype, int ndim, const int64_t *shape)
{
	size_t n = pt_dtype_size(dtype);

	for (int i = 0; i < ndim; i++)
		if (shape[i] < 0 || !pt_mul_size(n, (size_t)shape[i], &n))
			return SIZE_MAX;	/* pt_st_build_tensor() names it */
	return n;
}

int pt_modelsave_tensor(struct pt_modelsave *s, const char *name, enum pt_dtype dtype, int ndim,
			const int64_t *shape, const void *data, struct pt_error *err)
{
	struct pt_st_build *b = s->nshards ? &s->shard[s->nshards - 1] : NULL;
	size_t bytes = tensor_bytes(dtype, ndim, shape);

	if (!b || (b->nitems && (bytes > s->max_shard || s->last > s->max_shard - bytes))) {
		if (pt_grow(&s->shard, &s->cap, (size_t)s->nshards + 1, sizeof *s->shard, err))
			return err->status;
		b = &s->shard[s->nshards++];
		pt_st_build_init(b);
		s->last = 0;
	}
	pt_st_build_tensor(b, name, dtype, ndim, shape, data);
	if (!b->err.status && !pt_add_size(s->last, bytes, &s->last))
		s->last = SIZE_MAX;
	if (b->err.status)
		*err = b->err;
	return b->err.status;
}

int pt_modelsave_tokenizer(const struct pt_modeldir *from, const char *dir, struct pt_error *err)
{
	static const char *const names[] = {
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
		"added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model",
		"spiece.model", "sentencepiece.bpe.model", "chat_template.jinja",
		"generation_config.json",
	};
	int st = 0;

	for (size_t i = 0; i < sizeof names / sizeof names[0] && st == 0; i++) {
		char *src = pt_path_join(from->path, names[i], err);
		char *dst = src ? pt_path_join(dir, names[i], err) : NULL;

		if (!dst)
			st = err->status;
		else if (pt_is_file(src))
			st = pt_file_copy(src, dst, err);
		free(src);
		free(dst);
	}
	return st;
}

struct place {
	const char *name;
	int shard;
};

static int by_name(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* All tensors with the numbers of their shards, sorted by name; freed by free(). */
static struct place *sorted(const struct pt_modelsave *s, size_t *n, struct pt_error *err)
{
	struct place *p;

	*n = 0;
	for (int i = 0; i < s->nshards; i++)
		*n += s->shard[i].nitems;
	p = pt_calloc(*n, sizeof *p, err);
	*n = 0;
	for (int i = 0; p && i < s->nshards; i++)
		for (size_t k = 0; k < s->shard[i].nitems; k++)
			p[(*n)++] = (struct place){ pt_st_build_item(&s->shard[i], k)->name, i };
	if (p && *n)
		qsort(p, *n, sizeof *p, by_name);
	return p;
}

static int write_index(const struct pt_modelsave *s, const char *dir, struct pt_error *err)
{
	size_t n = 0, bytes = 0;
	struct place *p = sorted(s, &n, err);
	struct pt_buf text = PT_BUF_INIT;
	char name[NAME_SIZE];
	int st = p ? 0 : err->status;

	for (int i = 0; i < s->nshards; i++)
		bytes += pt_st_build_bytes(&s->shard[i]);
	pt_buf_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %zu\n  },\n  \"weight_map\": {", bytes);
	for (size_t i = 0; st == 0 && i < n; i++) {
		if (i && !strcmp(p[i].name, p[i - 1].name))
			st = pt_error(err, PT_FAIL, "two tensors are called %.200s", p[i].name);
		shard_name(name, p[i].shard, s->nshards);
		pt_buf_str(&text, i ? ",\n    " : "\n    ");
		pt_buf_json(&text, p[i].name, strlen(p[i].name));
		pt_buf_printf(&text, ": \"%s\"", name);
	}
	pt_buf_str(&text, "\n  }\n}\n");
	if (st == 0)
		st = pt_file_write_in(dir, PT_MODEL_INDEX, &text, err);
	pt_buf_release(&text);
	free(p);
	return st;
}

static int write_shard(struct pt_modelsave *s, const char *dir, int i, pt_st_fill_fn fill, void *arg,
		       struct pt_error *err)
{
	char name[NAME_SIZE], *path;
	int st;

	shard_name(name, i, s->nshards);
	path = pt_path_join(dir, name, err);
	st = path ? pt_st_build_write_fill(&s->shard[i], path, fill, arg, err) : err->status;
	free(path);
	return st;
}

/* A weight file of another model, or of this one in another cut. */
static bool is_stale(const struct pt_modelsave *s, const char *name)
{
	char same[NAME_SIZE];
	int i, n;

	if (!strcmp(name, PT_MODEL_WEIGHTS))
		return s->nshards != 1;
	if (!strcmp(name, PT_MODEL_INDEX))
		return s->nshards == 1;
	if (!is_shard(name, &i, &n))
		return false;
	if (s->nshards == 1 || n != s->nshards || i < 1 || i > n)
		return true;
	shard_name(same, i - 1, n);
	return strcmp(name, same) != 0;
}

static int remove_stale(const struct pt_modelsave *s, const char *dir, struct pt_error *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int st = 0;

	if (!d)
		return pt_error_errno(err, "%s", dir);
	while (st == 0 && (e = readdir(d)))
		if (is_stale(s, e->d_name) && unlinkat(dirfd(d), e->d_name, 0) && errno != ENOENT)
			st = pt_error_errno(err, "%s/%s: cannot remove", dir, e->d_name);
	closedir(d);
	return st;
}

static int write_last(struct pt_modelsave *s, const char *dir, pt_st_fill_fn fill, void *arg,
		      struct pt_error *err)
{
	/* First: an earlier single file would be preferred to the new index. */
	int st = remove_stale(s, dir, err);

	if (st)
		return st;
	return s->nshards > 1 ? write_index(s, dir, err) : write_shard(s, dir, 0, fill, arg, err);
}

int pt_modelsave_write(struct pt_modelsave *s, const char *dir, int parts, const cJSON *config,
		       const struct pt_modeldir *from, pt_st_fill_fn fill, void *arg,
		       struct pt_error *err)
{
	int st = 0;

	if (!s->nshards)
		return pt_error(err, PT_FAIL, "%s: a model without tensors", dir);
	if (parts & PT_MODELSAVE_REST) {
		if (from)
			st = pt_modelsave_tokenizer(from, dir, err);
		if (st == 0)
			st = pt_json_write(config, dir, PT_MODEL_CONFIG, err);
		for (int i = 0; st == 0 && s->nshards > 1 && i < s->nshards; i++)
			st = write_shard(s, dir, i, fill, arg, err);
	}
	if (st == 0 && parts & PT_MODELSAVE_LAST)
		st = write_last(s, dir, fill, arg, err);
	return st;
}
