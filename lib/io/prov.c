/* SPDX-License-Identifier: MIT */
/*
 * prov.c - provenance nodes and their ids; see prov.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "io/prov.h"

enum { MAX_TREE_DEPTH = 256 };

void pt_prov_release(struct pt_prov *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->node[i].text);
	free(p->node);
	*p = (struct pt_prov)PT_PROV_INIT;
}

/* Place of id, or where it belongs. */
static size_t place(const struct pt_prov *p, uint64_t id)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->node[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int add_text(struct pt_prov *p, const char *text, size_t n, uint64_t *id, struct pt_error *err)
{
	size_t i;
	char *copy;

	*id = pt_hash64(text, n);
	i = place(p, *id);
	if (i < p->n && p->node[i].id == *id)
		return 0;
	if (p->n >= PT_PROV_MAX)
		return pt_error(err, PT_DATA, "provenance of more than %d steps", PT_PROV_MAX);
	if (pt_grow(&p->node, &p->cap, p->n + 1, sizeof *p->node, err))
		return err->status;
	copy = pt_strndup(text, n, err);
	if (!copy)
		return err->status;
	memmove(p->node + i + 1, p->node + i, (p->n - i) * sizeof *p->node);
	p->node[i] = (struct pt_prov_node){ *id, copy };
	p->n++;
	return 0;
}

static void field(struct pt_buf *b, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	pt_buf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
	pt_buf_json(b, value, strlen(value));
}

int pt_prov_add(struct pt_prov *p, const struct pt_prov_step *s, uint64_t *id, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	int status;

	pt_buf_char(&b, '{');
	field(&b, "source", s->source);
	field(&b, "tool", s->tool);
	field(&b, "version", s->version);
	field(&b, "kind", s->kind);
	field(&b, "options", s->options);
	for (size_t i = 0; i < s->nparents; i++)
		pt_buf_printf(&b, "%s\"%s\"", i ? "," : b.len > 1 ? ",\"parents\":[" : "\"parents\":[",
			      pt_hex64(s->parent[i]).s);
	if (s->nparents)
		pt_buf_char(&b, ']');
	if (s->has_digest)
		field(&b, "digest", pt_hex64(s->digest).s);
	if (s->counts && *s->counts)
		pt_buf_printf(&b, "%s\"counts\":%s", b.len > 1 ? "," : "", s->counts);
	if (s->limited)
		pt_buf_printf(&b, "%s\"limited\":true", b.len > 1 ? "," : "");
	pt_buf_char(&b, '}');
	status = pt_buf_check(&b, err);
	if (!status)
		status = add_text(p, b.data, b.len, id, err);
	pt_buf_release(&b);
	return status;
}

int pt_prov_add_record(struct pt_prov *p, const struct pt_st *st, struct pt_error *err)
{
	uint64_t id, is;
	int status;

	for (size_t i = 0; i < st->nmeta; i++) {
		const struct pt_st_meta *m = &st->meta[i];

		if (strncmp(m->key, "prov.", 5))
			continue;
		if (!pt_unhex64(m->key + 5, &id) || id != pt_hash64(m->value, strlen(m->value)))
			return pt_error(err, PT_DATA, "provenance: %.40s is not the id of what it names", m->key);
		status = add_text(p, m->value, strlen(m->value), &is, err);
		if (status)
			return status;
	}
	return 0;
}

int pt_prov_union(struct pt_prov *p, const struct pt_prov *other, struct pt_error *err)
{
	uint64_t id;
	int status = 0;

	for (size_t i = 0; i < other->n && !status; i++)
		status = add_text(p, other->node[i].text, strlen(other->node[i].text), &id, err);
	return status;
}

void pt_prov_put(const struct pt_prov *p, struct pt_st_build *b)
{
	for (size_t i = 0; i < p->n; i++) {
		char key[32] = "prov.";

		memcpy(key + 5, pt_hex64(p->node[i].id).s, 17);
		pt_st_build_meta(b, key, p->node[i].text);
	}
}

int pt_prov_json(const struct pt_prov *p, uint64_t id, struct pt_buf *out, struct pt_error *err)
{
	pt_buf_printf(out, "{\n  \"id\": \"%s\",\n  \"nodes\": {", pt_hex64(id).s);
	for (size_t i = 0; i < p->n; i++)
		pt_buf_printf(out, "%s\n    \"%s\": %s", i ? "," : "", pt_hex64(p->node[i].id).s,
			      p->node[i].text);
	pt_buf_str(out, p->n ? "\n  }\n}\n" : "}\n}\n");
	return pt_buf_check(out, err);
}

int pt_prov_write(const struct pt_prov *p, uint64_t id, const char *dir, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	int st;

	if (!id)
		return 0;
	st = pt_prov_json(p, id, &b, err);
	if (!st)
		st = pt_file_write_in(dir, PT_PROV_FILE, &b, err);
	pt_buf_release(&b);
	return st;
}

int pt_prov_read(struct pt_prov *p, const char *path, uint64_t *id, struct pt_error *err)
{
	const cJSON *nodes, *node;
	const char *text;
	uint64_t named, is;
	int status = 0;
	cJSON *j;

	*p = (struct pt_prov)PT_PROV_INIT;
	*id = 0;
	if (!pt_is_file(path))
		return 0;
	j = pt_json_read(path, 0, err);
	if (!j)
		return err->status;
	if (pt_json_str(j, "id", "0000000000000000", &text, err))
		status = pt_error_prefix(err, "%s", path);
	else if (!pt_unhex64(text, id))
		status = pt_error(err, PT_DATA, "%s: id is not 16 hexadecimal digits", path);
	nodes = pt_json_get(j, "nodes");
	cJSON_ArrayForEach(node, nodes) {
		struct pt_buf b = PT_BUF_INIT;

		if (status)
			break;
		pt_json_print(&b, node, 0);
		status = pt_buf_check(&b, err);
		if (!status)
			status = add_text(p, b.data, b.len, &is, err);
		if (!status && (!pt_unhex64(node->string, &named) || named != is))
			status = pt_error(err, PT_DATA, "%s: %.40s is not the id of what it names", path,
					  node->string);
		pt_buf_release(&b);
	}
	pt_json_free(j);
	if (status)
		pt_prov_release(p);
	return status;
}

struct tree {
	const struct pt_prov *p;
	struct pt_buf *out;
	unsigned char *seen;		/* by place in p */
	struct pt_error *err;
};

static void line_field(struct pt_buf *out, const cJSON *j, const char *key, const char *before)
{
	const cJSON *v = pt_json_get(j, key);

	if (cJSON_IsString(v) && *v->valuestring) {
		pt_buf_str(out, before);
		pt_buf_printable(out, v->valuestring, strlen(v->valuestring));
	}
}

static void node_line(struct tree *t, const cJSON *j)
{
	const cJSON *c;

	line_field(t->out, j, "source", " ");
	line_field(t->out, j, "tool", " ");
	line_field(t->out, j, "version", " ");
	line_field(t->out, j, "options", " ");
	line_field(t->out, j, "kind", " -> ");
	cJSON_ArrayForEach(c, pt_json_get(j, "counts"))
		if (cJSON_IsNumber(c)) {
			pt_buf_str(t->out, " ");
			pt_buf_printable(t->out, c->string, strlen(c->string));
			pt_buf_str(t->out, "=");
			pt_json_print(t->out, c, 0);
		}
	line_field(t->out, j, "digest", " digest ");
	if (cJSON_IsTrue(pt_json_get(j, "limited")))
		pt_buf_str(t->out, " (limited)");
}

static int subtree(struct tree *t, uint64_t id, int depth)
{
	size_t i = place(t->p, id);
	const cJSON *parent;
	uint64_t up;
	int status = 0;
	cJSON *j;

	pt_buf_printf(t->out, "%*s%s", 2 * depth, "", pt_hex64(id).s);
	if (i >= t->p->n || t->p->node[i].id != id) {
		pt_buf_str(t->out, " (unknown)\n");
		return 0;
	}
	if (t->seen[i]) {
		pt_buf_str(t->out, " (above)\n");
		return 0;
	}
	if (depth >= MAX_TREE_DEPTH) {
		pt_buf_str(t->out, " ...\n");
		return 0;
	}
	t->seen[i] = 1;
	j = pt_json_parse(t->p->node[i].text, strlen(t->p->node[i].text), 0, "provenance", t->err);
	if (!j)
		return t->err->status;
	node_line(t, j);
	pt_buf_char(t->out, '\n');
	cJSON_ArrayForEach(parent, pt_json_get(j, "parents"))
		if (!status && cJSON_IsString(parent) && pt_unhex64(parent->valuestring, &up))
			status = subtree(t, up, depth + 1);
	pt_json_free(j);
	return status;
}

int pt_prov_tree(const struct pt_prov *p, uint64_t id, struct pt_buf *out, struct pt_error *err)
{
	struct tree t = { p, out, NULL, err };
	int status;

	t.seen = pt_calloc(p->n, 1, err);
	if (!t.seen)
		return err->status;
	status = subtree(&t, id, 0);
	free(t.seen);
	return status ? status : pt_buf_check(out, err);
}
