/* SPDX-License-Identifier: MIT */
/*
 * weights.c - values of the parameters from a checkpoint: names resolved as
 * published files spell them, shapes checked, tied embeddings, used in place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/body.h"

/* A name, and the same with LayerNorm.gamma/beta as BERT's first files have them. */
static const struct pt_st_tensor *find_spelling(const struct pt_modeldir *d, const char *name,
						struct pt_buf *buf)
{
	static const char *const spelling[][2] = { { "LayerNorm.weight", "LayerNorm.gamma" },
						   { "LayerNorm.bias", "LayerNorm.beta" } };
	const struct pt_st_tensor *t = pt_modeldir_find(d, name);
	size_t n = strlen(name);

	for (int i = 0; !t && i < 2; i++) {
		size_t k = strlen(spelling[i][0]);

		if (n < k || strcmp(name + n - k, spelling[i][0]) != 0)
			continue;
		pt_buf_clear(buf);
		pt_buf_add(buf, name, n - k);
		pt_buf_str(buf, spelling[i][1]);
		if (!buf->failed)
			t = pt_modeldir_find(d, buf->data);
	}
	return t;
}

static const struct pt_st_tensor *find_under(const struct pt_modeldir *d, const char *prefix, const char *rest,
					     struct pt_buf *spell)
{
	struct pt_buf name = PT_BUF_INIT;
	const struct pt_st_tensor *t;

	pt_buf_printf(&name, "%s.%s", prefix, rest);
	t = name.failed ? NULL : find_spelling(d, name.data, spell);
	pt_buf_release(&name);
	return t;
}

/*
 * A parameter in the checkpoint: under its path (or one of two other names),
 * without the base prefix (files of a bare body), with it (a body read from a
 * file with a head), or with that of another head's class.
 */
static const struct pt_st_tensor *resolve_names(const struct pt_model *m, const char *path, const char *file,
						const char *old)
{
	struct pt_buf spell = PT_BUF_INIT;
	const struct pt_family *f = m->cfg.family;
	const char *prefix = pt_model_prefix(m);
	size_t n = strlen(prefix);
	bool body = !n || (!strncmp(path, prefix, n) && path[n] == '.');
	const char *rest = n && body ? path + n + 1 : path;
	const struct pt_st_tensor *t = find_spelling(m->dir, path, &spell);

	if (!t && file)
		t = find_spelling(m->dir, file, &spell);
	if (!t && old)
		t = find_spelling(m->dir, old, &spell);
	if (!t && n && body)
		t = find_spelling(m->dir, rest, &spell);
	if (!t)
		t = find_under(m->dir, f->prefix, rest, &spell);
	for (const struct pt_head *h = f->head; body && !t && h->task != PT_TASK_NONE; h++) {
		if (h->prefix)
			t = find_under(m->dir, h->prefix, rest, &spell);
	}
	pt_buf_release(&spell);
	return t;
}

static const struct pt_st_tensor *resolve(const struct pt_model *m, const struct pt_weight *w)
{
	return resolve_names(m, w->path, w->file, w->old);
}

/* t is some weight's. */
static int note_read(struct pt_model *m, const struct pt_st_tensor *t, struct pt_error *err)
{
	return t ? pt_map_put(&m->body->read, t->name, strlen(t->name), 0, NULL, err) : 0;
}

int64_t pt_weights_head_rows(const struct pt_model *m, const char *head_path)
{
	struct pt_buf name = PT_BUF_INIT;
	const struct pt_st_tensor *t = NULL;

	if (!m->dir->weights)
		return 0;
	pt_buf_printf(&name, "%s.weight", head_path);
	if (!name.failed)
		t = pt_modeldir_find(m->dir, name.data);
	pt_buf_release(&name);
	return t && t->ndim == 2 ? t->shape[0] : 0;
}

int pt_body_own(struct pt_model *m, const void *host, size_t bytes, void **out, struct pt_error *err)
{
	struct pt_body *b = m->body;
	int st = pt_grow(&b->owned, &b->cap_owned, b->nowned + 1, sizeof *b->owned, err);

	if (st == 0)
		st = m->dev->alloc(m->dev, bytes, out, err);
	if (st)
		return st;
	b->owned[b->nowned++] = (struct pt_owned){ *out, bytes };
	return m->dev->upload(m->dev, *out, host, bytes, err);
}

static void print_shape(char *buf, size_t size, int ndim, const int64_t *shape)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int i = 0; i < ndim && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
}

static int check_shape(int ndim, const int64_t *shape, const struct pt_st_tensor *t, struct pt_error *err)
{
	char want[100], have[200];
	bool same = t->ndim == ndim;

	for (int i = 0; same && i < t->ndim; i++)
		same = t->shape[i] == shape[i];
	if (same)
		return 0;
	print_shape(want, sizeof want, ndim, shape);
	print_shape(have, sizeof have, t->ndim, t->shape);
	return pt_error(err, PT_DATA, "%s has the shape [%s], config.json asks for [%s]", t->name, have,
			want);
}

