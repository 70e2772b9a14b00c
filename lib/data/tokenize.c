/* SPDX-License-Identifier: MIT */
/*
 * tokenize.c - see tokenize.h. A block of lines is cut into tasks of a few
 * lines; each task gathers its examples by itself, and they are joined in the
 * order of the lines. So neither blocks nor threads show in the output.
 */
#include "data/tokenize.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { TASK_LINES = 16 };

/* The examples of some lines. */
struct task {
	struct pt_gather g;
	int64_t bad;
	struct pt_error first_bad;	/* skip_bad */
	struct pt_error err;		/* what ended the task */
};

struct run {
	const struct pt_tokenize_options *o;
	struct pt_maker_options maker;	/* with what the first line decided */
	struct pt_classes found;
	struct pt_writer *out;
	struct pt_tokenize_counts *counts;
	struct pt_maker *makers;	/* one a thread */
	int nmakers;
	struct task *task;
	size_t ntasks;
	struct pt_gather record;
	bool done;			/* limit */
};

static bool skipped(const struct run *r, const struct pt_error *e)
{
	return r->o->skip_bad && e->status == PT_DATA;
}

/* The first line that makes sense, of this block. */
static int find_first(struct run *r, struct pt_maker *m, const struct pt_block *b, struct pt_sample *s,
		      bool *found, struct pt_error *err)
{
	*found = false;
	for (size_t i = 0; i < b->n; i++) {
		struct pt_error e = PT_ERROR_INIT;

		*found = !pt_maker_parse(m, &b->line[i], s, &e);
		if (*found)
			break;
		if (!skipped(r, &e)) {
			*err = e;
			return err->status;
		}
		if (!r->counts->first_bad.status)
			r->counts->first_bad = e;
	}
	return 0;
}

static int add_labels(struct run *r, const struct pt_sample *s, struct pt_buf *scratch, struct pt_error *err)
{
	const cJSON *label = r->maker.task.task == PT_TASK_TOKEN_CLS ? s->tags : s->label;
	bool list = cJSON_IsArray(label);

	for (const cJSON *v = list ? label->child : label; v; v = list ? v->next : NULL) {
		const char *name = pt_classes_name(v, scratch);

		if (name && pt_classes_add(&r->found, name, err))
			return err->status;
	}
	return 0;
}

/* A first pass over the files, for the names of the classes. */
static int collect_labels(struct run *r, struct pt_maker *m, const char *const *paths, int npaths,
			  struct pt_error *err)
{
	struct pt_buf scratch = PT_BUF_INIT;
	struct pt_source src;
	struct pt_block b;

	if (!pt_source_regular(paths, npaths))
		return pt_error(err, PT_USAGE, "the labels are not known, and a pipe cannot be read twice: give --labels "
				"A,B,... or -a ADAPTER, or name the files");
	if (pt_source_open(&src, paths, npaths, &r->o->source, err))
		goto out;
	while (!err->status && !pt_source_block(&src, &b, err) && b.n)
		for (size_t i = 0; i < b.n && !err->status; i++) {
			struct pt_error e = PT_ERROR_INIT;
			struct pt_sample s;

			if (!pt_maker_parse(m, &b.line[i], &s, &e)) {
				if (add_labels(r, &s, &scratch, &e))
					pt_error_prefix(&e, "%s", m->what.data);
				pt_sample_release(&s);
			}
			if (e.status && !skipped(r, &e))
				*err = e;
		}
	if (!err->status && !r->found.n)
		pt_error(err, PT_DATA, "no labels");
	if (!err->status && !pt_classes_sort(&r->found, err))
		r->maker.labels = &r->found;
out:
	pt_source_close(&src);
	pt_buf_release(&scratch);
	return err->status;
}

