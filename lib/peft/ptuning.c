/* SPDX-License-Identifier: MIT */
/*
 * ptuning.c - P-tuning: rows before the input embeddings of every sequence,
 * made by an encoder of a table that trains with it: two hidden layers, or a
 * bidirectional LSTM (Hochreiter & Schmidhuber 1997) and one.
 *
 * PEFT's file holds what the encoder makes, and with that PEFT forgets it;
 * here it stands in peft_state.safetensors.
 *
 * Liu et al. 2021, "GPT Understands, Too".
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "peft/virtual.h"

/* Places in pt_adapter_site.param: the table, the linears behind, the LSTM's. */
enum { EMBEDDING, HEAD, LSTM = HEAD + 4 };
enum { MOST_LAYERS = 7 };

struct ptuning {
	struct pt_virtual v;
	const struct pt_adapter_site *site;
	bool lstm, makes;
	int64_t hidden, layers;
};

static const struct pt_option options[] = {
	PT_OPTION_VIRTUAL_TOKENS,
	{ .name = "encoder", .key = "encoder_reparameterization_type", .kind = PT_OPTION_WORD, .arg = "KIND",
	  .words = "mlp=MLP|lstm=LSTM", .help = "mlp or lstm (mlp)" },
	{ .name = "encoder-size", .key = "encoder_hidden_size", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "width of the encoder (that of its outputs)" },
	{ .name = "encoder-layers", .key = "encoder_num_layers", .kind = PT_OPTION_INT, .arg = "N", .min = 1,
	  .max = MOST_LAYERS, .wants = "encoder=lstm", .help = "layers of the LSTM (2)" },
	PT_OPTION_SAVE_MODULES,
	{ 0 }
};

/* One direction of a layer. */
struct lstm {
	struct pt_run *run;
	struct pt_param *const *p;	/* weights of inputs and of rows, biases of both */
	const int32_t *gate[4];		/* where in, forget, cell and out stand */
};

static struct pt_tensor *zero_row(struct pt_run *run, int64_t n)
{
	struct pt_tensor *z = pt_pool_alloc(&run->pool, sizeof *z, &run->err);
	size_t bytes = (size_t)n * pt_dtype_size(run->act_type);
	void *zeros = pt_pool_alloc(&run->pool, bytes, &run->err), *d;

	d = z && zeros ? pt_run_upload(run, zeros, bytes) : NULL;
	if (!d)
		return NULL;
	pt_tensor_init(z, run->act_type, 2, (int64_t[]){ 1, n }, d);
	return z;
}

/* From the input's part of the gates, the row before and the cell *c to the next row; *c NULL: it is zero. */
static struct pt_tensor *lstm_step(const struct lstm *l, struct pt_tensor *in, struct pt_tensor *h, struct pt_tensor **c)
{
	struct pt_run *run = l->run;
	struct pt_tensor *g[4], *all, *next, *old;

	all = pt_op_add(run, in, pt_virtual_linear(run, h, l->p[1], l->p[3]));
	for (int k = 0; k < 4; k++)
		g[k] = pt_op_pieces(run, all, 4, l->gate[k], 1);
	next = pt_op_glu(run, g[0], pt_op_act(run, g[2], PT_ACT_TANH), PT_ACT_SIGMOID);
	old = *c ? pt_op_glu(run, g[1], *c, PT_ACT_SIGMOID) : NULL;
	*c = old ? pt_op_add(run, next, old) : next;
	return pt_op_glu(run, g[3], pt_op_act(run, *c, PT_ACT_TANH), PT_ACT_SIGMOID);
}

/* One layer of both directions: x [n,K] becomes [n,2H]. p: eight tensors, in torch's order. */
static struct pt_tensor *lstm_layer(struct pt_run *run, struct pt_tensor *x, struct pt_param *const *p, int64_t hidden)
{
	int64_t n = x ? x->shape[0] : 0;
	struct pt_tensor **h = pt_pool_alloc(&run->pool, (size_t)(2 * n) * sizeof(*h), &run->err);

	for (int back = 0; h && back < 2; back++) {
		struct lstm l = { run, p + 4 * back, { NULL } };
		struct pt_tensor *in = pt_virtual_linear(run, x, l.p[0], l.p[2]), *row = zero_row(run, hidden), *c = NULL;

		for (int k = 0; k < 4; k++)
			l.gate[k] = pt_pieces_index(run, 1, 4, &k, 1);
		for (int64_t i = 0; i < n; i++) {
			int32_t t = (int32_t)(back ? n - 1 - i : i);

			row = lstm_step(&l, pt_op_gather(run, in, pt_run_upload(run, &t, sizeof t), 1, NULL), row, &c);
			h[2 * t + back] = row;
		}
	}
	return h && n ? pt_op_join(run, h, (int)(2 * n), n, 2 * hidden) : NULL;
}

/* All rows of the file's table. */
static struct pt_tensor *encode(struct pt_run *run, const struct ptuning *t)
{
	struct pt_param *const *p = t->site->param;
	struct pt_tensor *x = pt_virtual_rows(run, &p[EMBEDDING]->t, 0, 1, t->v.tokens * t->v.parts);
	int linears = t->lstm ? 2 : 3;

	for (int i = 0; t->lstm && i < t->layers; i++)
		x = lstm_layer(run, x, p + LSTM + 8 * i, t->hidden);
	for (int i = 0; i < linears; i++) {
		x = pt_virtual_linear(run, x, p[HEAD + 2 * i], p[HEAD + 2 * i + 1]);
		if (i + 1 < linears)
			x = pt_op_act(run, x, PT_ACT_RELU);
	}
	return x;
}

static struct pt_tensor *make_front(struct pt_run *run, const struct pt_adapter_site *s)
{
	const struct ptuning *t = s->state;
	struct pt_tensor *x;
	int32_t *id;

