/* SPDX-License-Identifier: MIT */
/*
 * tensor_golden.c - operations and their gradients against float64 values made
 * by tests/golden/make_ops.py: by max|a-b| / max|b| at most twice the error of
 * torch in float32, and nothing under 2e-6 is asked.
 */
#include "tensor_fix.h"

#include "base/json.h"
#include "io/safetensors.h"

#define FLOOR 2e-6
#define MAX_IN 24

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

/* One case of a golden file on one device. */
struct gold {
	struct fix f;
	struct pt_st st;
	cJSON *cases, *error;
	const cJSON *c;			/* the case's configuration */
	const char *name;
	struct pt_tensor in[MAX_IN];	/* leaves, with gradients of their own */
	char *in_name[MAX_IN];
	int nin;
	int compared;
	const char *file;
	double worst;			/* largest error as a share of what is allowed */
};

static void gold_open(struct gold *g, const char *file)
{
	struct pt_error err = PT_ERROR_INIT;
	char path[200];
	const char *s;

	memset(g, 0, sizeof *g);
	g->file = file;
	snprintf(path, sizeof path, "tests/data/ops/%s.safetensors", file);
	assert_ok(pt_st_open(&g->st, path, &err), &err);
	s = pt_st_meta(&g->st, "cases");
	assert_non_null(g->cases = pt_json_parse(s, strlen(s), 0, path, &err));
	s = pt_st_meta(&g->st, "error");
	assert_non_null(g->error = pt_json_parse(s, strlen(s), 0, path, &err));
}

static void gold_close(struct gold *g)
{
	assert_true(g->compared > 0);
	print_message("# %s: %d tensors, worst %.2f of what is allowed\n", g->file, g->compared, g->worst);
	pt_json_free(g->cases);
	pt_json_free(g->error);
	pt_st_release(&g->st);
}

static const struct pt_st_tensor *stored(struct gold *g, const char *kind, const char *name)
{
	char s[100];

	snprintf(s, sizeof s, "%s/%s.%s", g->name, kind, name);
	return pt_st_find(&g->st, s);
}

static double num(struct gold *g, const char *key)
{
	double v;

	assert_ok(pt_json_double(g->c, key, 0, &v, &g->f.err), &g->f.err);
	return v;
}

static bool yes(struct gold *g, const char *key)
{
	bool v;

	assert_ok(pt_json_bool(g->c, key, false, &v, &g->f.err), &g->f.err);
	return v;
}

static const char *word(struct gold *g, const char *key)
{
	const char *v;

	assert_ok(pt_json_str(g->c, key, "", &v, &g->f.err), &g->f.err);
	return v;
}

/* Inputs become leaves on the device; those that have a golden gradient get one. */
static void gold_start(struct gold *g, const cJSON *c, const char *device)
{
	g->c = c;
	g->name = c->string;
	fix_init(&g->f, device, FIX_ARENA);
	g->f.run.record = true;
	g->nin = 0;
	for (size_t i = 0; i < g->st.ntensors; i++) {
		const struct pt_st_tensor *s = &g->st.tensor[i];
		size_t n = strlen(g->name);
		struct pt_tensor *t = &g->in[g->nin];

		if (strncmp(s->name, g->name, n) || strncmp(s->name + n, "/in.", 4))
			continue;
		assert_true(g->nin < MAX_IN && s->ndim <= PT_MAX_DIMS);
		g->in_name[g->nin++] = (char *)s->name + n + 4;
		pt_tensor_init(t, s->dtype, s->ndim, s->shape, fix_put(&g->f, s->data, s->bytes));
		if (stored(g, "grad", s->name + n + 4)) {
			float *zero = calloc(s->count + 1, sizeof *zero);

			t->grad = fix_put(&g->f, zero, s->count * sizeof *zero);
			t->needs_grad = t->external = true;
			free(zero);
		}
	}
}

static struct pt_tensor *in(struct gold *g, const char *name)
{
	for (int i = 0; i < g->nin; i++)
		if (!strcmp(g->in_name[i], name))
			return &g->in[i];
	return NULL;
}

/* An input as an activation with these rows. */
static struct pt_tensor *in_act(struct gold *g, const char *name, const struct pt_rows *rows)
{
	struct pt_tensor *t = in(g, name), *y;

	if (!t)
		return NULL;
	y = pt_op_scale(&g->f.run, t, 1);
	if (y)
		y->rows = rows;
	return y;
}

static const int32_t *host_i32(struct gold *g, const char *name)
{
	const struct pt_st_tensor *t = stored(g, "in", name);

	return t ? t->data : NULL;
}

