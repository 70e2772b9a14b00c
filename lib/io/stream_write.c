/* SPDX-License-Identifier: MIT */
/*
 * stream_write.c - the writer of streams. END is written by pt_writer_end()
 * alone, which asks for the END of all inputs; what ends otherwise ends in
 * FAIL or is cut, and both are refused by every reader.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/record.h"
#include "io/stream_priv.h"

enum writer_state { W_START, W_IN, W_ENDED, W_BROKEN };

enum { FAIL_WAIT_MS = 1000 };

struct pt_writer {
	struct pt_out out;
	bool open;
	enum writer_state state;	/* W_BROKEN: part of a record was written */
	char *tool, *kind, *options;
	struct pt_zst_writer *zst;
	struct pt_buf rec, packed;
	struct pt_digest digest;
	struct pt_kind_bounds bounds;
	uint32_t have;
	struct pt_prov sources;		/* pt_writer_source() */
};

int pt_writer_open(struct pt_writer **out, const struct pt_writer_options *o, struct pt_error *err)
{
	struct pt_writer *w = pt_calloc(1, sizeof *w, err);

	*out = NULL;
	if (!w)
		return err->status;
	w->tool = pt_strdup(o->tool, err);
	w->kind = w->tool ? pt_strdup(o->kind ? o->kind : "", err) : NULL;
	if (!w->kind || (o->zstd && pt_zst_writer_new(&w->zst, err)) ||
	    pt_out_open(&w->out, o->path ? o->path : "-", err)) {
		pt_writer_close(w);
		return err->status;
	}
	w->open = true;
	*out = w;
	return 0;
}

int pt_writer_kind(struct pt_writer *w, const char *kind, struct pt_error *err)
{
	char *copy = pt_strdup(kind, err);

	if (!copy)
		return err->status;
	free(w->kind);
	w->kind = copy;
	return 0;
}

/* The bytes of a record; what is written is a whole record or the writer is broken. */
static int emit(struct pt_writer *w, const void *data, size_t n, struct pt_error *err)
{
	enum writer_state before = w->state;
	int status;

	if (w->zst) {
		status = pt_zst_compress(w->zst, data, n, &w->packed, err);
		if (status)
			return status;
		data = w->packed.data;
		n = w->packed.len;
	}
	w->state = W_BROKEN;
	status = pt_out_write(&w->out, data, n, err);
	if (status)
		return status;
	w->state = before;
	return 0;
}

/* What a record that is about to be written says is checked as a reader would. */
static int check_own(struct pt_writer *w, const struct pt_st *st, struct pt_error *err)
{
	if (pt_kind_check(w->digest.kind, st, &w->bounds, err) ||
	    pt_kind_same(w->digest.kind, st, &w->have, err))
		return pt_error_prefix(err, "record %llu of the output", (unsigned long long)w->digest.records + 1);
	return pt_digest_data(&w->digest, st, err);
}

static int add_parents(const struct pt_record *const *parents, int n, struct pt_prov *prov, uint64_t *ids,
		       size_t *nids, struct pt_error *err)
{
	*nids = 0;
	for (int i = 0; i < n; i++) {
		const char *id;

		if (!parents[i])
			continue;
		if (pt_prov_add_record(prov, &parents[i]->st, err))
			return err->status;
		id = pt_st_meta(&parents[i]->st, "id");
		if (id && pt_unhex64(id, &ids[*nids]))
			++*nids;
	}
	return 0;
}

int pt_writer_head(struct pt_writer *w, struct pt_st_build *b, const struct pt_record *const *parents,
		   int nparents, const char *options, struct pt_error *err)
{
	struct pt_prov_step step = { .tool = w->tool, .version = PT_VERSION, .kind = w->kind,
				     .options = options };
	struct pt_prov prov = PT_PROV_INIT;
	struct pt_st_build own;
	struct pt_st st = { 0 };
	uint64_t *ids, id;
	int status;

	pt_st_build_init(&own);
	if (!b)
		b = &own;
	ids = pt_malloc((size_t)nparents + 1, sizeof *ids, err);
	if (!ids || (w->state != W_START && pt_error(err, PT_FAIL, "a second HEAD"))) {
		status = err->status;
		goto out;
	}
	status = add_parents(parents, nparents, &prov, ids, &step.nparents, err);
	step.parent = ids;
	if (!status)
		status = pt_prov_add(&prov, &step, &id, err);
	if (status)
		goto out;
	pt_st_build_meta(b, "v", "1");
	pt_st_build_meta(b, "kind", w->kind);
	pt_st_build_meta(b, "kind_v", "1");
	pt_st_build_meta(b, "tool", w->tool);
	pt_st_build_meta(b, "version", PT_VERSION);
	if (!pt_st_build_get_meta(b, "options"))
		pt_st_build_meta(b, "options", options ? options : "");
	pt_st_build_meta(b, "id", pt_hex64(id).s);
	pt_prov_put(&prov, b);
	w->options = pt_strdup(options ? options : "", err);
	status = w->options ? pt_record_build(b, "head", &w->rec, err) : err->status;
	if (!status)
		status = pt_st_parse(&st, w->rec.data, w->rec.len, err);
	if (!status)
		status = pt_kind_bounds(&w->bounds, &st, err);
	if (status)
		goto out;
	pt_digest_head(&w->digest, &st);
	status = emit(w, w->rec.data, w->rec.len, err);
	if (!status)
		w->state = W_IN;
out:
	pt_st_release(&st);
	pt_st_build_release(&own);
	pt_prov_release(&prov);
	free(ids);
	return status;
}

