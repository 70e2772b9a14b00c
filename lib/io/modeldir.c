/* SPDX-License-Identifier: MIT */
/*
 * modeldir.c - finding and opening a model directory: the hub cache (layout of
 * huggingface_hub: models--ORG--NAME/refs/main names a snapshots/COMMIT),
 * which files hold the weights, and the digest that identifies a base.
 */
#include "io/modeldir.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#define MAX_CONFIG (64u << 20)
#define MAX_SHARDS 100000

struct priv {
	const struct pt_st_tensor **tensor;	/* sorted by name */
	size_t n;
	uint64_t config_hash;
};

/* "name" or "org/name" with the characters that the hub allows. */
static bool is_hub_name(const char *s)
{
	int slashes = 0;

	if (*s == '/' || *s == '.' || *s == '-' || strstr(s, "..") || strstr(s, "--"))
		return false;
	for (const char *p = s; *p; p++) {
		if (*p == '/') {
			if (++slashes > 1 || !p[1])
				return false;
		} else if (!strchr("-_.", *p) && !(*p >= '0' && *p <= '9') &&
			   !(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z')) {
			return false;
		}
	}
	return *s != '\0';
}

/* Where huggingface_hub keeps its cache. */
static char *hub_cache(struct pt_error *err)
{
	static const struct {
		const char *env, *below;
	} places[] = { { "HF_HUB_CACHE", "" }, { "HUGGINGFACE_HUB_CACHE", "" }, { "HF_HOME", "/hub" },
		       { "XDG_CACHE_HOME", "/huggingface/hub" },
		       { "HOME", "/.cache/huggingface/hub" } };

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		const char *s = getenv(places[i].env);

		if (s && *s)
			return pt_format(err, "%s%s", s, places[i].below);
	}
	return pt_format(err, ".cache/huggingface/hub");
}

/* The commit that refs/main names; without refs the only snapshot. NULL: none, err untouched. */
static char *hub_commit(const char *repo, struct pt_error *err)
{
	char *refs = pt_format(err, "%s/refs/main", repo), *dir, *found = NULL;
	struct pt_buf text = PT_BUF_INIT;
	struct pt_error ignored = PT_ERROR_INIT;
	struct dirent *e;
	int n = 0;
	DIR *d;

	if (!refs)
		return NULL;
	if (pt_file_read(refs, 4096, &text, &ignored) == 0 && text.len) {
		text.data[strcspn(text.data, " \r\n")] = '\0';
		if (*text.data && !strchr(text.data, '/') && *text.data != '.')
			found = pt_strdup(text.data, err);
	}
	free(refs);
	pt_buf_release(&text);
	if (found || err->status)
		return found;
	dir = pt_format(err, "%s/snapshots", repo);
	d = dir ? opendir(dir) : NULL;
	free(dir);
	while (d && (e = readdir(d))) {
		if (*e->d_name == '.')
			continue;
		if (++n == 1)
			found = pt_strdup(e->d_name, err);
	}
	if (d)
		closedir(d);
	if (n > 1) {
		free(found);
		found = NULL;
	}
	return found;
}

static char *hub_find(const char *name, struct pt_error *err)
{
	char *cache = hub_cache(err), *repo = NULL, *commit = NULL, *path = NULL;
	const char *slash = strchr(name, '/');

	if (!cache)
		return NULL;
	if (slash)
		repo = pt_format(err, "%s/models--%.*s--%s", cache, (int)(slash - name), name, slash + 1);
	else
		repo = pt_format(err, "%s/models--%s", cache, name);
	if (repo)
		commit = hub_commit(repo, err);
	if (commit)
		path = pt_format(err, "%s/snapshots/%s", repo, commit);
	if (path && !pt_is_dir(path)) {
		free(path);
		path = NULL;
	}
	if (!path && !err->status)
		pt_error(err, PT_FAIL, "%s: neither a directory nor a model in the hub cache %s; "
			 "fetch it with: hf download %s", name, cache, name);
	free(commit);
	free(repo);
	free(cache);
	return path;
}

char *pt_modeldir_resolve(const char *name, bool *hub, struct pt_error *err)
{
	*hub = false;
	if (pt_is_dir(name))
		return pt_strdup(name, err);
	if (pt_is_file(name)) {
		pt_error(err, PT_FAIL, "%s is a file; name the model's directory", name);
		return NULL;
	}
	if (!is_hub_name(name)) {
		pt_error(err, PT_FAIL, "%s: no such directory", name);
		return NULL;
	}
	*hub = true;
	return hub_find(name, err);
}

