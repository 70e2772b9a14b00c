/* SPDX-License-Identifier: MIT */
/*
 * ends.c - the start of a run (what it may use, what it takes up), its
 * evaluations, and what it leaves behind; see loop.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/modeldir.h"
#include "peft/layout.h"
#include "train/checkpoint_priv.h"
#include "train/loop_priv.h"

#define PT_FINISHED "finished"		/* in checkpoints/: the step at which the run ended */

int pt_loop_total(const struct pt_record *head, int64_t *total, struct pt_error *err)
{
	if (pt_meta_int(pt_st_meta(&head->st, "total_steps"), "total_steps", 0, 0, total, err))
		return pt_error_prefix(err, "HEAD");
	return 0;
}

int pt_loop_some(const struct pt_record *head, const char *name, struct pt_error *err)
{
	int64_t total;

	if (pt_loop_total(head, &total, err))
		return err->status;
	if (!total && pt_st_meta(&head->st, "total_steps"))
		return pt_error(err, PT_DATA, "%s: a stream without a single example: look at what peft-batch read, and at its --split",
				name);
	return 0;
}

int pt_loop_bounds(const struct pt_record *head, struct pt_bounds *b, struct pt_error *err)
{
	if (pt_bounds_read(b, &head->st, err))
		return err->status;
	if (b->tokens < 1 || b->seqs < 1 || b->len < 1)
		*b = (struct pt_bounds){ 0 };
	pt_bounds_raise(b, &(struct pt_bounds){ 0 });
	return 0;
}

static int check_absent(const char *out, const char *name, struct pt_error *err)
{
	char *path = pt_path_join(out, name, err);
	bool there = path && pt_is_file(path);

	free(path);
	if (there)
		return pt_error(err, PT_USAGE, "%s holds %s, which no run has left there: give another -o, or remove it", out, name);
	return err->status;
}

/* An adapter or a model that no run has left there is not written over. */
static int check_foreign(const char *out, struct pt_error *err)
{
	static const char *const name[] = { PT_ADAPTER_CONFIG, PT_MODEL_CONFIG, PT_MODEL_WEIGHTS, PT_MODEL_INDEX };
	char *runs = pt_path_join(out, PT_CHECKPOINTS, err);
	bool run = runs && pt_is_dir(runs);
	const struct pt_layout *l;
	int st = runs ? 0 : err->status;

	free(runs);
	for (size_t i = 0; !run && i < sizeof name / sizeof name[0] && !st; i++)
		st = check_absent(out, name[i], err);
	for (int i = 0; !run && (l = pt_layout_at(i)) && !st; i++)
		st = check_absent(out, l->weights, err);
	return st;
}

int pt_loop_lock(const char *out, int *fd, bool *made, struct pt_error *err)
{
	char *dir;
	int status = check_foreign(out, err);

	*fd = -1;
	*made = !status && !pt_is_dir(out);
	if (!status)
		status = pt_dir_make(out, err);
	if (status)
		return status;
	dir = pt_path_join(out, PT_CHECKPOINTS, err);
	status = dir ? pt_dir_make(dir, err) : err->status;
	/* A checkpoint that is safe stands in directories that are. */
	if (!status)
		status = pt_dir_sync_parent(out, err);
	if (!status)
		status = pt_dir_sync(out, err);
	if (!status)
		status = pt_lock_open(fd, dir, ".lock", err);
	free(dir);
	return status;
}

void pt_loop_unmake(const char *out)
{
	struct pt_error err = PT_ERROR_INIT;
	char *dir = pt_path_join(out, PT_CHECKPOINTS, &err), *lock = dir ? pt_path_join(dir, ".lock", &err) : NULL;

	if (lock) {
		unlink(lock);
		rmdir(dir);
		rmdir(out);
	}
	free(lock);
	free(dir);
}

/* Whether one of the words of list, "key=value key=value ...", has the key of word. */
static bool has_key(const char *list, const char *word)
{
	size_t n = strcspn(word, "= ");

	for (; *list; list += strcspn(list, " "), list += *list == ' ')
		if (strcspn(list, "= ") == n && !memcmp(list, word, n))
			return true;
	return false;
}

/* Words of a, one after the other, against those of b: the first that differ. */
static int compare_options(const char *out, const char *was, const char *is, struct pt_error *err)
{
	while (*was || *is) {
		size_t n = strcspn(was, " "), k = strcspn(is, " ");

		if (*is && !has_key(was, is))
			return pt_error(err, PT_USAGE, "the run in %s was begun without %.*s: give the same options, or another -o",
					out, (int)k, is);
		if (*was && !has_key(is, was))
			return pt_error(err, PT_USAGE, "the run in %s was begun with %.*s: give the same options, or another -o",
					out, (int)n, was);
		if (n != k || memcmp(was, is, n))
			return pt_error(err, PT_USAGE, "the run in %s was begun with %.*s, not %.*s: give the same options, or another -o",
					out, (int)n, was, (int)k, is);
		was += n + (was[n] == ' ');
		is += k + (is[k] == ' ');
	}
	return 0;
}

