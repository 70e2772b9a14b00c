/* SPDX-License-Identifier: MIT */
/*
 * stream_state.c - the reader of streams: the order of records, segments that
 * must agree, counts and digests, provenance (formats/stream.md, section 2).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/stream_priv.h"

static const char *meta_or(const struct pt_st *st, const char *key, const char *other)
{
	const char *v = pt_st_meta(st, key);

	return v ? v : other;
}

/* What to do about a stream of the wrong kind. */
static const char *kind_cure(const char *want, const char *is)
{
	if (!strcmp(is, "examples") && !strcmp(want, "batch"))
		return "; pipe it through peft-batch";
	if (!strcmp(is, "batch") && !strcmp(want, "examples"))
		return "; it went through peft-batch already";
	return "";
}

static int check_kind(struct pt_reader *r, const struct pt_st *st, struct pt_error *err)
{
	const char *v = meta_or(st, "v", ""), *kind = pt_st_meta(st, "kind");
	const char *kind_v = meta_or(st, "kind_v", "1");

	if (strcmp(v, "1"))
		return pt_error(err, PT_DATA, "version '%.20s' of the stream format; this program reads 1", v);
	if (!kind)
		return pt_error(err, PT_DATA, "the HEAD names no kind");
	if (r->want_kind && strcmp(kind, r->want_kind))
		return pt_error(err, PT_DATA, "a stream of kind %.40s, not %s%s", kind, r->want_kind,
				kind_cure(r->want_kind, kind));
	if (pt_kind_parse(kind) != PT_KIND_OTHER && strcmp(kind_v, "1"))
		return pt_error(err, PT_DATA, "version '%.20s' of kind %s; this program reads 1", kind_v, kind);
	return 0;
}

/* A further segment must continue the first one. */
static int check_same(struct pt_reader *r, const struct pt_st *st, struct pt_error *err)
{
	static const char *const keys[] = { "kind", "tokenizer", "vocab_size", "task", "labels" };

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const char *a = meta_or(&r->head.st, keys[i], "none"), *b = meta_or(st, keys[i], "none");

		if (strcmp(a, b))
			return pt_error(err, PT_DATA, "another %s than the segment before (%s): %.200s, not %.200s",
					keys[i], r->head_name, b, a);
	}
	return 0;
}

static int keep_head(struct pt_reader *r, struct pt_error *err)
{
	r->head_bytes = pt_malloc(r->rec.size, 1, err);
	r->head_name = pt_strdup(pt_reader_name(r), err);
	if (!r->head_bytes || !r->head_name)
		return err->status;
	memcpy(r->head_bytes, r->rec.bytes, r->rec.size);
	r->head = (struct pt_record){ .type = PT_HEAD, .bytes = r->head_bytes, .size = r->rec.size,
				      .ordinal = r->rec.ordinal };
	if (pt_st_parse(&r->head.st, r->head_bytes, r->rec.size, err))
		return err->status;
	r->head.st.ntensors--;		/* "_tail" */
	return 0;
}

static int on_head(struct pt_reader *r, struct pt_error *err)
{
	const struct pt_st *st = &r->rec.st;
	const char *id = pt_st_meta(st, "id");

	if (r->state == PT_IN)
		return pt_error(err, PT_DATA, "a HEAD before the END of the segment: its producer died");
	if (check_kind(r, st, err))
		return err->status;
	if (r->segments && !(r->flags & PT_READ_ANY_KIND) && check_same(r, st, err))
		return err->status;
	if (!r->segments && keep_head(r, err))
		return err->status;
	pt_prov_release(&r->begun);
	if (pt_prov_add_record(&r->begun, st, err))
		return err->status;
	r->begun_id = 0;
	if (id && !pt_unhex64(id, &r->begun_id))
		return pt_error(err, PT_DATA, "the HEAD's id is not 16 hexadecimal digits");
	if (pt_kind_bounds(&r->bounds, st, err))
		return err->status;
	pt_digest_head(&r->digest, st);
	r->have = 0;
	r->segments++;
	r->state = PT_IN;
	return 0;
}

static int on_data(struct pt_reader *r, struct pt_error *err)
{
	if (r->state != PT_IN)
		return pt_error(err, PT_DATA, "a DATA record outside of a segment");
	if (pt_kind_check(r->digest.kind, &r->rec.st, &r->bounds, err) ||
	    pt_kind_same(r->digest.kind, &r->rec.st, &r->have, err))
		return pt_error_prefix(err, "record %llu", (unsigned long long)r->in_input - 1);
	return pt_digest_data(&r->digest, &r->rec.st, err);
}

static int check_count(const struct pt_st *st, const char *key, uint64_t is, bool must, struct pt_error *err)
{
	const char *v = pt_st_meta(st, key);
	char text[32];

	snprintf(text, sizeof text, "%llu", (unsigned long long)is);
	if (v ? strcmp(v, text) != 0 : must)
		return pt_error(err, PT_DATA, "END counts %.24s %s, %s were read", v ? v : "no", key, text);
	return 0;
}