static void compare(struct gold *g, const char *kind, const char *name, const float *got)
{
	const struct pt_st_tensor *t = stored(g, kind, name);
	const float *want = t->data;
	double top = 0, off = 0, err, allowed;
	char key[100];

	snprintf(key, sizeof key, "%s/%s.%s", g->name, kind, name);
	assert_ok(pt_json_double(g->error, key, -1, &err, &g->f.err), &g->f.err);
	assert_true(err >= 0);
	for (size_t i = 0; i < t->count; i++) {
		double d = fabs((double)got[i] - want[i]);

		if (fabs((double)want[i]) > top)
			top = fabs((double)want[i]);
		if (!(d <= off))
			off = d;
	}
	allowed = (2 * err > FLOOR ? 2 * err : FLOOR) * top;
	if (!(off <= allowed))
		fail_msg("%s %s: off by %.3g of %.3g, allowed %.3g", g->file, key, off / top, top,
			 allowed / top);
	if (top > 0 && off / allowed > g->worst)
		g->worst = off / allowed;
	g->compared++;
}

/* Compare outputs, run backward from them with the stored seeds, compare all gradients. */
static void gold_finish(struct gold *g, struct pt_tensor **y, const char *const *name, int n)
{
	struct fix *f = &g->f;
	struct pt_tensor *last = NULL;

	assert_ok(pt_run_check(&f->run, &f->err), &f->err);
	for (int i = 0; i < n; i++) {
		float *got = fix_read(f, y[i]);

		compare(g, "out", name[i], got);
		free(got);
	}
	/* Several outputs: all but the last are seeded by hand. */
	for (int i = 0; i < n; i++) {
		const struct pt_st_tensor *s = stored(g, "seed", name[i]);

		last = y[i];
		if (i < n - 1)
			assert_ok(pt_tape_give(&f->run, y[i], pt_run_upload(&f->run, s->data, s->bytes)),
				  &f->run.err);
		else
			assert_ok(pt_backward(&f->run, last, pt_run_upload(&f->run, s->data, s->bytes), &f->err),
				  &f->err);
	}
	for (int i = 0; i < g->nin; i++) {
		size_t count = (size_t)pt_tensor_count(&g->in[i]);
		float *got;

		if (!g->in[i].needs_grad)
			continue;
		got = calloc(count + 1, sizeof *got);
		assert_ok(f->dev->download(f->dev, got, g->in[i].grad, count * sizeof *got, &f->err), &f->err);
		compare(g, "grad", g->in_name[i], got);
		free(got);
	}
	fix_release(f);
}

static void rows_of(struct gold *g, struct pt_rows *r, const char *cu)
{
	const struct pt_tensor *t = in(g, cu);

	*r = (struct pt_rows){ .batch = (int)t->shape[0] - 1, .cu = t->data, .host_cu = host_i32(g, cu) };
	r->n = r->host_cu[r->batch];
}

static void run_attention(struct gold *g)
{
	static const char *const out[] = { "o" };
	struct pt_attn a = { (int)num(g, "heads"), (int)num(g, "kv_heads"), (int)num(g, "head_dim"),
		.causal = yes(g, "causal"), .window = (int)num(g, "window"), .scale = (float)num(g, "scale"),
		.softcap = (float)num(g, "softcap"), .buckets = (int)num(g, "buckets"),
		.max_distance = (int)num(g, "max_distance"), .bidirectional = yes(g, "bidirectional") };
	struct pt_rows rq, rk;
	struct pt_prefix p = { 0 };
	struct pt_tensor *y;

	rows_of(g, &rq, "cu_q");
	rows_of(g, &rk, "cu_k");
	a.bias = !strcmp(word(g, "bias"), "buckets") ? PT_BIAS_BUCKETS :
		 !strcmp(word(g, "bias"), "slopes") ? PT_BIAS_SLOPES : PT_BIAS_NONE;
	a.bias_table = in(g, a.bias == PT_BIAS_SLOPES ? "slopes" : "table");
	if (in(g, "prefix_k")) {
		p = (struct pt_prefix){ .k = in(g, "prefix_k"), .v = in(g, "prefix_v"),
			.n = (int)in(g, "cu_prefix")->shape[0] - 1, .cu = in(g, "cu_prefix")->data,
			.host_cu = host_i32(g, "cu_prefix"), .index = in(g, "prefix_index")->data,
			.host_index = host_i32(g, "prefix_index") };
		a.prefix = &p;
	}
	y = pt_op_attn(&g->f.run, in_act(g, "q", &rq), in_act(g, "k", &rk), in_act(g, "v", &rk), &a);
	gold_finish(g, &y, out, 1);
}

static void run_nll(struct gold *g)
{
	static const char *const out[] = { "nll" };
	struct pt_lowrank term = { in(g, "a"), in(g, "b"), NULL, (float)num(g, "term_scale"), 0, 0 };
	struct pt_nll n = { .head = { in(g, "w"), in(g, "bias"), yes(g, "transposed"), &term, term.a ? 1 : 0 },
		.scale = (float)num(g, "scale"), .cap = (float)num(g, "cap"),
		.smoothing = (float)num(g, "smoothing"), .rows = in(g, "row")->shape[0],
		.row = in(g, "row")->data, .label = in(g, "label")->data };
	struct pt_tensor *y = pt_op_token_nll(&g->f.run, in_act(g, "x", NULL), &n);

	gold_finish(g, &y, out, 1);
}