static int compare_below(const struct pt_loop *l, const struct pt_checkpoint *c, struct pt_error *err)
{
	static const char cure[] = "give the same -a one after the other, or another -o";

	if (c->nbelow != l->id.nbelow)
		return pt_error(err, PT_USAGE, "the run in %s was begun on a stack of %d adapters, not %d: %s", l->o.out, c->nbelow + 1,
				l->id.nbelow + 1, cure);
	for (int i = 0; i < c->nbelow; i++) {
		if (c->below[i].digest != l->id.below[i].digest)
			return pt_error(err, PT_USAGE, "the run in %s was begun on another adapter than %s is now, which was then %s: %s",
					l->o.out, l->id.below[i].dir, c->below[i].dir, cure);
	}
	return 0;
}

static int compare(struct pt_loop *l, const struct pt_checkpoint *c, struct pt_error *err)
{
	const char *out = l->o.out;
	int status = compare_options(out, c->options, l->id.options, err);

	if (status)
		return status;
	if (c->base != l->id.base)
		return pt_error(err, PT_USAGE, "the run in %s was begun with another base: give the same -m, or another -o", out);
	if (c->adapter != l->id.adapter)
		return pt_error(err, PT_USAGE, "the run in %s was begun from another adapter: give the same -a, or another -o", out);
	if (compare_below(l, c, err))
		return err->status;
	if (c->head != l->id.head)
		return pt_error(err, PT_USAGE, "the run in %s was begun with other data: give the same input, or another -o", out);
	if (strcmp(c->path, l->id.path))
		pt_log(PT_WARN, "the run in %s was computed by %s, goes on by %s: the last digits may differ", out,
		       c->path, l->id.path);
	return 0;
}

/* Step at which an earlier start ended the run; 0: none did. */
static int64_t read_finished(const char *out)
{
	char *path = pt_format(&(struct pt_error)PT_ERROR_INIT, "%s/" PT_CHECKPOINTS "/" PT_FINISHED, out);
	struct pt_buf text = PT_BUF_INIT;
	struct pt_error ignored = PT_ERROR_INIT;
	int64_t step = 0;

	if (path && pt_is_file(path) && !pt_file_read(path, 100, &text, &ignored))
		step = strtoll(text.data, NULL, 10);
	pt_buf_release(&text);
	free(path);
	return step;
}

/* Load the newest checkpoint that can be, c->dir NULL where there is none; those passed over are set aside. */
static int load_newest(struct pt_loop *l, struct pt_checkpoint *c, struct pt_error *err)
{
	int64_t before = INT64_MAX;

	for (;;) {
		struct pt_error e = PT_ERROR_INIT;

		if (pt_checkpoint_find(c, l->o.out, before, err) || (c->dir && compare(l, c, err)))
			return err->status;
		if (!c->dir || !pt_checkpoint_load(c, l->s->adapter, &l->s->opt, &l->h, &e))
			return pt_checkpoint_set_aside(l->o.out, c->dir ? c->at.step : 0, err);
		if (e.status != PT_DATA) {
			*err = e;
			return err->status;
		}
		pt_log(PT_WARN, "checkpoint of step %lld passed over: %s", (long long)c->at.step, e.msg);
		before = c->at.step;
		pt_checkpoint_release(c);
	}
}

static int take_up(struct pt_loop *l, struct pt_error *err)
{
	struct pt_checkpoint c = { 0 };
	int status = pt_checkpoint_clean(l->o.out, err);

	if (!status)
		status = load_newest(l, &c, err);
	if (!status && c.dir) {
		l->at = c.at;
		l->saved = l->resumed = c.at.step;
		l->id.bf16 = l->s->bf16 = c.bf16;
		l->priv->finished = read_finished(l->o.out) == c.at.step;
	}
	pt_checkpoint_release(&c);
	return status;
}

static int same_meta(const struct pt_record *a, const struct pt_record *b, const char *key, const char *path,
		     struct pt_error *err)
{
	const char *x = pt_st_meta(&a->st, key), *y = pt_st_meta(&b->st, key);

	if (strcmp(x ? x : "", y ? y : ""))
		return pt_error(err, PT_USAGE, "%s has another %s than the training stream", path, key);
	return 0;
}

