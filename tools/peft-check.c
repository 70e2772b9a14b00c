/* SPDX-License-Identifier: MIT */
/*
 * peft-check.c - verify streams, safetensors files, adapter and model
 * directories; one line each.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "io/digest.h"
#include "operand.h"
#include "sequence.h"
#include "tool.h"
#include "values.h"

static bool finite;
static struct pt_tool tool;
static const struct pt_opt opts[] = {
	{ .name = "finite", .type = PT_OPT_FLAG, .value = &finite, .help = "refuse NaN and infinities too" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-check", "[options] [FILE|DIR ...]",
	"Verifies tensor streams, safetensors files, adapter and model directories.", opts
};

static int check_finite(const struct pt_st_tensor *t, struct pt_error *err)
{
	struct pt_buf at = PT_BUF_INIT;
	struct stats s;

	if (!finite)
		return 0;
	values_stats(t, &s);
	if (s.nan || s.inf) {
		values_where(t, s.first_bad, &at);
		pt_error(err, PT_DATA, "tensor %.200s has %llu NaN and %llu infinities, the first at %s", t->name,
			 (unsigned long long)s.nan, (unsigned long long)s.inf,
			 at.data ? at.data : "?");
		pt_buf_release(&at);
	}
	return err->status;
}

/* Every record of a stream; what it holds into *says. */
static int check_stream(struct operand *o, struct pt_buf *says, struct pt_error *err)
{
	struct pt_digest sum = { .kind = PT_KIND_OTHER };
	struct sequence seq = SEQUENCE_INIT;
	const struct pt_record *rec;
	uint64_t v, counts[5] = { 0 };
	const char *kind = "", *name;
	int segments = 0;

	while (!pt_reader_next(o->reader, &rec, err) && rec) {
		if (rec->type == PT_HEAD) {
			kind = pt_st_meta(&rec->st, "kind");
			if (segments++ && pt_kind_parse(kind) != sum.kind)
				kind = "several kinds";
			sum.kind = pt_kind_parse(kind);
			if (segments == 1)
				pt_buf_str(says, kind);
			if (sequence_begin(&seq, &rec->st, err)) {
				pt_error_prefix(err, "%s", o->name);
				goto out;
			}
		} else if (rec->type == PT_RECORD) {
			for (size_t i = 0; i < rec->st.ntensors && !err->status; i++)
				check_finite(&rec->st.tensor[i], err);
			if (err->status || sequence_record(&seq, rec, err)) {
				pt_error_prefix(err, "%s: record %llu", o->name, (unsigned long long)rec->ordinal);
				goto out;
			}
		} else if (rec->type == PT_END) {
			if (sequence_end(&seq, &rec->st, err)) {
				pt_error_prefix(err, "%s", o->name);
				goto out;
			}
			for (int i = 0; (name = pt_digest_count(&sum, i, &v)) != NULL; i++)
				counts[i] += strtoull(pt_st_meta(&rec->st, name) ? pt_st_meta(&rec->st, name) : "0", NULL, 10);
		}
	}
	for (int i = 0; (name = pt_digest_count(&sum, i, &v)) != NULL; i++)
		pt_buf_printf(says, ", %llu %s", (unsigned long long)counts[i], name);
	if (segments > 1)
		pt_buf_printf(says, ", %d segments", segments);
	pt_buf_printf(says, ", digest %s%s", pt_hex64(pt_reader_digest(o->reader)).s,
		      pt_reader_limited(o->reader) ? ", limited" : "");
out:
	sequence_release(&seq);
	return err->status;
}