static int no_head(struct pt_error *err)
{
	return pt_error(err, PT_FAIL, "a record outside of a segment");
}

int pt_writer_data(struct pt_writer *w, struct pt_st_build *b, struct pt_error *err)
{
	struct pt_st st = { 0 };
	int status;

	if (w->state != W_IN)
		return no_head(err);
	status = pt_record_build(b, "data", &w->rec, err);
	if (!status)
		status = pt_st_parse(&st, w->rec.data, w->rec.len, err);
	if (!status)
		status = check_own(w, &st, err);
	if (!status)
		status = emit(w, w->rec.data, w->rec.len, err);
	pt_st_release(&st);
	return status;
}

int pt_writer_copy(struct pt_writer *w, const struct pt_record *rec, struct pt_error *err)
{
	int status;

	if (w->state != W_IN || rec->type != PT_RECORD)
		return no_head(err);
	status = check_own(w, &rec->st, err);
	return status ? status : emit(w, rec->bytes, rec->size, err);
}

int pt_writer_source(struct pt_writer *w, const char *source, uint64_t digest, struct pt_error *err)
{
	struct pt_prov_step step = { .source = source, .digest = digest, .has_digest = true };
	uint64_t id;

	return pt_prov_add(&w->sources, &step, &id, err);
}

/* Provenance of the finished segment, into b. */
static int end_prov(struct pt_writer *w, struct pt_st_build *b, struct pt_reader *const *inputs, int ninputs,
		    bool limited, struct pt_error *err)
{
	struct pt_prov_step step = { .tool = w->tool, .version = PT_VERSION, .kind = w->kind,
				     .options = w->options, .has_digest = true, .limited = limited };
	struct pt_prov prov = PT_PROV_INIT;
	struct pt_buf counts = PT_BUF_INIT;
	uint64_t *ids = NULL, *more, id, v;
	size_t cap = 0, n;
	const char *name;
	int status = 0;

	for (int i = 0; i < ninputs && !status; i++) {
		status = pt_reader_prov(inputs[i], &prov, &more, &n, err);
		if (status)
			break;
		status = pt_grow(&ids, &cap, step.nparents + n + 1, sizeof *ids, err);
		if (!status)
			memcpy(ids + step.nparents, more, n * sizeof *ids);
		if (!status)
			step.nparents += n;
		free(more);
	}
	if (!status)
		status = pt_grow(&ids, &cap, step.nparents + w->sources.n + 1, sizeof *ids, err);
	if (!status)
		status = pt_prov_union(&prov, &w->sources, err);
	for (size_t i = 0; i < w->sources.n && !status; i++)
		ids[step.nparents++] = w->sources.node[i].id;
	step.parent = ids;
	/* The number of records says nothing of the content. */
	for (int i = 1; (name = pt_digest_count(&w->digest, i, &v)) != NULL; i++)
		pt_buf_printf(&counts, "%c\"%s\":%llu", i == 1 ? '{' : ',', name, (unsigned long long)v);
	if (counts.len)
		pt_buf_char(&counts, '}');
	if (!status)
		status = pt_buf_check(&counts, err);
	step.counts = counts.data;
	step.digest = pt_digest_value(&w->digest);
	if (!status)
		status = pt_prov_add(&prov, &step, &id, err);
	if (!status) {
		pt_st_build_meta(b, "id", pt_hex64(id).s);
		pt_prov_put(&prov, b);
	}
	free(ids);
	pt_buf_release(&counts);
	pt_prov_release(&prov);
	return status;
}

int pt_writer_end(struct pt_writer *w, struct pt_st_build *b, struct pt_reader *const *inputs,
		  int ninputs, bool limited, struct pt_error *err)
{
	struct pt_st_build own;
	const char *name;
	char text[32];
	uint64_t v;
	int status;

	if (w->state != W_IN)
		return no_head(err);
	for (int i = 0; i < ninputs; i++) {
		if (!limited && !pt_reader_ended(inputs[i]))
			return pt_error(err, PT_FAIL, "END asked for before that of %s was read",
					pt_reader_name(inputs[i]));
		limited |= pt_reader_limited(inputs[i]);
	}
	pt_st_build_init(&own);
	if (!b)
		b = &own;
	for (int i = 0; (name = pt_digest_count(&w->digest, i, &v)) != NULL; i++) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)v);
		pt_st_build_meta(b, name, text);
	}
	pt_st_build_meta(b, "digest", pt_hex64(pt_digest_value(&w->digest)).s);
	if (limited)
		pt_st_build_meta(b, "limited", "1");
	status = end_prov(w, b, inputs, ninputs, limited, err);
	if (!status)
		status = pt_record_build(b, "end", &w->rec, err);
	if (!status)
		status = emit(w, w->rec.data, w->rec.len, err);
	pt_st_build_release(&own);
	if (status)
		return status;
	w->state = W_ENDED;
	w->open = false;
	return pt_out_commit(&w->out, err);
}

