/* SPDX-License-Identifier: MIT */
/*
 * peft-cmp.c - compare the tensors of two streams, safetensors files or
 * directories: 0 equal, 1 different, 2 and more trouble.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/kinds.h"
#include "operand.h"
#include "tool.h"
#include "values.h"

static double atol_, rtol_;
static bool seconds;
static struct pt_tool tool;
static const struct pt_opt opts[] = {
	{ .name = "atol", .type = PT_OPT_FLOAT, .arg = "X", .value = &atol_, .max = 1e300,
	  .help = "values may differ by X (0)" },
	{ .name = "rtol", .type = PT_OPT_FLOAT, .arg = "X", .value = &rtol_, .max = 1e300,
	  .help = "and by X times the second value (0)" },
	{ .name = "seconds", .type = PT_OPT_FLAG, .value = &seconds,
	  .help = "compare the seconds of metrics too" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-cmp", "[options] A B",
	"Compares the tensors of two tensor streams, safetensors files, adapters or models.", opts
};

/* What was found of one tensor (of all records of a stream). */
struct finding {
	char *name;
	uint64_t values, differ;	/* of them outside of the tolerance, or of other bits */
	double max;			/* |a - b|, NaN where one is a number and the other is not */
	char where[160];		/* of the largest, with the values */
	uint64_t others;		/* differences that have no size, and the first of them */
	char *other;
};

static struct finding *found;
static size_t nfound, cap_found;
static bool different;

static struct finding *finding(const char *name, struct pt_error *err)
{
	for (size_t i = 0; i < nfound; i++)
		if (!strcmp(found[i].name, name))
			return &found[i];
	if (pt_grow(&found, &cap_found, nfound + 1, sizeof *found, err))
		return NULL;
	found[nfound] = (struct finding){ .name = pt_strdup(name, err) };
	return found[nfound].name ? &found[nfound++] : NULL;
}