static int open_eval(const char *path, struct pt_reader **r, const struct pt_record **head, struct pt_error *err)
{
	const char *const paths[] = { path };
	int status = pt_reader_open(r, paths, 1, "batch", 0, err);

	if (!status)
		status = pt_reader_head(*r, head, err);
	return status;
}

int pt_loop_eval_bounds(const struct pt_record *train, const char *path, struct pt_bounds *b, struct pt_error *err)
{
	const struct pt_record *head;
	struct pt_reader *r = NULL;
	int status;

	if ((!strcmp(path, "-") || !access(path, F_OK)) && !pt_is_file(path))
		return pt_error(err, PT_USAGE, "%s: the batches to evaluate on are read again and again: give a regular file", path);
	status = open_eval(path, &r, &head, err);
	if (!status && !((status = same_meta(train, head, "tokenizer", path, err)) ||
			 (status = same_meta(train, head, "task", path, err)) ||
			 (status = same_meta(train, head, "labels", path, err))))
		status = pt_loop_some(head, path, err) ? err->status : pt_loop_bounds(head, b, err);
	if (!status && !b->tokens)
		status = pt_error(err, PT_DATA, "%s: its HEAD has no bounds", path);
	pt_reader_close(r);
	return status;
}

static int fit(struct pt_loop *l, const struct pt_bounds *eval, struct pt_error *err)
{
	struct pt_bounds *b = &l->priv->bounds;
	const struct pt_bounds one = { 1, 1, 1, 1, 1 };
	int status;

	if (pt_loop_bounds(l->head, b, err))
		return err->status;
	/* Without bounds the first micro-batch tells. */
	status = pt_step_fit(l->s, b->tokens ? b : &one, eval, l->o.limit, err);
	if (status != PT_USAGE || !l->o.loose_bounds)
		return status;
	pt_log(PT_WARN, "%s; the stream may never hold such a micro-batch: going on", err->msg);
	*err = (struct pt_error)PT_ERROR_INIT;
	return pt_step_fit(l->s, &one, eval, l->o.limit, err);
}

/* The adapters of the run: their identities, and what is known of their past. */
static int find_adapters(struct pt_loop *l, struct pt_adapter *top, struct pt_error *err)
{
	struct pt_below *list = pt_calloc((size_t)top->level, sizeof *list, err);

	l->id.below = l->priv->below = list;
	l->priv->nbelow = list ? top->level : 0;
	if (!list || pt_adapter_digest(top, &l->id.adapter, err))
		return err->status;
	for (struct pt_adapter *a = top->below; a; a = a->below) {
		list[a->level].dir = pt_strdup(a->dir, err);
		if (!list[a->level].dir || pt_adapter_digest(a, &list[a->level].digest, err))
			return err->status;
	}
	l->id.nbelow = l->priv->nbelow;
	for (const struct pt_adapter *a = top; a; a = a->below)
		if (pt_prov_union(&l->priv->prov, &a->prov, err))
			return err->status;
	l->priv->prov_id = top->prov_id;
	return 0;
}

int pt_loop_open(struct pt_loop *l, const struct pt_loop_options *o, struct pt_step *s, struct pt_reader *r,
		 struct pt_error *err)
{
	struct pt_bounds eval = { 0 };

	memset(l, 0, sizeof *l);
	l->o = *o;
	l->s = s;
	l->r = r;
	l->priv = pt_calloc(1, sizeof *l->priv, err);
	if (!l->priv || pt_reader_head(r, &l->head, err))
		return err->status;
	l->id = (struct pt_identity){ .options = o->options, .base = o->base, .bf16 = s->bf16,
				      .path = s->dev->path, .head = pt_reader_digest(r) };
	if (s->adapter && (pt_adapter_begin(s->adapter, o->schedule.total, err) || find_adapters(l, s->adapter, err)))
		return err->status;
	if (o->eval && pt_loop_eval_bounds(l->head, o->eval, &eval, err))
		return err->status;
	if (take_up(l, err) || fit(l, o->eval ? &eval : NULL, err))
		return err->status;
	if (o->eval) {
		l->priv->evaluates = true;
		return pt_evaluator_init(&l->priv->eval, &s->run, s->model, &s->feed.o, err);
	}
	return 0;
}

void pt_loop_close(struct pt_loop *l)
{
	if (l->priv) {
		pt_kept_release(&l->priv->kept);
		if (l->priv->evaluates)
			pt_evaluator_release(&l->priv->eval);
		pt_prov_release(&l->priv->prov);
		pt_below_free(l->priv->below, l->priv->nbelow);
	}
	free(l->priv);
	pt_history_release(&l->h);
	memset(l, 0, sizeof *l);
}