static int read_config(struct pt_modeldir *m, struct pt_error *err)
{
	struct priv *p = m->priv;
	struct pt_buf text = PT_BUF_INIT;
	char *path = pt_path_join(m->path, PT_MODEL_CONFIG, err);
	char *adapter = pt_path_join(m->path, PT_ADAPTER_CONFIG, err);
	int st = path && adapter ? 0 : err->status;

	if (st)
		goto out;
	if (!pt_is_file(path) && pt_is_file(adapter)) {
		st = pt_error(err, PT_FAIL, "%s is an adapter, not a model: it goes to -a, its base to -m",
			      m->given);
		goto out;
	}
	st = pt_file_read(path, MAX_CONFIG, &text, err);
	if (st)
		goto out;
	p->config_hash = pt_hash64(text.data, text.len);
	m->config = pt_json_parse(text.data, text.len, 0, path, err);
	if (!m->config)
		st = err->status;
	else if (!cJSON_IsObject(m->config))
		st = pt_error(err, PT_DATA, "%s: not a JSON object", path);
out:
	pt_buf_release(&text);
	free(adapter);
	free(path);
	return st;
}

static int open_shard(struct pt_modeldir *m, const char *file, struct pt_error *err)
{
	char *path = pt_path_join(m->path, file, err);
	int st = path ? pt_st_open(&m->shard[m->nshards], path, err) : err->status;

	free(path);
	if (st == 0)
		m->nshards++;
	return st;
}