/*
 * Where the bytes of t are: mapped, at *host, or, of double precision and unaligned ones, a copy on the device, at
 * *data.
 */
static int find_bytes(struct pt_model *m, const struct pt_st_tensor *t, enum pt_dtype *type, const void **host,
		      void **data, struct pt_error *err)
{
	float *f;
	int st;

	*type = t->dtype;
	*host = NULL;
	if (t->dtype == PT_F64) {
		*type = PT_F32;
		f = pt_malloc(t->count, sizeof *f, err);
		if (!f)
			return err->status;
		pt_to_f32(f, t->data, PT_F64, t->count);
		st = pt_body_own(m, f, t->count * sizeof *f, data, err);
		free(f);
		return st;
	}
	if (t->dtype != PT_F32 && t->dtype != PT_BF16 && t->dtype != PT_F16)
		return pt_error(err, PT_DATA, "%s is stored as %s, which is not supported (F32, BF16 and F16 are)",
				t->name, pt_dtype_name(t->dtype));
	if ((uintptr_t)t->data % pt_dtype_size(t->dtype))
		return pt_body_own(m, t->data, t->bytes, data, err);
	*host = t->data;
	return 0;
}

/* The block that reads s alone; -1: none. A table of values is of all blocks, wherever files have it. */
static int part_of(const struct pt_model *m, const struct pt_site *s)
{
	bool block = s->layer >= 0 && s->kind != PT_SITE_TABLE && s->stack >= 0 && s->stack < m->body->nstacks;

	return block ? m->body->stack[s->stack].first + s->layer : -1;
}

/* The value of w, a weight of s, is bytes behind *host or, where that is NULL, data. */
static int set_bytes(struct pt_model *m, const struct pt_site *s, struct pt_weight *w, const void *host, void *data,
		     size_t at, struct pt_error *err)
{
	if (!host) {
		w->t.data = (char *)data + at;
		return 0;
	}
	w->host = (const char *)host + at;
	w->mapped = (int64_t)m->body->parts.n;
	return pt_parts_add(&m->body->parts, part_of(m, s), w->host,
			    (size_t)pt_tensor_count(&w->t) * pt_dtype_size(w->t.type), &w->t.data, err);
}

/* The pieces of a parameter where the checkpoint has them together: views of it. */
static int load_param(struct pt_model *m, struct pt_site *s, struct pt_error *err)
{
	const int64_t shape[PT_MAX_DIMS] = { s->experts, s->out, s->in };
	int one = s->experts == 1 && s->npieces == 1;
	const struct pt_st_tensor *t = NULL;
	enum pt_dtype type;
	const void *host;
	size_t bytes;
	void *data;

	s->file = pt_format(err, "%s.%s", s->path, s->param);
	if (!s->file)
		return err->status;
	if (!resolve(m, s->piece[0]->weight))
		t = resolve_names(m, s->file, NULL, NULL);
	if (!t) {
		free(s->file);
		s->file = NULL;
		return 0;
	}
	if (note_read(m, t, err) || check_shape(3 - one, shape + one, t, err) ||
	    find_bytes(m, t, &type, &host, &data, err))
		return err->status;
	bytes = t->count / (size_t)s->npieces * pt_dtype_size(type);
	for (int i = 0; i < s->npieces; i++) {
		struct pt_weight *w = s->piece[i]->weight;

		w->t.type = type;
		if (set_bytes(m, s->piece[i], w, host, data, (size_t)i * bytes, err))
			return err->status;
		w->stored = t->name;
		w->param = s;
	}
	return 0;
}

static void tie(struct pt_weight *w, struct pt_weight *to)
{
	w->t = to->t;
	w->t.name = w->path;
	w->host = to->host;
	w->stored = NULL;
	w->tied = to;
	w->fresh = to->fresh;
	to->readers++;
}