/* Values, and a digest of names, types, shapes and bytes: the same however the tensors lie in files. */
static int check_tensors(const struct operand *o, struct pt_buf *says, struct pt_error *err)
{
	struct pt_hash h;
	size_t bytes = 0;

	pt_hash_init(&h);
	for (size_t i = 0; i < o->n; i++) {
		const struct pt_st_tensor *t = o->tensor[i];

		pt_hash_str(&h, t->name);
		pt_hash_str(&h, pt_dtype_name(t->dtype));
		pt_hash_u64(&h, (uint64_t)t->ndim);
		for (int d = 0; d < t->ndim; d++)
			pt_hash_u64(&h, (uint64_t)t->shape[d]);
		pt_hash_add(&h, t->data, t->bytes);
		bytes += t->bytes;
		if (check_finite(t, err))
			return pt_error_prefix(err, "%s", o->name);
	}
	pt_buf_printf(says, ", %zu tensors, %zu bytes, digest %s", o->n, bytes, pt_hex64(pt_hash_value(&h)).s);
	return 0;
}

/* A file of a directory that has a form of its own. */
static int check_part(const char *path, struct pt_error *err)
{
	const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
	struct pt_prov prov = PT_PROV_INIT;
	struct pt_st st;
	uint64_t id;
	cJSON *j;

	if (!dot || !pt_is_file(path))
		return 0;
	if (!strcmp(dot, ".safetensors") && !pt_st_open(&st, path, err)) {
		pt_st_release(&st);
	} else if (!strcmp(dot, ".json")) {
		/* A vocabulary may say a thing twice. */
		j = pt_json_read(path, PT_JSON_LAST_WINS, err);
		pt_json_free(j);
		if (j && slash && !strcmp(slash + 1, PT_PROV_FILE) && !pt_prov_read(&prov, path, &id, err))
			pt_prov_release(&prov);
	}
	return err->status;
}

static int check_dir(const struct operand *o, struct pt_buf *says, struct pt_error *err)
{
	const char *method = "", *key = o->type == OPERAND_ADAPTER ? o->layout->mark : "model_type";
	DIR *d = opendir(o->dir);
	struct dirent *e;

	if (!d)
		return pt_error_errno(err, "%s", o->dir);
	while (!err->status && (e = readdir(d)) != NULL) {
		char *path = pt_path_join(o->dir, e->d_name, err);

		if (path)
			check_part(path, err);
		free(path);
	}
	closedir(d);
	if (!err->status && pt_json_str(o->config, key, "of no stated type", &method, err))
		pt_error_prefix(err, "%s", o->name);
	pt_buf_printf(says, "%s ", o->type == OPERAND_ADAPTER ? "adapter" : "model");
	pt_buf_printable(says, method, strlen(method));
	if (!err->status && o->type == OPERAND_MODEL)
		pt_buf_printf(says, ", %d shard%s, base %s", o->model.nshards,
			      o->model.nshards == 1 ? "" : "s", pt_hex64(pt_modeldir_digest(&o->model)).s);
	return err->status;
}

static int check(const char *path)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf says = PT_BUF_INIT;
	struct operand o;
	int status = operand_open(&o, path, &err);

	if (!status) {
		switch (o.type) {
		case OPERAND_STREAM:
			status = check_stream(&o, &says, &err);
			break;
		case OPERAND_FILE:
			pt_buf_str(&says, "safetensors");
			status = check_tensors(&o, &says, &err);
			break;
		default:
			status = check_dir(&o, &says, &err);
			if (!status)
				status = check_tensors(&o, &says, &err);
		}
		if (!status)
			status = pt_buf_check(&says, &err);
		if (!status && !tool.quiet)
			printf("%s: ok: %s\n", o.name, says.data);
		operand_close(&o);
	}
	pt_buf_release(&says);
	if (status) {
		fflush(stdout);
		tool_report(&err);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	int worst = 0, status;

	tool_init(&tool, &spec, argc, argv);
	if (tool_check_input(tool.operand, tool.noperands, &err))
		return tool_report(&err);
	if (!tool.noperands)
		worst = check("-");
	for (int i = 0; i < tool.noperands; i++) {
		status = check(tool.operand[i]);
		/* Bad data outweighs what could not be read. */
		worst = status > worst ? status : worst;
	}
	if (tool_finish(&err))
		return tool_report(&err);
	return worst;
}