static int on_end(struct pt_reader *r, struct pt_error *err)
{
	const struct pt_st *st = &r->rec.st;
	uint64_t digest = pt_digest_value(&r->digest), v, id;
	const char *text, *name;

	if (r->state != PT_IN)
		return pt_error(err, PT_DATA, "an END outside of a segment");
	for (int i = 0; (name = pt_digest_count(&r->digest, i, &v)) != NULL; i++)
		if (check_count(st, name, v, i == 0, err))
			return err->status;
	text = pt_st_meta(st, "digest");
	if (!text || strcmp(text, pt_hex64(digest).s))
		return pt_error(err, PT_DATA, "the digest at END is %.20s, that of what was read %s",
				text ? text : "missing", pt_hex64(digest).s);
	text = pt_st_meta(st, "limited");
	r->limited |= text && !strcmp(text, "1");
	if (pt_prov_add_record(&r->ended, st, err))
		return err->status;
	text = pt_st_meta(st, "id");
	if (text) {
		if (!pt_unhex64(text, &id))
			return pt_error(err, PT_DATA, "the END's id is not 16 hexadecimal digits");
		if (pt_grow(&r->end_id, &r->cap_end, r->nend + 1, sizeof *r->end_id, err))
			return err->status;
		r->end_id[r->nend++] = id;
	}
	pt_prov_release(&r->begun);
	r->joined = r->segments > 1 ? pt_digest_join(r->joined, digest) : digest;
	r->state = PT_BETWEEN;
	return 0;
}

static char *copy_meta(const struct pt_st *st, const char *key, struct pt_error *err)
{
	const char *v = pt_st_meta(st, key);

	return v ? pt_strdup(v, err) : NULL;
}

static int on_fail(struct pt_reader *r, struct pt_error *err)
{
	const struct pt_st *st = &r->rec.st;
	struct pt_error ignored = PT_ERROR_INIT;

	r->fail_read = true;
	r->fail_tool = copy_meta(st, "tool", &ignored);
	r->fail_version = copy_meta(st, "version", &ignored);
	r->fail_message = copy_meta(st, "message", &ignored);
	r->fail_signal = copy_meta(st, "signal", &ignored);
	r->fail_status = atoi(meta_or(st, "status", "1"));
	return pt_error(err, PT_DATA, "upstream %.60s failed: %s", r->fail_tool ? r->fail_tool : "(unknown)",
			r->fail_message ? r->fail_message : "no reason given");
}

/* The next record of the current input or of those after it; *got false at the complete end. */
static int advance(struct pt_reader *r, bool *got, struct pt_error *err)
{
	bool eof;

	*got = false;
	for (;;) {
		if (!r->mem && !r->opened) {
			r->opened = true;
			if (pt_reader_open_input(r, err))
				return err->status;
		}
		if (r->bare && !r->bare_done) {
			r->bare_done = *got = true;
			return 0;
		}
		eof = r->bare;
		if (!eof && pt_reader_record(r, &eof, err))
			return pt_error_prefix(err, "%s", pt_reader_name(r));
		if (!eof) {
			*got = true;
			return 0;
		}
		if (!r->bare && r->in_input == 0)
			return pt_error(err, PT_DATA, "%s: empty input: its producer died, or nothing was written",
					pt_reader_name(r));
		if (r->state == PT_IN)
			return pt_error(err, PT_DATA, "%s: cut short: no END after %llu records; its producer "
					"died, or the file is incomplete", pt_reader_name(r),
					(unsigned long long)r->in_input);
		if (r->mem || r->cur + 1 >= r->npaths)
			return 0;
		pt_reader_close_input(r);
		r->cur++;
		r->opened = r->bare_done = false;
	}
}

static int step(struct pt_reader *r, bool *got, struct pt_error *err)
{
	const char *pts;
	int status;

	status = advance(r, got, err);
	if (status || !*got || r->bare)
		return status;
	pts = meta_or(&r->rec.st, "pts", "");
	if (!strcmp(pts, "head")) {
		r->rec.type = PT_HEAD;
		status = on_head(r, err);
	} else if (!strcmp(pts, "data")) {
		r->rec.type = PT_RECORD;
		status = on_data(r, err);
	} else if (!strcmp(pts, "end")) {
		r->rec.type = PT_END;
		status = on_end(r, err);
	} else if (!strcmp(pts, "fail")) {
		r->rec.type = PT_FAILED;
		return on_fail(r, err);		/* says itself where it comes from */
	} else {
		status = pt_error(err, PT_DATA, "a record of the unknown sort '%.20s'", pts);
	}
	return status ? pt_error_prefix(err, "%s", pt_reader_name(r)) : 0;
}

int pt_reader_next(struct pt_reader *r, const struct pt_record **rec, struct pt_error *err)
{
	bool got = true;

	*rec = NULL;
	if (r->failed.status) {
		*err = r->failed;
		return err->status;
	}
	if (r->pending) {
		r->pending = false;
		*rec = &r->rec;
		return 0;
	}
	if (r->state == PT_DONE)
		return 0;
	if (step(r, &got, &r->failed)) {
		*err = r->failed;
		return err->status;
	}
	if (got)
		*rec = &r->rec;
	else
		r->state = PT_DONE;
	return 0;
}