static bool equal(const struct pt_st_tensor *a, const struct pt_st_tensor *b)
{
	return a->dtype == b->dtype && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

/* The table that serves as both ends: apart from the embeddings in some families. */
static const struct pt_site *table_of(const struct pt_model *m)
{
	struct pt_site *const *part = m->body->stack[0].part;

	return part[PT_ROLE_SHARED] ? part[PT_ROLE_SHARED] : part[PT_ROLE_EMBED];
}

/* What s shares its weight with, unless the file has one of its own; NULL: nothing. */
static const struct pt_site *twin_of(const struct pt_model *m, const struct pt_site *s)
{
	const struct pt_site *table = table_of(m);

	if (s->output)
		return m->cfg.tie ? table : NULL;
	for (int i = 0; i < m->body->nstacks; i++) {
		if (s == m->body->stack[i].part[PT_ROLE_EMBED] && s != table)
			return table;
	}
	return NULL;
}

/* A table that is missing is any of its twins. */
static const struct pt_st_tensor *resolve_twin(const struct pt_model *m, const struct pt_site *table)
{
	const struct pt_st_tensor *t = NULL;

	for (int i = 0; i < m->nsites && !t; i++) {
		if (m->site[i].weight && twin_of(m, &m->site[i]) == table)
			t = resolve(m, m->site[i].weight);
	}
	return t;
}

/* Values of one weight. Of tied weights the file's own where it differs from the twin's, else the twin. */
static int load_one(struct pt_model *m, struct pt_site *s, struct pt_weight *w,
		    const struct pt_model_options *o, struct pt_error *err)
{
	const struct pt_site *twin = w->bias ? NULL : twin_of(m, s);
	const bool file = !o->random && !o->structure;
	const struct pt_st_tensor *t = !file ? NULL : resolve(m, w), *other;
	bool head = s->head || s == m->body->part[PT_ROLE_HEAD_DENSE] || s == m->body->part[PT_ROLE_HEAD_NORM] ||
		    (s->output && w->bias) || (s->stack < 0 && pt_model_head_is_own(m));
	int st = note_read(m, t, err);

	/* Nor is the bias of a tied head shared where the file has another one. */
	if (t && w->old && !st) {
		other = pt_modeldir_find(m->dir, w->old);
		if (other && !equal(t, other))
			t = other;
		st = note_read(m, other, err);
	}
	if (st)
		return st;
	if (twin) {
		other = !file ? NULL : resolve(m, twin->weight);
		if (!t || !other || equal(t, other)) {
			tie(w, twin->weight);
			return 0;
		}
	}
	if (o->structure)
		return 0;
	if (!t && file && s == table_of(m))
		t = resolve_twin(m, s);
	if (t) {
		const void *host;
		void *data;

		w->stored = t->name;
		if (note_read(m, t, err) || check_shape(w->t.ndim, w->t.shape, t, err) ||
		    find_bytes(m, t, &w->t.type, &host, &data, err))
			return err->status;
		return set_bytes(m, s, w, host, data, 0, err);
	}
	if (o->random || (head && o->head_may_lack)) {
		m->body->head_is_new |= head;
		return pt_weight_fresh(m, s, w, o->seed, err);
	}
	if (head)
		return pt_error(err, PT_DATA, "%s: the checkpoint has no %s (%s head); create one with peft-init",
				m->dir->given, w->path, pt_task_name(m->task));
	return pt_error(err, PT_DATA, "%s: the checkpoint has no %s%s", m->dir->given, w->path,
			s->output ? " and config.json does not tie it to the embedding" : "");
}

/* The factor on an embedding is a number of the type of its weights, as transformers has it. */
static void round_scale(struct pt_site *s)
{
	if (s->weight->t.type == PT_BF16)
		s->embed_scale = pt_round_bf16(s->embed_scale);
	else if (s->weight->t.type == PT_F16)
		s->embed_scale = pt_f16_to_f32(pt_f32_to_f16(s->embed_scale));
}

static int add_name(struct pt_map *names, const char *name, int value, struct pt_error *err)
{
	size_t n = name ? strlen(name) : 0;

	/* The first of a name is the one. */
	return n && pt_map_get(names, name, n) < 0 ? pt_map_put(names, name, n, value, NULL, err) : 0;
}

static int index_names(struct pt_model *m, struct pt_error *err)
{
	struct pt_map *names = &m->body->names;
	int st = pt_map_init(names, 2 * (size_t)m->nweights, err);

	for (int i = 0; i < m->nweights && !st; i++) {
		st = add_name(names, m->weight[i].path, i, err);
		if (!st)
			st = add_name(names, m->weight[i].file, i, err);
	}
	for (int i = 0; i < m->nsites && !st; i++)
		st = add_name(names, m->site[i].file, m->nweights + i, err);
	return st;
}

static int load_all(struct pt_model *m, const struct pt_model_options *o, struct pt_error *err)
{
	const bool file = !o->random && !o->structure;

	for (int i = 0; i < m->nsites && file; i++) {
		if (m->site[i].kind == PT_SITE_PARAM && load_param(m, &m->site[i], err))
			return err->status;
	}
	for (int i = 0; i < m->nsites; i++) {
		struct pt_site *s = &m->site[i];

		if (s->weight && !s->weight->param && load_one(m, s, s->weight, o, err))
			return err->status;
		if (s->bias && load_one(m, s, s->bias, o, err))
			return err->status;
		if (s->kind == PT_SITE_EMBEDDING)
			round_scale(s);
	}
	return file ? pt_weights_unread(m, &m->body->read, err) : 0;
}

int pt_weight_read(const struct pt_model *m, const struct pt_weight *w, size_t at, size_t n, void *out,
		   struct pt_error *err)
{
	if (!w->host)
		return m->dev->download(m->dev, out, (const char *)w->t.data + at, n, err);
	memcpy(out, (const char *)w->host + at, n);
	return 0;
}

int pt_weights_load(struct pt_model *m, const struct pt_model_options *o, struct pt_error *err)
{
	int st = pt_map_init(&m->body->read, (size_t)m->nweights, err);

	if (!st)
		st = pt_parts_init(&m->body->parts, m->dev, pt_model_blocks(m), err);
	if (!st)
		st = load_all(m, o, err);
	pt_map_release(&m->body->read);
	return st ? st : index_names(m, err);
}