static int by_name(const void *a, const void *b)
{
	const struct pt_st_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void sort(struct priv *p)
{
	if (p->n)
		qsort(p->tensor, p->n, sizeof *p->tensor, by_name);
}

static int open_single(struct pt_modeldir *m, const char *file, struct pt_error *err)
{
	struct priv *p = m->priv;

	m->shard = pt_calloc(1, sizeof *m->shard, err);
	if (!m->shard || open_shard(m, file, err))
		return err->status;
	p->tensor = pt_calloc(m->shard->ntensors, sizeof *p->tensor, err);
	if (!p->tensor)
		return err->status;
	for (size_t i = 0; i < m->shard->ntensors; i++)
		p->tensor[p->n++] = &m->shard->tensor[i];
	sort(p);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* The files that an index names, each once, sorted; borrowed from it. */
static int list_files(const cJSON *map, const char **file, size_t *n, struct pt_error *err)
{
	const cJSON *e;
	size_t k = 0, total = 0;

	cJSON_ArrayForEach(e, map) {
		const char *s = cJSON_GetStringValue(e);

		/* A name from a file never leads out of the directory. */
		if (!s || !*s || *s == '.' || strchr(s, '/'))
			return pt_error(err, PT_DATA, "weight_map: %.100s is not in a file of the directory",
					e->string);
		/* Neighbours mostly share a file. */
		if (!total || strcmp(file[total - 1], s) != 0)
			file[total++] = s;
	}
	if (total)
		qsort(file, total, sizeof *file, by_text);
	for (size_t i = 0; i < total; i++)
		if (!i || strcmp(file[i], file[k - 1]) != 0)
			file[k++] = file[i];
	*n = k;
	if (!k || k > MAX_SHARDS)
		return pt_error(err, PT_DATA, "weight_map names %zu files", k);
	return 0;
}

/* Opens them all; number: file name -> shard. */
static int open_files(struct pt_modeldir *m, const char **file, size_t n, struct pt_map *number,
		      struct pt_error *err)
{
	m->shard = pt_calloc(n, sizeof *m->shard, err);
	if (!m->shard || pt_map_init(number, n, err))
		return err->status;
	for (size_t i = 0; i < n; i++)
		if (open_shard(m, file[i], err) ||
		    pt_map_put(number, file[i], strlen(file[i]), (int64_t)i, NULL, err))
			return err->status;
	return 0;
}

/* Of the files named by an index, those tensors that it names. */
static int open_sharded(struct pt_modeldir *m, const char *path, struct pt_error *err)
{
	struct priv *p = m->priv;
	cJSON *index = pt_json_read(path, 0, err);
	const cJSON *map = pt_json_get(index, "weight_map"), *e;
	struct pt_map number = { 0 };
	const char **file = NULL;
	size_t n = cJSON_IsObject(map) ? (size_t)cJSON_GetArraySize(map) : 0, files = 0;
	int st = index ? 0 : err->status;

	if (st == 0 && !n)
		st = pt_error(err, PT_DATA, "%s: no weight_map", path);
	if (st)
		goto out;
	file = pt_calloc(n, sizeof *file, err);
	p->tensor = pt_calloc(n, sizeof *p->tensor, err);
	st = file && p->tensor ? list_files(map, file, &files, err) : err->status;
	if (st) {
		pt_error_prefix(err, "%s", path);
		goto out;
	}
	st = open_files(m, file, files, &number, err);
	if (st)
		goto out;
	cJSON_ArrayForEach(e, map) {
		int64_t i = pt_map_get(&number, e->valuestring, strlen(e->valuestring));
		const struct pt_st_tensor *t = pt_st_find(&m->shard[i], e->string);

		if (!t) {
			st = pt_error(err, PT_DATA, "%s: %s has no tensor %.200s", path, e->valuestring,
				      e->string);
			goto out;
		}
		p->tensor[p->n++] = t;
	}
	sort(p);
out:
	pt_map_release(&number);
	free(file);
	pt_json_free(index);
	return st;
}

/* Weights that are there but never read are refused even where none are asked for: fresh ones are no substitute. */
static int no_weights(const struct pt_modeldir *m, int flags, struct pt_error *err)
{
	static const char *const pickles[] = { "pytorch_model.bin", "pytorch_model.bin.index.json" };
	const cJSON *arch = cJSON_GetArrayItem(pt_json_get(m->config, "architectures"), 0);
	const char *s = cJSON_GetStringValue(arch);

	for (int i = 0; i < 2; i++) {
		char *path = pt_path_join(m->path, pickles[i], err);
		bool there = path && pt_is_file(path);

		free(path);
		if (err->status)
			return err->status;
		if (there)
			return pt_error(err, PT_DATA, "%s has its weights in %s, a Python pickle, which is never read; "
					"convert it where it is trusted: python -c 'import transformers as t; "
					"t.%s.from_pretrained(\"%s\", torch_dtype=\"auto\").save_pretrained(\"%s\")'",
					m->given, pickles[i], s ? s : "AutoModel", m->path, m->path);
	}
	if (flags & PT_MODELDIR_NO_WEIGHTS)
		return 0;
	return pt_error(err, PT_DATA, "%s has neither model.safetensors nor model.safetensors.index.json",
			m->given);
}

static int open_weights(struct pt_modeldir *m, int flags, struct pt_error *err)
{
	char *single = pt_path_join(m->path, PT_MODEL_WEIGHTS, err);
	char *index = pt_path_join(m->path, PT_MODEL_INDEX, err);
	int st = 0;

	m->weights = true;
	if (!single || !index) {
		st = err->status;
	} else if (pt_is_file(single)) {
		st = open_single(m, PT_MODEL_WEIGHTS, err);
	} else if (pt_is_file(index)) {
		st = open_sharded(m, index, err);
	} else {
		m->weights = false;
		st = no_weights(m, flags, err);
	}
	free(single);
	free(index);
	return st;
}

int pt_modeldir_open(struct pt_modeldir *m, const char *name, int flags, struct pt_error *err)
{
	memset(m, 0, sizeof *m);
	m->priv = pt_calloc(1, sizeof(struct priv), err);
	m->given = m->priv ? pt_strdup(name, err) : NULL;
	m->path = m->given ? pt_modeldir_resolve(name, &m->hub, err) : NULL;
	if (!m->path || read_config(m, err) || open_weights(m, flags, err)) {
		pt_modeldir_close(m);
		return err->status;
	}
	return 0;
}

void pt_modeldir_close(struct pt_modeldir *m)
{
	struct priv *p = m->priv;

	for (int i = 0; i < m->nshards; i++)
		pt_st_release(&m->shard[i]);
	if (p)
		free(p->tensor);
	free(p);
	free(m->shard);
	pt_json_free(m->config);
	free(m->path);
	free(m->given);
	memset(m, 0, sizeof *m);
}

const struct pt_st_tensor *pt_modeldir_find(const struct pt_modeldir *m, const char *name)
{
	const struct priv *p = m->priv;
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, p->tensor[mid]->name);

		if (c == 0)
			return p->tensor[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct pt_st_tensor *pt_modeldir_tensor(const struct pt_modeldir *m, size_t i)
{
	const struct priv *p = m->priv;

	return i < p->n ? p->tensor[i] : NULL;
}

/* A small tensor whole; of others pieces from the beginning to the end: few pages of each are read. */
static void sample(struct pt_hash *h, const struct pt_st_tensor *t)
{
	enum { PIECE = 256, PIECES = 4 };
	const char *d = t->data;

	pt_hash_str(h, t->name);
	if (t->bytes <= PIECE * PIECES) {
		pt_hash_add(h, d, t->bytes);
		return;
	}
	for (size_t i = 0; i < PIECES; i++)
		pt_hash_add(h, d + (t->bytes - PIECE) / (PIECES - 1) * i, PIECE);
}

uint64_t pt_modeldir_digest(const struct pt_modeldir *m)
{
	const struct priv *p = m->priv;
	struct pt_hash h;

	pt_hash_init(&h);
	pt_hash_str(&h, "pt-base1");
	pt_hash_u64(&h, p->config_hash);
	for (int i = 0; i < m->nshards; i++) {
		const struct pt_st *st = &m->shard[i];

		pt_hash_u64(&h, st->size);
		pt_hash_u64(&h, st->header_size);
		pt_hash_add(&h, st->map.data, st->header_size);
	}
	/* Read ahead of every sample is most of a cold file. */
	for (int i = 0; i < m->nshards; i++)
		pt_mapping_scattered(&m->shard[i].map, true);
	for (size_t i = 0; i < p->n; i++)
		sample(&h, p->tensor[i]);
	for (int i = 0; i < m->nshards; i++)
		pt_mapping_scattered(&m->shard[i].map, false);
	return pt_hash_value(&h);
}