	if (!t->makes)
		return pt_virtual_rows(run, &t->v.table->t, 0, 1, t->v.tokens);
	x = encode(run, t);
	if (t->v.parts == 1 || !x)
		return x;
	/* Those of the first submodule. */
	id = pt_pool_alloc(&run->pool, (size_t)t->v.tokens * sizeof *id, &run->err);
	for (int64_t i = 0; id && i < t->v.tokens; i++)
		id[i] = (int32_t)i;
	return id ? pt_op_gather(run, x, pt_run_upload(run, id, (size_t)t->v.tokens * sizeof *id), t->v.tokens, NULL) : NULL;
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	struct ptuning *t = pt_calloc(1, sizeof *t, err);
	const char *kind;
	double drop;

	a->state = t;
	if (!t)
		return err->status;
	t->v.front = make_front;
	if (pt_virtual_parse(a, &t->v, c->heads, c->embed_width, err) ||
	    pt_virtual_number(a, "encoder_hidden_size", t->v.dim, &t->hidden, err) ||
	    pt_json_int(a->config, "encoder_num_layers", 1, 1 << 20, 2, &t->layers, err) ||
	    pt_json_double(a->config, "encoder_dropout", 0, &drop, err) ||
	    pt_json_str(a->config, "encoder_reparameterization_type", "MLP", &kind, err))
		return err->status;
	t->lstm = !strcmp(kind, "LSTM");
	if (!t->lstm && strcmp(kind, "MLP") != 0)
		return pt_error(err, PT_USAGE, "encoder_reparameterization_type '%s': MLP and LSTM are known", kind);
	if (t->lstm && a->trainable && drop != 0)
		return pt_error(err, PT_USAGE, "encoder_dropout of an LSTM is not supported");
	if (t->lstm && t->layers > MOST_LAYERS)
		return pt_error(err, PT_USAGE, "encoder_num_layers is %lld, at most %d are supported", (long long)t->layers,
				MOST_LAYERS);
	return 0;
}

/* "lstm_head.weight_ih_l0", ... "lstm_head.weight_ih_l0_reverse", ... "lstm_head.weight_ih_l1", ... */
static int create_lstm(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	static const char *const kinds[] = { "weight_ih", "weight_hh", "bias_ih", "bias_hh" };
	const struct ptuning *t = a->state;
	char name[80];

	for (int i = 0; i < 8 * t->layers; i++) {
		int layer = i / 8, kind = i % 4;
		int64_t cols[] = { layer ? 2 * t->hidden : t->v.dim, t->hidden, 0, 0 };

		snprintf(name, sizeof name, "lstm_head.%s_l%d%s", kinds[kind], layer, i % 8 < 4 ? "" : "_reverse");
		if (pt_virtual_part(a, s, name, 4 * t->hidden, cols[kind], err))
			return err->status;
	}
	return 0;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct ptuning *t = a->state;
	int64_t rows = t->v.tokens * t->v.parts, h = t->hidden;
	const int64_t mlp[] = { t->v.dim, h, h, t->v.dim }, lstm[] = { 2 * h, 2 * h, t->v.dim };
	const int64_t *width = t->lstm ? lstm : mlp;
	char name[40];
	bool has;

	s->state = t;
	s->hook.ops = &pt_virtual_input;
	t->site = s;
	if (pt_virtual_encoder(a, s, rows, t->v.dim, &has, &t->makes, err) || !has)
		return err->status;
	/* A table that stands for itself is none of them. */
	s->nparams = 0;
	if (pt_virtual_part(a, s, "embedding.weight", rows, t->v.dim, err))
		return err->status;
	for (int i = 0; i < (t->lstm ? 2 : 3); i++) {
		snprintf(name, sizeof name, "mlp_head.%d.weight", 2 * i);
		if (pt_virtual_part(a, s, name, width[i + 1], width[i], err))
			return err->status;
		snprintf(name, sizeof name, "mlp_head.%d.bias", 2 * i);
		if (pt_virtual_part(a, s, name, width[i + 1], 0, err))
			return err->status;
	}
	return t->lstm ? create_lstm(a, s, err) : 0;
}

/* As torch's modules begin. */
static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct ptuning *t = a->state;
	int linears = t->lstm ? 2 : 3, st = pt_virtual_normal(a, s->param[EMBEDDING], seed, err);

	for (int i = HEAD; i < s->nparams && !st; i++) {
		int64_t fan = t->hidden;

		if (i < HEAD + 2 * linears)
			fan = s->param[HEAD + (i - HEAD) / 2 * 2]->t.shape[1];
		st = pt_virtual_uniform(a, s->param[i], fan, seed, err);
	}
	return st;
}

static struct pt_tensor *table(struct pt_run *run, struct pt_adapter *a)
{
	return encode(run, a->state);
}

static int save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err)
{
	const struct pt_virtual *v = a->state;

	(void)config;
	return pt_virtual_save(a, file, table, v->tokens * v->parts, v->dim, err);
}

const struct pt_method pt_method_ptuning = {
	.name = "ptuning",
	.peft_type = "P_TUNING",
	.paper = "Liu et al. 2021, GPT Understands, Too",
	.kinds = 1u << PT_SITE_INPUT,
	.prefix = PT_VIRTUAL_PREFIX,
	.defaults = PT_VIRTUAL_DEFAULTS("P_TUNING", "\"encoder_dropout\":0.0,\"encoder_hidden_size\":null,"
					"\"encoder_num_layers\":2,\"encoder_reparameterization_type\":\"MLP\""),
	.options = options,
	.match = pt_virtual_match,
	.parse = parse,
	.create = create,
	.init = init,
	.save = save,
	.release = pt_virtual_release,
};