static void source_options(const struct pt_source_options *o, struct pt_buf *b)
{
	static const char *const formats[] = {
		[PT_SOURCE_JSONL] = " --format jsonl", [PT_SOURCE_TEXT] = " --format text",
		[PT_SOURCE_TSV] = " --format tsv", [PT_SOURCE_CSV] = " --format csv", [PT_SOURCE_WHOLE] = " --whole",
	};

	if (o->format != PT_SOURCE_AUTO)
		pt_buf_str(b, formats[o->format]);
	if (o->columns)
		pt_buf_printf(b, " --columns %s", o->columns);
	for (int i = 0; i < o->path.n; i++)
		pt_buf_printf(b, " --path %s", o->path.p[i].text);
}

/* The options that change the result, as they were resolved. */
static void canonical_options(const struct run *r, struct pt_buf *b)
{
	const struct pt_maker_options *m = &r->maker;

	pt_buf_printf(b, "--task %s", pt_maker_task_name(&m->task));
	if (m->chunk)
		pt_buf_printf(b, " --chunk %lld --stride %lld", (long long)m->chunk, (long long)m->stride);
	else
		pt_buf_printf(b, " --max-length %lld", (long long)m->max_length);
	if (m->task.task == PT_TASK_QA)
		pt_buf_printf(b, " --stride %lld", (long long)m->stride);
	if (m->task.task == PT_TASK_SEQ2SEQ_LM)
		pt_buf_printf(b, " --max-target %lld", (long long)m->max_target);
	if ((m->task.task == PT_TASK_CAUSAL_LM || m->task.task == PT_TASK_SEQ2SEQ_LM) && r->o->maker.eos < 0)
		pt_buf_str(b, " --no-eos");
	if (m->replace)
		pt_buf_str(b, " --replace");
	if (m->split_special)
		pt_buf_str(b, " --split-special");
	source_options(&r->o->source, b);
	if (r->o->skip_bad)
		pt_buf_str(b, " --skip-bad");
	if (r->o->limit)
		pt_buf_printf(b, " -n %lld", (long long)r->o->limit);
}

/* What a mask is, and what is never masked: peft-batch has no tokenizer. */
static void put_masks(struct pt_st_build *head, const struct pt_tokenizer *tok, struct pt_error *err)
{
	int32_t mask = pt_tokenizer_named(tok, PT_TOKEN_MASK), top = pt_tokenizer_max_id(tok);
	struct pt_buf list = PT_BUF_INIT;

	if (mask < 0) {
		pt_error(err, PT_USAGE, "this tokenizer has no mask token: --task mlm is not for its model");
		return;
	}
	for (int32_t id = 0; id <= top; id++) {
		bool special = pt_tokenizer_is_special(tok, id);

		for (int k = 0; k < PT_TOKEN_NAMES && !special; k++)
			special = pt_tokenizer_named(tok, (enum pt_token_name)k) == id;
		if (special)
			pt_buf_printf(&list, "%s%d", list.len ? "," : "[", (int)id);
	}
	pt_buf_char(&list, ']');
	pt_st_build_meta_int(head, "mask_id", mask);
	if (!pt_buf_check(&list, err))
		pt_st_build_meta(head, "special_ids", list.data);
	pt_buf_release(&list);
}

static int write_head(struct run *r, struct pt_error *err)
{
	const struct pt_maker_options *m = &r->maker;
	struct pt_buf options = PT_BUF_INIT, labels = PT_BUF_INIT;
	struct pt_st_build head;

	pt_st_build_init(&head);
	canonical_options(r, &options);
	if (pt_maker_task_classes(&m->task) && m->labels)
		pt_classes_json(m->labels, &labels);
	if (!pt_buf_check(&options, err) && !pt_buf_check(&labels, err)) {
		pt_st_build_meta(&head, "tokenizer", pt_hex64(pt_tokenizer_digest(m->tok)).s);
		pt_st_build_meta_int(&head, "vocab_size", (int64_t)pt_tokenizer_max_id(m->tok) + 1);
		pt_st_build_meta(&head, "task", pt_maker_task_name(&m->task));
		if (labels.len)
			pt_st_build_meta(&head, "labels", labels.data);
		pt_st_build_meta_int(&head, "max_len", m->chunk ? m->chunk : m->max_length);
		if (m->decoder)
			pt_st_build_meta_int(&head, "max_decoder_len", m->max_target);
		if (m->task.task == PT_TASK_MASKED_LM && !m->ids_labels)
			put_masks(&head, m->tok, err);
		if (!err->status)
			pt_writer_head(r->out, &head, NULL, 0, options.data, err);
	}
	pt_st_build_release(&head);
	pt_buf_release(&options);
	pt_buf_release(&labels);
	return err->status;
}