/* A difference that has no size. */
static int say(struct pt_error *err, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int say(struct pt_error *err, const char *name, const char *fmt, ...)
{
	struct finding *f = finding(name, err);
	char text[512];
	va_list ap;

	different = true;
	if (!f || f->others++)
		return err->status;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	f->other = pt_strdup(text, err);
	return err->status;
}

static bool is_float(enum pt_dtype t)
{
	return t == PT_F64 || t == PT_F32 || t == PT_F16 || t == PT_BF16 || t == PT_F8_E4M3 || t == PT_F8_E5M2;
}

static bool tolerant(void)
{
	return atol_ > 0 || rtol_ > 0;
}

/* A rectangle of two tensors: values from..from+n of a, and as many of b. */
struct part {
	const struct pt_st_tensor *a, *b;
	size_t from_a, from_b, n;
	const char *unit;		/* of a stream: "example", "micro-batch" ...; NULL: none */
	int64_t ordinal;		/* the first of these */
	size_t row;			/* values each has; 0: it is the whole tensor */
};

static bool unequal(const struct part *p, size_t i, double a, double b, double *distance)
{
	size_t size = pt_dtype_size(p->a->dtype);
	const char *x = (const char *)p->a->data + (p->from_a + i) * size;
	const char *y = (const char *)p->b->data + (p->from_b + i) * size;

	if (p->a->dtype == p->b->dtype && !memcmp(x, y, size))
		return false;
	*distance = a == b ? 0 : fabs(a - b);	/* infinities of one sign are equal */
	if (!tolerant())
		return true;
	if (isnan(a) && isnan(b))
		return false;
	return !(*distance <= atol_ + rtol_ * fabs(b)) || (isinf(b) && a != b);
}

static void note(struct finding *f, const struct part *p, size_t i, double distance)
{
	struct pt_buf b = PT_BUF_INIT;

	/* Of equal distances the first stays; NaN outweighs all. */
	if (f->differ > 1 && !(distance > f->max || (isnan(distance) && !isnan(f->max))))
		return;
	f->max = distance;
	if (p->unit)
		pt_buf_printf(&b, "%s %lld", p->unit, (long long)p->ordinal + (p->row ? (long long)(i / p->row) : 0));
	if (!p->row) {
		pt_buf_str(&b, p->unit ? ", " : "");
		values_where(p->a, p->from_a + i, &b);
	} else if (p->row > 1) {
		pt_buf_printf(&b, ", value %zu", i % p->row);
	}
	pt_buf_str(&b, ": ");
	values_text(p->a, p->from_a + i, false, &b);
	pt_buf_str(&b, " and ");
	values_text(p->b, p->from_b + i, false, &b);
	snprintf(f->where, sizeof f->where, "%s", b.data ? b.data : "");
	pt_buf_release(&b);
}

static int compare(const char *name, const struct part *p, struct pt_error *err)
{
	enum { CHUNK = 4096 };
	double a[CHUNK], b[CHUNK], distance = 0;
	struct finding *f = finding(name, err);
	size_t size = pt_dtype_size(p->a->dtype);

	if (!f)
		return err->status;
	f->values += p->n;
	/* Most are equal: look at bits first. */
	if (p->a->dtype == p->b->dtype && p->n && !memcmp((const char *)p->a->data + p->from_a * size,
	    (const char *)p->b->data + p->from_b * size, p->n * size))
		return 0;
	for (size_t at = 0, n; at < p->n; at += n) {
		n = p->n - at < CHUNK ? p->n - at : CHUNK;
		values_load(p->a, p->from_a + at, n, a);
		values_load(p->b, p->from_b + at, n, b);
		for (size_t i = 0; i < n; i++)
			if (unequal(p, at + i, a[i], b[i], &distance)) {
				f->differ++;
				note(f, p, at + i, distance);
			}
	}
	different |= f->differ > 0;
	return 0;
}

/* Types and ranks of two tensors of one name; shapes from dimension first on. */
static bool same_form(const struct pt_st_tensor *a, const struct pt_st_tensor *b, int first, struct pt_error *err)
{
	struct pt_buf x = PT_BUF_INIT, y = PT_BUF_INIT;
	bool same = a->ndim == b->ndim && (a->dtype == b->dtype || (tolerant() && is_float(a->dtype) &&
								      is_float(b->dtype)));

	for (int d = first; same && d < a->ndim; d++)
		same = a->shape[d] == b->shape[d];
	if (same)
		return true;
	pt_st_shape_text(a, &x);
	pt_st_shape_text(b, &y);
	say(err, a->name, "%s and %s", x.data ? x.data : "?", y.data ? y.data : "?");
	pt_buf_release(&x);
	pt_buf_release(&y);
	return false;
}

static int compare_files(const struct operand *a, const struct operand *b, struct pt_error *err)
{
	size_t i = 0, k = 0;

	while (i < a->n || k < b->n) {
		int c = i == a->n ? 1 : k == b->n ? -1 : strcmp(a->tensor[i]->name, b->tensor[k]->name);

		if (c < 0) {
			say(err, a->tensor[i++]->name, "only in %s", a->name);
		} else if (c > 0) {
			say(err, b->tensor[k++]->name, "only in %s", b->name);
		} else {
			struct part p = { a->tensor[i++], b->tensor[k++], 0, 0, 0, NULL, 0, 0 };

			p.n = p.a->count;
			if (same_form(p.a, p.b, 0, err))
				compare(p.a->name, &p, err);
		}
		if (err->status || (different && tool.quiet))
			break;
	}
	return err->status;
}

/* A stream and how far it was compared. */
struct cursor {
	struct operand *o;
	enum pt_kind kind;
	const struct pt_record *rec;	/* NULL: at the end */
	int64_t n, at;			/* examples of the record, compared ones */
	int64_t done;			/* of the records before it */
};

static const char *const head_keys[] = { "kind", "tokenizer", "vocab_size", "task", "labels" };

static const char *unit(enum pt_kind kind)
{
	switch (kind) {
	case PT_KIND_EXAMPLES: return "example";
	case PT_KIND_BATCH: return "micro-batch";
	case PT_KIND_METRICS: return "row";
	case PT_KIND_PREDICTIONS: return "prediction";
	default: return "record";
	}
}

/* The next record that has examples left. HEADs set the kind. */
static int advance(struct cursor *c, struct pt_error *err)
{
	while (!c->rec || c->at == c->n) {
		c->done += c->rec ? c->n : 0;
		c->rec = NULL;
		c->at = c->n = 0;
		if (pt_reader_next(c->o->reader, &c->rec, err) || !c->rec)
			break;
		if (c->rec->type == PT_HEAD)
			c->kind = pt_kind_parse(pt_st_meta(&c->rec->st, "kind"));
		if (c->rec->type != PT_RECORD) {
			c->rec = NULL;
			continue;
		}
		c->n = pt_kind_count(c->kind, &c->rec->st);
	}
	return err->status;
}

static const int64_t *offsets_of(const struct cursor *c, enum pt_kind_shape shape)
{
	const struct pt_st_tensor *t = pt_st_find(&c->rec->st, shape == PT_PER_TOKEN ? "offsets" : "decoder_offsets");

	return t ? t->data : NULL;
}

/* One tensor of the next n examples of both. */
static int compare_rows(const struct cursor *x, const struct cursor *y, const struct pt_st_tensor *a,
			const struct pt_st_tensor *b, const struct pt_kind_tensor *k, int64_t n, struct pt_error *err)
{
	bool whole = x->kind == PT_KIND_BATCH || x->kind == PT_KIND_OTHER;
	struct part p = { a, b, 0, 0, 0, unit(x->kind), x->done + x->at, 0 };
	const int64_t *oa, *ob;
	size_t row;

	if (!same_form(a, b, whole ? 0 : 1, err))
		return err->status;
	if (whole) {
		p.n = a->count;
		return compare(a->name, &p, err);
	}
	if (k && (k->shape == PT_OFFSETS || k->shape == PT_DECODER_OFFSETS))
		return 0;	/* the lengths of what they bound say it */
	if (!k || (k->shape != PT_PER_TOKEN && k->shape != PT_PER_DECODER)) {
		row = a->count / (size_t)a->shape[0];
		p.from_a = row * (size_t)x->at;
		p.from_b = row * (size_t)y->at;
		p.n = row * (size_t)n;
		p.row = row;
		return compare(a->name, &p, err);
	}
	oa = offsets_of(x, k->shape) + x->at;
	ob = offsets_of(y, k->shape) + y->at;
	for (int64_t i = 0; i < n; i++, p.ordinal++) {
		int64_t la = oa[i + 1] - oa[i], lb = ob[i + 1] - ob[i];

		if (la != lb) {
			if (say(err, a->name, "%s %lld has %lld and %lld", p.unit, (long long)p.ordinal, (long long)la,
				(long long)lb))
				break;
			continue;
		}
		p.from_a = (size_t)oa[i];
		p.from_b = (size_t)ob[i];
		p.n = p.row = (size_t)la;
		if (compare(a->name, &p, err))
			break;
	}
	return err->status;
}

static bool skipped(const struct cursor *c, const char *name)
{
	return *name == '_' || (c->kind == PT_KIND_METRICS && !seconds && !strcmp(name, "seconds"));
}

static int compare_meta(const struct cursor *x, const struct cursor *y, struct pt_error *err)
{
	static const char *const keys[] = { "step", "micro", "micros", "epoch", "step_examples", "step_tokens",
					    "step_weight" };

	for (size_t i = 0; x->kind == PT_KIND_BATCH && i < sizeof keys / sizeof *keys; i++) {
		const char *a = pt_st_meta(&x->rec->st, keys[i]), *b = pt_st_meta(&y->rec->st, keys[i]);

		if (a && b && strcmp(a, b) &&
		    say(err, keys[i], "micro-batch %lld: %.100s and %.100s", (long long)x->done, a, b))
			break;
	}
	return err->status;
}

static int compare_records(const struct cursor *x, const struct cursor *y, int64_t n, struct pt_error *err)
{
	const struct pt_st *a = &x->rec->st, *b = &y->rec->st;

	if (compare_meta(x, y, err))
		return err->status;
	for (size_t i = 0; i < a->ntensors && !err->status; i++) {
		const struct pt_st_tensor *t = &a->tensor[i], *u = pt_st_find(b, t->name);

		if (skipped(x, t->name))
			continue;
		if (u)
			compare_rows(x, y, t, u, pt_kind_entry(x->kind, t->name), n, err);
		else
			say(err, t->name, "%s %lld: only in %s", unit(x->kind), (long long)(x->done + x->at), x->o->name);
	}
	for (size_t i = 0; i < b->ntensors && !err->status; i++)
		if (!skipped(y, b->tensor[i].name) && !pt_st_find(a, b->tensor[i].name))
			say(err, b->tensor[i].name, "%s %lld: only in %s", unit(y->kind), (long long)(y->done + y->at),
			    y->o->name);
	return err->status;
}

static int compare_streams(struct operand *a, struct operand *b, struct pt_error *err)
{
	struct cursor x = { .o = a }, y = { .o = b };
	const struct pt_record *ha, *hb;
	char name[32];

	if (pt_reader_head(a->reader, &ha, err) || pt_reader_head(b->reader, &hb, err))
		return err->status;
	for (size_t i = 0; i < sizeof head_keys / sizeof *head_keys; i++) {
		const char *u = pt_st_meta(&ha->st, head_keys[i]), *v = pt_st_meta(&hb->st, head_keys[i]);

		if (i == 0 && strcmp(u, v))
			return pt_error(err, PT_DATA, "%s is of kind %.40s, %s of kind %.40s", a->name, u, b->name, v);
		/* There are tensors of these names too. */
		snprintf(name, sizeof name, "HEAD's %s", head_keys[i]);
		if (strcmp(u ? u : "", v ? v : "") && say(err, name, "%.200s and %.200s", u ? u : "none",
							  v ? v : "none"))
			return err->status;
	}
	for (;;) {
		int64_t n;

		if (advance(&x, err) || advance(&y, err))
			return err->status;
		if (!x.rec || !y.rec || (different && tool.quiet))
			break;
		if (x.kind != y.kind)
			return pt_error(err, PT_DATA, "segments of different kinds at %lld", (long long)x.done);
		n = x.n - x.at < y.n - y.at ? x.n - x.at : y.n - y.at;
		if (compare_records(&x, &y, n, err))
			return err->status;
		x.at += n;
		y.at += n;
	}
	if (!x.rec != !y.rec)
		say(err, x.rec ? a->name : b->name, "has more than the %lld of %s", (long long)(x.rec ? y.done : x.done),
		    x.rec ? b->name : a->name);
	/* What was not compared is verified all the same. */
	while (!err->status && x.rec)
		pt_reader_next(a->reader, &x.rec, err);
	while (!err->status && y.rec)
		pt_reader_next(b->reader, &y.rec, err);
	return err->status;
}

static void report_one(const struct finding *f)
{
	struct pt_buf b = PT_BUF_INIT;

	if (f->other) {
		pt_buf_printable(&b, f->name, strlen(f->name));
		pt_buf_str(&b, ": ");
		pt_buf_printable(&b, f->other, strlen(f->other));
		if (f->others > 1)
			pt_buf_printf(&b, " (and %llu more)", (unsigned long long)f->others - 1);
		pt_buf_char(&b, '\n');
	}
	if (f->differ) {
		pt_buf_printable(&b, f->name, strlen(f->name));
		pt_buf_str(&b, ": max |a-b| ");
		values_double(f->max, false, &b);
		pt_buf_printf(&b, " at %s (%llu of %llu values differ)\n", f->where, (unsigned long long)f->differ,
			      (unsigned long long)f->values);
	}
	if (!b.failed && b.len)
		fputs(b.data, stdout);
	pt_buf_release(&b);
}

static void report(void)
{
	for (size_t i = 0; i < nfound; i++) {
		if (!tool.quiet)
			report_one(&found[i]);
		free(found[i].name);
		free(found[i].other);
	}
	free(found);
}

static int run(struct pt_error *err)
{
	struct operand a, b;

	if (tool.noperands != 2)
		return pt_error(err, PT_USAGE, "two operands are compared");
	if (!strcmp(tool.operand[0], "-") && !strcmp(tool.operand[1], "-"))
		return pt_error(err, PT_USAGE, "standard input cannot be compared with itself");
	if (tool_check_input(tool.operand, 2, err) || operand_open(&a, tool.operand[0], err))
		return err->status;
	if (!operand_open(&b, tool.operand[1], err)) {
		if ((a.type == OPERAND_STREAM) != (b.type == OPERAND_STREAM))
			pt_error(err, PT_USAGE, "%s is %s, %s is %s", a.name, operand_what(&a), b.name,
				 operand_what(&b));
		else if (a.type == OPERAND_STREAM)
			compare_streams(&a, &b, err);
		else
			compare_files(&a, &b, err);
		operand_close(&b);
	}
	operand_close(&a);
	return err->status;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;

	tool_init(&tool, &spec, argc, argv);
	run(&err);
	report();
	if (!err.status)
		tool_finish(&err);
	if (err.status)
		tool_report(&err);
	/* 1 says that they differ; trouble is more. */
	return err.status == PT_FAIL ? PT_USAGE : err.status ? err.status : different;
}
