/* SPDX-License-Identifier: MIT */
/*
 * sentence.c - the files that a directory of sentence-transformers has beside
 * the model: modules.json and 1_Pooling/config.json. What they ask of an
 * embedding is done, or refused by name.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/body.h"

static const struct {
	const char *key, *name;	/* as a switch of its own, and as a value of "pooling_mode" */
	enum pt_pooling pool;
	bool known;
} modes[] = {
	{ "pooling_mode_cls_token", "cls", PT_POOL_FIRST, true },
	{ "pooling_mode_mean_tokens", "mean", PT_POOL_MEAN, true },
	{ "pooling_mode_lasttoken", "lasttoken", PT_POOL_LAST, true },
	{ "pooling_mode_max_tokens", "max", PT_POOL_MEAN, false },
	{ "pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", PT_POOL_MEAN, false },
	{ "pooling_mode_weightedmean_tokens", "weightedmean", PT_POOL_MEAN, false },
};

/* One mode; several at once would be joined. */
static int read_pooling(struct pt_model *m, const cJSON *j, struct pt_error *err)
{
	const char *name;
	int found = 0;

	if (pt_json_str(j, "pooling_mode", "", &name, err))
		return err->status;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		bool on;

		if (pt_json_bool(j, modes[i].key, !strcmp(name, modes[i].name), &on, err))
			return err->status;
		if (!on)
			continue;
		if (!modes[i].known)
			return pt_error(err, PT_DATA, "%s is not supported", modes[i].key);
		m->body->pool = modes[i].pool;
		found++;
	}
	if (found != 1)
		return pt_error(err, PT_DATA, "%d modes of pooling%s%s; one is supported: cls, mean or lasttoken", found,
				*name ? ": " : "", name);
	return 0;
}

static int pooling_file(struct pt_model *m, const char *sub, struct pt_error *err)
{
	char *dir = pt_path_join(m->dir->path, sub, err), *path = dir ? pt_path_join(dir, PT_MODEL_CONFIG, err) : NULL;
	cJSON *j = path ? pt_json_read(path, 0, err) : NULL;

	if (j && read_pooling(m, j, err))
		pt_error_prefix(err, "%s", path);
	pt_json_free(j);
	free(path);
	free(dir);
	return err->status;
}

/* Modules by the last part of their class: transformer, pooling, perhaps a normalisation. */
static int read_modules(struct pt_model *m, const cJSON *j, struct pt_error *err)
{
	const cJSON *v;

	cJSON_ArrayForEach(v, j) {
		const char *type, *path, *name;

		if (pt_json_str(v, "type", "", &type, err) || pt_json_str(v, "path", "", &path, err))
			return err->status;
		name = strrchr(type, '.') ? strrchr(type, '.') + 1 : type;
		if (*path == '/' || strstr(path, ".."))
			return pt_error(err, PT_DATA, "path \"%.60s\" leaves the directory", path);
		if (!strcmp(name, "Transformer") && *path)
			return pt_error(err, PT_DATA, "a Transformer in the subdirectory \"%.60s\" is not supported: name that "
					"directory as the model", path);
		if (!strcmp(name, "Transformer"))
			continue;
		if (!strcmp(name, "Normalize"))
			m->body->unit = true;
		else if (strcmp(name, "Pooling"))
			return pt_error(err, PT_DATA, "a module %s is not supported", name);
		else if (pooling_file(m, path, err))
			return err->status;
	}
	return 0;
}

int pt_sentence_read(struct pt_model *m, struct pt_error *err)
{
	char *path = pt_path_join(m->dir->path, "modules.json", err);
	cJSON *j;

	if (!path)
		return err->status;
	if (pt_is_file(path)) {
		j = pt_json_read(path, 0, err);
		if (j && read_modules(m, j, err))
			pt_error_prefix(err, "%s", path);
		pt_json_free(j);
	}
	free(path);
	return err->status;
}