/* The message, cut so that the record stays within PT_FAIL_MAX. */
static int build_fail(struct pt_writer *w, const char *tool, const char *version, const char *message,
		      int status, const char *signal, struct pt_error *err)
{
	size_t n = strlen(message);
	int failed;

	for (;;) {
		struct pt_st_build b;
		struct pt_buf cut = PT_BUF_INIT;
		char number[16];

		pt_st_build_init(&b);
		pt_buf_printable(&cut, message, n);	/* one line */
		pt_buf_char(&cut, '\0');
		snprintf(number, sizeof number, "%d", status);
		pt_st_build_meta(&b, "tool", tool);
		pt_st_build_meta(&b, "version", version);
		pt_st_build_meta(&b, "status", number);
		if (signal)
			pt_st_build_meta(&b, "signal", signal);
		failed = pt_buf_check(&cut, err);
		if (!failed) {
			pt_st_build_meta(&b, "message", cut.data);
			failed = pt_record_build(&b, "fail", &w->rec, err);
		}
		pt_buf_release(&cut);
		pt_st_build_release(&b);
		if (failed || w->rec.len <= PT_FAIL_MAX || !n)
			return failed;
		n = n * 3 / 4;
		/* Not inside of a UTF-8 sequence. */
		while (n && (message[n] & 0xc0) == 0x80)
			n--;
	}
}

void pt_writer_fail_from(struct pt_writer *w, struct pt_reader *const *inputs, int ninputs,
			 const struct pt_error *cause, const char *signal)
{
	const struct pt_reader *first = NULL;
	struct pt_error ignored = PT_ERROR_INIT;
	struct pollfd p;
	int failed;

	for (int i = 0; i < ninputs && !first; i++)
		if (inputs[i] && pt_reader_failed(inputs[i]))
			first = inputs[i];
	/* A file that is not published needs none; half a record cannot be followed by one. */
	if (!w->open || w->out.tmp || w->state == W_BROKEN || w->state == W_ENDED)
		return;
	if (first)
		failed = build_fail(w, first->fail_tool ? first->fail_tool : "", first->fail_version ?
				    first->fail_version : "", first->fail_message ? first->fail_message : "",
				    first->fail_status, first->fail_signal, &ignored);
	else
		failed = build_fail(w, w->tool, PT_VERSION, cause->msg, cause->status, signal, &ignored);
	/* A pipe that polls as writable takes PIPE_BUF bytes at once. With POLLERR nobody reads it: no SIGPIPE here. */
	p = (struct pollfd){ w->out.fd, POLLOUT, 0 };
	if (failed || poll(&p, 1, FAIL_WAIT_MS) <= 0 || !(p.revents & POLLOUT) || p.revents & POLLERR)
		return;
	w->state = W_BROKEN;
	if (w->zst && !pt_zst_compress(w->zst, w->rec.data, w->rec.len, &w->packed, &ignored))
		pt_write_full(w->out.fd, w->packed.data, w->packed.len);
	else
		pt_write_full(w->out.fd, w->rec.data, w->rec.len);
}

void pt_writer_fail(struct pt_writer *w, const struct pt_error *cause, const char *signal)
{
	pt_writer_fail_from(w, NULL, 0, cause, signal);
}

void pt_writer_close(struct pt_writer *w)
{
	if (!w)
		return;
	if (w->open)
		pt_out_abort(&w->out);
	free(w->tool);
	free(w->kind);
	free(w->options);
	pt_prov_release(&w->sources);
	pt_zst_writer_free(w->zst);
	pt_buf_release(&w->rec);
	pt_buf_release(&w->packed);
	free(w);
}

void pt_head_inherit(struct pt_st_build *b, const struct pt_record *head)
{
	static const char *const own[] = { "pts", "v", "kind", "kind_v", "tool", "version", "options", "id" };
	const struct pt_st *st;

	if (!head)
		return;
	st = &head->st;
	for (size_t i = 0; i < st->nmeta; i++) {
		bool mine = !strncmp(st->meta[i].key, "prov.", 5);

		for (size_t k = 0; k < sizeof own / sizeof *own && !mine; k++)
			mine = !strcmp(st->meta[i].key, own[k]);
		if (!mine)
			pt_st_build_meta(b, st->meta[i].key, st->meta[i].value);
	}
	for (size_t i = 0; i < st->ntensors; i++) {
		const struct pt_st_tensor *t = &st->tensor[i];

		pt_st_build_tensor(b, t->name, t->dtype, t->ndim, t->shape, t->data);
	}
}