int pt_loop_evaluate(struct pt_loop *l, bool *best, struct pt_error *err)
{
	struct pt_evaluator *e = &l->priv->eval;
	const struct pt_record *head;
	struct pt_reader *r = NULL;
	uint64_t digest = 0;
	double loss;
	int status = open_eval(l->o.eval, &r, &head, err);

	pt_measure_clear(&e->measure);
	if (!status)
		status = pt_evaluator_stream(e, r, l->o.stop, l->o.arg, err);
	if (!status)
		digest = pt_reader_digest(r);
	pt_reader_close(r);
	if (status)
		return pt_error_prefix(err, "%s", l->o.eval);
	if (l->at.eval && l->at.eval != digest)
		return pt_error(err, PT_USAGE, "%s is not what this run was evaluated on before: give the same, or another -o",
				l->o.eval);
	l->at.eval = digest;
	if (!pt_measure_result(&e->measure, 0, &loss))
		return pt_error(err, PT_DATA, "%s holds no target: nothing to evaluate", l->o.eval);
	*best = isfinite(loss) && (!l->at.best_step || loss < l->at.best_loss);
	if (*best) {
		l->at.best_step = l->at.step;
		l->at.best_loss = loss;
		l->at.stale = 0;
	} else {
		l->at.stale++;
	}
	return pt_history_eval(&l->h, &e->measure, err);
}

int pt_loop_provenance(struct pt_loop *l, bool whole, struct pt_error *err)
{
	struct pt_prov_step step = { .tool = l->o.tool, .version = PT_VERSION, .kind = "adapter",
				     .options = l->o.options,
				     .limited = whole && (l->limited || pt_reader_limited(l->r)) };
	struct pt_prov prov = PT_PROV_INIT;
	struct pt_adapter *a = l->s->adapter;
	uint64_t *ids = NULL, *parents = NULL, id;
	char counts[64];
	size_t n = 0, below = 0;
	int status;

	if (!a)
		return 0;
	for (const struct pt_adapter *b = a->below; b; b = b->below)
		below += b->prov_id != 0;
	/* As many of the last parents are what stood below, the nearest first: pt_adapter_stands(). */
	if (below)
		snprintf(counts, sizeof counts, "{\"below\":%zu,\"steps\":%lld}", below, (long long)l->at.step);
	else
		snprintf(counts, sizeof counts, "{\"steps\":%lld}", (long long)l->at.step);
	step.counts = counts;
	status = pt_prov_union(&prov, &l->priv->prov, err);
	if (!status)
		status = pt_reader_prov(l->r, &prov, &ids, &n, err);
	if (!status) {
		parents = pt_malloc(n + 1 + (size_t)a->level, sizeof *parents, err);
		status = parents ? 0 : err->status;
	}
	if (!status) {
		memcpy(parents, ids, n * sizeof *parents);
		if (l->priv->prov_id)
			parents[n++] = l->priv->prov_id;
		for (const struct pt_adapter *b = a->below; b; b = b->below)
			if (b->prov_id)
				parents[n++] = b->prov_id;
		step.parent = parents;
		step.nparents = n;
		status = pt_prov_add(&prov, &step, &id, err);
	}
	if (!status) {
		pt_prov_release(&a->prov);
		a->prov = prov;
		a->prov_id = id;
	} else {
		pt_prov_release(&prov);
	}
	free(ids);
	free(parents);
	return status;
}

int pt_loop_publish(struct pt_loop *l, struct pt_error *err)
{
	int64_t step = l->at.best_step ? l->at.best_step : l->at.step;
	char *dir = pt_checkpoint_path(l->o.out, step, err), *mark = NULL;
	struct pt_buf prov = PT_BUF_INIT;
	char text[32];
	int status = dir ? pt_loop_provenance(l, true, err) : err->status;

	if (!status && l->s->adapter)
		status = pt_prov_json(&l->s->adapter->prov, l->s->adapter->prov_id, &prov, err);
	if (!status && l->s->adapter)
		status = pt_checkpoint_publish(dir, l->o.out, &prov, err);
	if (!status && !l->priv->finished) {
		mark = pt_format(err, "%s/" PT_CHECKPOINTS "/" PT_FINISHED, l->o.out);
		snprintf(text, sizeof text, "%lld\n", (long long)l->at.step);
		status = mark ? pt_file_write(mark, text, strlen(text), err) : err->status;
	}
	l->finished_before = l->priv->finished;
	pt_buf_release(&prov);
	free(dir);
	free(mark);
	return status;
}