int pt_reader_data(struct pt_reader *r, const struct pt_record **rec, struct pt_error *err)
{
	int status;

	do {
		status = pt_reader_next(r, rec, err);
	} while (!status && *rec && (*rec)->type != PT_RECORD);
	return status;
}

int pt_reader_head(struct pt_reader *r, const struct pt_record **head, struct pt_error *err)
{
	const struct pt_record *first;
	int status = 0;

	*head = NULL;
	if (!r->segments && !r->pending && r->ordinal == 0) {
		status = pt_reader_next(r, &first, err);
		r->pending = !status && first;
	}
	if (!status && r->segments)
		*head = &r->head;
	return status;
}

bool pt_reader_ended(const struct pt_reader *r)
{
	return r->state == PT_DONE;
}

bool pt_reader_limited(const struct pt_reader *r)
{
	return r->limited;
}

bool pt_reader_failed(const struct pt_reader *r)
{
	return r->fail_read;
}

const char *pt_reader_fail_signal(const struct pt_reader *r)
{
	return r->fail_signal;
}

uint64_t pt_reader_digest(const struct pt_reader *r)
{
	uint64_t now = r->segments ? pt_digest_value(&r->digest) : 0;

	if (r->state == PT_BETWEEN || r->state == PT_DONE)
		return r->joined;
	return r->segments > 1 ? pt_digest_join(r->joined, now) : now;
}

int pt_reader_prov(const struct pt_reader *r, struct pt_prov *into, uint64_t **ids, size_t *n,
		   struct pt_error *err)
{
	*n = 0;
	*ids = pt_malloc(r->nend + 1, sizeof **ids, err);
	if (!*ids)
		return err->status;
	if (r->nend)
		memcpy(*ids, r->end_id, r->nend * sizeof **ids);
	*n = r->nend;
	if (r->begun.n && r->begun_id)
		(*ids)[(*n)++] = r->begun_id;
	if (pt_prov_union(into, &r->ended, err) || pt_prov_union(into, &r->begun, err)) {
		free(*ids);
		*ids = NULL;
		return err->status;
	}
	return 0;
}

static int reader_new(struct pt_reader **out, const char *kind, int flags, struct pt_error *err)
{
	struct pt_reader *r = pt_calloc(1, sizeof *r, err);

	*out = r;
	if (!r)
		return err->status;
	r->fd = -1;
	r->flags = flags;
	if (kind) {
		r->want_kind = pt_strdup(kind, err);
		if (!r->want_kind)
			return err->status;
	}
	return 0;
}

int pt_reader_open(struct pt_reader **out, const char *const *paths, int npaths, const char *kind,
		   int flags, struct pt_error *err)
{
	static const char *const standard[] = { "-" };
	struct pt_reader *r;

	if (reader_new(&r, kind, flags, err))
		goto failed;
	if (npaths <= 0) {
		paths = standard;
		npaths = 1;
	}
	r->path = pt_calloc((size_t)npaths, sizeof *r->path, err);
	if (!r->path)
		goto failed;
	for (; r->npaths < npaths; r->npaths++) {
		const char *p = paths[r->npaths];

		/* Say now what would only be found after an hour of reading those before it. */
		if (strcmp(p, "-") && access(p, R_OK)) {
			pt_error_errno(err, "%s", p);
			goto failed;
		}
		r->path[r->npaths] = pt_strdup(p, err);
		if (!r->path[r->npaths])
			goto failed;
	}
	r->opened = true;
	if (pt_reader_open_input(r, err))
		goto failed;
	*out = r;
	return 0;
failed:
	pt_reader_close(r);
	*out = NULL;
	return err->status;
}

int pt_reader_open_memory(struct pt_reader **out, const void *data, size_t size, const char *kind,
			  int flags, struct pt_error *err)
{
	struct pt_reader *r;

	if (reader_new(&r, kind, flags, err)) {
		pt_reader_close(r);
		*out = NULL;
		return err->status;
	}
	r->mem = size ? data : "";
	r->mem_size = size;
	*out = r;
	return 0;
}

void pt_reader_close(struct pt_reader *r)
{
	if (!r)
		return;
	pt_reader_close_input(r);
	for (int i = 0; i < r->npaths; i++)
		free(r->path[i]);
	free(r->path);
	free(r->want_kind);
	pt_st_release(&r->rec.st);
	pt_st_release(&r->head.st);
	free(r->head_bytes);
	free(r->head_name);
	free(r->data);
	pt_zst_reader_free(r->zst);
	free(r->fail_tool);
	free(r->fail_version);
	free(r->fail_message);
	free(r->fail_signal);
	pt_prov_release(&r->ended);
	pt_prov_release(&r->begun);
	free(r->end_id);
	free(r);
}