static int make_threads(struct run *r, struct pt_error *err)
{
	r->makers = pt_calloc((size_t)r->o->threads, sizeof *r->makers, err);
	if (!r->makers)
		return err->status;
	for (; r->nmakers < r->o->threads; r->nmakers++)
		if (pt_maker_init(&r->makers[r->nmakers], &r->maker, err)) {
			r->nmakers++;
			return err->status;
		}
	pt_gather_init(&r->record, r->maker.have, r->maker.k);
	return 0;
}

/* Up to the HEAD: s is the first line that makes sense, NULL where there is none. */
static int start(struct run *r, struct pt_maker *m, const struct pt_sample *s, const char *const *paths, int npaths,
		 struct pt_error *err)
{
	bool named;

	if (pt_maker_choose(&r->maker, s, err))
		return err->status;
	named = r->maker.task.task == PT_TASK_TOKEN_CLS ? s->tags : s->label;
	if (pt_maker_task_classes(&r->maker.task) && named && !r->maker.labels && collect_labels(r, m, paths, npaths, err))
		return err->status;
	if (pt_maker_schema(&r->maker, s, err) || make_threads(r, err))
		return err->status;
	return write_head(r, err);
}

static void run_task(struct run *r, struct pt_maker *m, const struct pt_block *b, size_t k)
{
	struct task *t = &r->task[k];
	size_t end = (k + 1) * TASK_LINES < b->n ? (k + 1) * TASK_LINES : b->n;

	pt_gather_clear(&t->g);
	t->bad = 0;
	t->err = t->first_bad = (struct pt_error)PT_ERROR_INIT;
	for (size_t i = k * TASK_LINES; i < end; i++) {
		struct pt_error e = PT_ERROR_INIT;

		if (!pt_maker_line(m, &b->line[i], &t->g, &e))
			continue;
		if (!skipped(r, &e)) {
			t->err = e;
			return;
		}
		if (!t->bad++)
			t->first_bad = e;
	}
}

static int write_record(struct run *r, struct pt_error *err)
{
	struct pt_st_build b;
	struct pt_examples x;
	int status;

	if (!r->record.n)
		return 0;
	if (pt_gather_view(&r->record, &x, err))
		return err->status;
	pt_st_build_init(&b);
	pt_examples_build(&x, PT_KIND_EXAMPLES, &b);
	status = pt_writer_data(r->out, &b, err);
	pt_st_build_release(&b);
	pt_gather_clear(&r->record);
	return status;
}

/* Is example i of the set that the one before is of? */
static bool goes_on(const struct run *r, const struct pt_examples *x, int64_t i)
{
	return r->maker.sets && i < x->n && x->group[i] > 0;
}

/* The task's examples behind those before it. */
static int join_task(struct run *r, const struct task *t, struct pt_error *err)
{
	struct pt_examples x;

	if (pt_gather_view(&t->g, &x, err))
		return err->status;
	for (int64_t i = 0; i < x.n && !r->done; i++) {
		pt_gather_add(&r->record, &x, i);
		if (r->maker.sets)
			pt_gather_regroup(&r->record, r->counts->examples);
		pt_gather_renumber(&r->record, r->counts->examples++);
		r->counts->tokens += x.offsets[i + 1] - x.offsets[i];
		r->done = r->o->limit && r->counts->examples >= r->o->limit && !goes_on(r, &x, i + 1);
		if (r->record.bytes >= r->o->record && write_record(r, err))
			return err->status;
	}
	if (r->done)
		return 0;
	if (t->bad && !r->counts->first_bad.status)
		r->counts->first_bad = t->first_bad;
	r->counts->bad += t->bad;
	if (t->err.status)
		*err = t->err;
	return err->status;
}