static void run_norm(struct gold *g)
{
	static const char *const out[] = { "sum", "y" };
	struct pt_norm n = { PT_NORM_RMS, in(g, "w"), in(g, "b"), (float)num(g, "eps") };
	struct pt_tensor *y[2], *x = in_act(g, "x", NULL);

	if (!strcmp(word(g, "kind"), "layer"))
		n.kind = PT_NORM_LAYER;
	if (!strcmp(word(g, "kind"), "rms1p"))
		n.kind = PT_NORM_RMS1P;
	if (yes(g, "fused"))
		y[1] = pt_op_add_norm(&g->f.run, x, in_act(g, "delta", NULL), &n, &y[0]);
	else
		y[1] = pt_op_norm(&g->f.run, x, &n);
	gold_finish(g, yes(g, "fused") ? y : y + 1, yes(g, "fused") ? out : out + 1, yes(g, "fused") ? 2 : 1);
}

static void run_rope(struct gold *g)
{
	static const char *const out[] = { "y" };
	struct pt_rope r = { in(g, "cos")->data, in(g, "sin")->data, 13, (int)num(g, "rot_dim"),
			     in(g, "pos")->data };
	struct pt_tensor *y = pt_op_rope(&g->f.run, in_act(g, "x", NULL), (int)num(g, "heads"),
					 (int)num(g, "head_dim"), &r);

	gold_finish(g, &y, out, 1);
}

static void run_act(struct gold *g)
{
	static const char *const out[] = { "y" };
	struct pt_tensor *x = in_act(g, "x", NULL), *y;
	enum pt_act a = (enum pt_act)num(g, "act");

	y = yes(g, "gated") ? pt_op_glu(&g->f.run, x, in_act(g, "u", NULL), a) : pt_op_act(&g->f.run, x, a);
	gold_finish(g, &y, out, 1);
}

static void run_class(struct gold *g)
{
	static const char *const out[] = { "loss" };
	struct pt_class c = { (enum pt_class_loss)num(g, "kind"), in(g, "cls") ? in(g, "cls")->data : NULL,
			      in(g, "target") ? in(g, "target")->data : NULL, (float)num(g, "smoothing") };
	struct pt_tensor *y = pt_op_class_loss(&g->f.run, in_act(g, "z", NULL), &c);

	gold_finish(g, &y, out, 1);
}

static void run_linear(struct gold *g)
{
	static const char *const out[] = { "y0", "y1", "y2" };
	struct pt_linear lin[3] = { { 0 } };
	struct pt_lowrank term[3];
	struct pt_tensor *y[3];
	int n = 0;

	for (char s[24]; n < 3; n++) {
		snprintf(s, sizeof s, "w%d", n);
		if (!in(g, s))
			break;
		lin[n].w = in(g, s);
		lin[n].transposed = yes(g, "transposed");
		snprintf(s, sizeof s, "bias%d", n);
		lin[n].bias = in(g, s);
		snprintf(s, sizeof s, "a%d", n);
		term[n] = (struct pt_lowrank){ .a = in(g, s), .scale = (float)num(g, "scale") };
		snprintf(s, sizeof s, "b%d", n);
		term[n].b = in(g, s);
		lin[n].term = &term[n];
		lin[n].nterms = term[n].a ? 1 : 0;
	}
	pt_op_linear_group(&g->f.run, in_act(g, "x", NULL), lin, n, y);
	gold_finish(g, y, out, n);
}

static void run_file(const char *file, void (*fn)(struct gold *))
{
	for (int i = 0; devices[i]; i++) {
		const cJSON *c;
		struct gold g;

		gold_open(&g, file);
		cJSON_ArrayForEach(c, g.cases) {
			gold_start(&g, c, devices[i]);
			fn(&g);
		}
		gold_close(&g);
	}
}

#define GOLDEN(test, file, fn) static void test(void **state) { (void)state; run_file(file, fn); }
GOLDEN(attention, "attn", run_attention)
GOLDEN(token_nll, "nll", run_nll)
GOLDEN(norms, "norm", run_norm)
GOLDEN(rotary, "rope", run_rope)
GOLDEN(activations, "act", run_act)
GOLDEN(class_losses, "class", run_class)
GOLDEN(linear_groups, "linear", run_linear)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention),
		cmocka_unit_test(token_nll),
		cmocka_unit_test(norms),
		cmocka_unit_test(rotary),
		cmocka_unit_test(activations),
		cmocka_unit_test(class_losses),
		cmocka_unit_test(linear_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