static int run_block(struct run *r, const struct pt_block *b, struct pt_error *err)
{
	size_t n = (b->n + TASK_LINES - 1) / TASK_LINES, old = r->ntasks;

	if (n > old) {
		struct task *t = pt_realloc(r->task, n, sizeof *t, err);

		if (!t)
			return err->status;
		r->task = t;
		for (; r->ntasks < n; r->ntasks++)
			pt_gather_init(&r->task[r->ntasks].g, r->maker.have, r->maker.k);
	}
	#pragma omp parallel for schedule(dynamic, 1) num_threads(r->nmakers)
	for (size_t k = 0; k < n; k++)
		run_task(r, &r->makers[omp_get_thread_num()], b, k);
	for (size_t k = 0; k < n && !r->done; k++)
		if (join_task(r, &r->task[k], err))
			return err->status;
	/* Somebody types and waits. */
	return b->live ? write_record(r, err) : 0;
}

static int finish(struct run *r, const struct pt_source *src, struct pt_error *err)
{
	struct pt_tokenize_counts *c = r->counts;
	struct pt_st_build end;

	if (write_record(r, err))
		return err->status;
	for (int i = 0; i < r->nmakers; i++) {
		c->maker.cut += r->makers[i].counts.cut;
		c->maker.dropped += r->makers[i].counts.dropped;
		c->maker.replaced += r->makers[i].counts.replaced;
	}
	pt_st_build_init(&end);
	/* A block may have gone beyond the limit: then the counts tell of nothing. */
	if (!r->done) {
		pt_st_build_meta_int(&end, "cut", c->maker.cut);
		pt_st_build_meta_int(&end, "dropped", c->maker.dropped);
		pt_st_build_meta_int(&end, "bad_lines", c->bad);
		pt_st_build_meta_int(&end, "replaced", c->maker.replaced);
	}
	for (int i = 0; i < src->cur && !err->status; i++)
		pt_writer_source(r->out, "file", src->digest[i], err);
	if (!err->status)
		pt_writer_end(r->out, &end, NULL, 0, r->done, err);
	pt_st_build_release(&end);
	return err->status;
}

static void release(struct run *r)
{
	for (int i = 0; i < r->nmakers; i++)
		pt_maker_release(&r->makers[i]);
	free(r->makers);
	for (size_t i = 0; i < r->ntasks; i++)
		pt_gather_release(&r->task[i].g);
	free(r->task);
	pt_gather_release(&r->record);
	pt_classes_release(&r->found);
}

int pt_tokenize_run(const struct pt_tokenize_options *o, const char *const *paths, int npaths,
		    struct pt_writer *out, struct pt_tokenize_counts *counts, struct pt_error *err)
{
	struct run r = { .o = o, .maker = o->maker, .out = out, .counts = counts };
	struct pt_sample first = { 0 };
	struct pt_maker one = { 0 };
	struct pt_source src;
	struct pt_block b;
	bool found = false;

	memset(counts, 0, sizeof *counts);
	pt_classes_init(&r.found);
	if (pt_source_open(&src, paths, npaths, &o->source, err) || pt_maker_init(&one, &r.maker, err))
		goto out;
	while (!r.done) {
		if (pt_source_block(&src, &b, err) || !b.n)
			break;
		if (!found) {
			if (find_first(&r, &one, &b, &first, &found, err))
				goto out;
			if (found && start(&r, &one, &first, paths, npaths, err))
				goto out;
		}
		if (!found)
			counts->bad += (int64_t)b.n;
		else if (run_block(&r, &b, err))
			break;
	}
	if (!err->status && !found)
		pt_source_none(paths, npaths, counts->bad ? "no examples: the input is empty but for bad lines" :
			       "no examples: the input is empty", err);
	if (!err->status)
		finish(&r, &src, err);
out:
	pt_sample_release(&first);
	pt_maker_release(&one);
	pt_source_close(&src);
	release(&r);
	return err->status;
}
