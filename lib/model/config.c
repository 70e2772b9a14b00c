/* SPDX-License-Identifier: MIT */
/*
 * config.c - config.json to struct pt_config, by the family's row: its names
 * of keys, its defaults, its switches.
 */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/config_rope.h"

#define MAX_WIDTH (1 << 24)

static const struct {
	const char *name;
	enum pt_act act;
} acts[] = {
	{ "gelu", PT_ACT_GELU }, { "gelu_python", PT_ACT_GELU },
	{ "gelu_new", PT_ACT_GELU_TANH }, { "gelu_pytorch_tanh", PT_ACT_GELU_TANH },
	{ "gelu_fast", PT_ACT_GELU_TANH }, { "silu", PT_ACT_SILU }, { "swish", PT_ACT_SILU },
	{ "relu", PT_ACT_RELU }, { "relu2", PT_ACT_RELU2 }, { "tanh", PT_ACT_TANH },
	{ "quick_gelu", PT_ACT_QUICK_GELU }, { "sigmoid", PT_ACT_SIGMOID },
};

int pt_act_parse(const char *name)
{
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		if (!strcmp(acts[i].name, name))
			return (int)acts[i].act;
	}
	return -1;
}

const char *pt_act_name(enum pt_act act)
{
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		if (acts[i].act == act)
			return acts[i].name;
	}
	return "none";
}

/* Present, though perhaps null: null and absent differ for some keys. */
static bool is_null(const cJSON *json, const char *key)
{
	return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, key));
}

/* Keys that change the computation in a way that no switch has. */
static int refuse(const cJSON *json, const struct pt_family *f, struct pt_error *err)
{
	static const char *const off[] = { "is_decoder", "add_cross_attention" };
	const char *s;
	bool on;

	if (pt_json_get(json, "quantization_config"))
		return pt_error(err, PT_DATA, "quantization_config: quantised bases of other libraries are not supported; "
				"use the model in its original precision");
	if (pt_json_get(json, "text_config"))
		return pt_error(err, PT_DATA, "text_config: multimodal models are not supported");
	for (size_t i = 0; !f->causal && i < sizeof off / sizeof off[0]; i++) {
		int st = pt_json_bool(json, off[i], false, &on, err);

		if (st)
			return st;
		if (on)
			return pt_error(err, PT_DATA, "%s is not supported for model type %s", off[i],
					f->model_type);
	}
	if (pt_json_str(json, "position_embedding_type", "absolute", &s, err))
		return err->status;
	if (strcmp(s, "absolute") != 0)
		return pt_error(err, PT_DATA, "position_embedding_type \"%.40s\" is not supported (absolute is)", s);
	return 0;
}

static int find_family(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	struct pt_buf known = PT_BUF_INIT;
	const struct pt_family *f;
	const char *type;
	int st;

	st = pt_json_str(json, "model_type", NULL, &type, err);
	if (st)
		return st;
	if (type && (c->family = pt_family_find(type)))
		return 0;
	for (int i = 0; (f = pt_family_at(i)); i++)
		pt_buf_printf(&known, "%s%s", i ? ", " : "", f->model_type);
	if (type)
		st = pt_error(err, PT_DATA, "model_type \"%.60s\" is not supported (%s are)", type,
			      known.data ? known.data : "");
	else
		st = pt_error(err, PT_DATA, "model_type is missing (supported: %s)",
			      known.data ? known.data : "");
	pt_buf_release(&known);
	return st;
}

/* The spelling of a key that json has, else the first; name holds it. NULL of a key that the family lacks. */
static const char *spelled(const cJSON *json, const char *keys, char name[64])
{
	const char *first = keys;

	while (keys && *keys) {
		size_t n = strcspn(keys, "|");

		snprintf(name, 64, "%.*s", (int)n, keys);
		if (pt_json_get(json, name))
			return name;
		keys += n + (keys[n] == '|');
	}
	if (!first)
		return NULL;
	snprintf(name, 64, "%.*s", (int)strcspn(first, "|"), first);
	return name;
}

/* An integer under a key that the family may lack. */
static int size_key(const cJSON *json, const char *keys, int64_t max, int64_t def, int64_t *out,
		    struct pt_error *err)
{
	char name[64];
	const char *key = spelled(json, keys, name);

	*out = def;
	return key ? pt_json_int(json, key, 1, max, def, out, err) : 0;
}

static int read_sizes(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const struct pt_keys *k = c->family->keys;
	const struct pt_defaults *d = &c->family->def;
	int64_t layers, heads, kv, dim;
	char a[64], b[64];
	bool own_dim;
	int st;

	if ((st = pt_json_int(json, "vocab_size", 1, INT32_MAX, d->vocab, &c->vocab, err)) ||
	    (st = size_key(json, k->hidden, MAX_WIDTH, d->hidden, &c->hidden, err)) ||
	    (st = size_key(json, k->layers, PT_MAX_LAYERS, d->layers, &layers, err)) ||
	    (st = size_key(json, k->heads, MAX_WIDTH, d->heads, &heads, err)) ||
	    (st = size_key(json, k->ffn, MAX_WIDTH, d->ffn ? d->ffn : 4 * c->hidden, &c->ffn, err)) ||
	    (st = size_key(json, k->positions, INT32_MAX, d->positions ? d->positions : INT32_MAX, &c->positions,
			   err)) ||
	    (st = size_key(json, k->types, MAX_WIDTH, d->types, &c->types, err)))
		return st;
	/* null means as many as query heads, or a share of hidden; a missing key means the class default. */
	own_dim = k->head_dim && !is_null(json, k->head_dim) && d->head_dim;
	kv = k->kv_heads && !is_null(json, k->kv_heads) && d->kv_heads ? d->kv_heads : heads;
	if ((st = size_key(json, k->kv_heads, MAX_WIDTH, kv, &kv, err)) ||
	    (st = size_key(json, k->head_dim, MAX_WIDTH, own_dim ? d->head_dim : c->hidden / heads, &dim, err)))
		return st;
	own_dim |= k->head_dim && pt_json_get(json, k->head_dim);
	if (dim < 1 || (dim * heads != c->hidden && !own_dim))
		return pt_error(err, PT_DATA, "%s %lld is not a multiple of %s %lld",
				spelled(json, k->hidden, a), (long long)c->hidden, spelled(json, k->heads, b),
				(long long)heads);
	if (heads % kv)
		return pt_error(err, PT_DATA, "%s %lld is not a multiple of %s %lld", spelled(json, k->heads, b),
				(long long)heads, k->kv_heads, (long long)kv);
	if (dim * heads > MAX_WIDTH)
		return pt_error(err, PT_DATA, "%lld heads of %lld dimensions are too many",
				(long long)heads, (long long)dim);
	c->embed_width = c->hidden;
	c->heads = (int)heads;
	c->kv_heads = (int)kv;
	c->head_dim = (int)dim;
	return pt_config_stack(c, 0, c->family->part, c->family->causal, (int)layers, err);
}

int pt_config_stack(struct pt_config *c, int stack, const struct pt_part *part, bool causal, int layers,
		    struct pt_error *err)
{
	struct pt_stack_config *s = &c->stack[stack];

	*s = (struct pt_stack_config){ .part = part, .causal = causal, .layers = layers };
	s->layer = pt_calloc((size_t)layers, sizeof *s->layer, err);
	if (!s->layer)
		return err->status;
	for (int i = 0; i < layers; i++)
		s->layer[i] = (struct pt_layer_config){
			.rope = c->family->position == PT_POS_ROPE ? 0 : -1,
			.scale = (float)(1 / sqrt((double)c->head_dim)),
		};
	c->nstacks = stack + 1;
	return 0;
}

static int probability(const cJSON *json, const char *key, double def, float *out,
		       struct pt_error *err)
{
	double v = def;

	if (key) {
		int st = pt_json_double(json, key, def, &v, err);

		if (st)
			return st;
		if (!(v >= 0 && v < 1))
			return pt_error(err, PT_DATA, "%s %g is not a probability below 1", key, v);
	}
	*out = (float)v;
	return 0;
}

/* A boolean under a key that the family may lack. */
static int switch_key(const cJSON *json, const char *key, bool def, bool *out, struct pt_error *err)
{
	*out = def;
	return key ? pt_json_bool(json, key, def, out, err) : 0;
}

static int read_switches(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const struct pt_family *f = c->family;
	const struct pt_keys *k = f->keys;
	const char *act = f->def.act;
	double eps = f->def.eps;
	int st, a;

	c->form = f->form;
	c->norm = f->norm;
	c->norm_weight = true;
	c->norm_bias = f->norm == PT_NORM_LAYER;
	c->position = f->position;
	c->ffn_form = f->ffn;
	c->qkv = f->qkv;
	c->transposed = f->transposed;
	c->embed_scale = c->input_scale = c->residual_scale = c->logit_scale = 1;
	c->decoder_start = -1;
	c->init_std = f->def.std > 0 ? f->def.std : 0.02;
	if ((k->eps && (st = pt_json_double(json, k->eps, eps, &eps, err))) ||
	    (k->act && (st = pt_json_str(json, k->act, act, &act, err))) ||
	    (st = switch_key(json, k->bias_qkv, f->bias_qkv, &c->bias_qkv, err)) ||
	    (st = switch_key(json, k->bias_o, f->bias_o, &c->bias_o, err)) ||
	    (st = switch_key(json, k->bias_ffn, f->bias_ffn, &c->bias_ffn, err)) ||
	    (st = pt_json_bool(json, "tie_word_embeddings", f->def.tie, &c->tie, err)) ||
	    (k->std && (st = pt_json_double(json, k->std, c->init_std, &c->init_std, err))))
		return st;
	if (!(eps >= 0 && eps < 1))
		return pt_error(err, PT_DATA, "%s %g is out of range", k->eps, eps);
	/* T5's is a factor. */
	if (!(c->init_std >= 0 && c->init_std <= 1e3))
		return pt_error(err, PT_DATA, "%s %g is out of range", k->std, c->init_std);
	if (k->act && cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, k->act)))
		return pt_error(err, PT_DATA, "%s is null", k->act);
	a = pt_act_parse(act);
	if (a < 0)
		return pt_error(err, PT_DATA, "%s \"%.40s\" is not supported", k->act, act);
	c->eps = (float)eps;
	c->act = (enum pt_act)a;
	if ((st = probability(json, k->drop_embed, f->def.drop_embed, &c->drop_embed, err)) ||
	    (st = probability(json, k->drop_hidden, f->def.drop_hidden, &c->drop_ffn_out, err)) ||
	    (st = probability(json, k->drop_attn, f->def.drop_attn, &c->drop_attn, err)))
		return st;
	c->drop_attn_out = c->drop_ffn_out;
	return probability(json, k->drop_class, (double)c->drop_ffn_out, &c->drop_class, err);
}

/* Which layers slide where layer_types does not say: by the family's rule. */
static int rule_slides(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	struct pt_stack_config *s = &c->stack[0];
	int64_t from = 0, every = 0;
	int st = 0;

	if (c->family->window == PT_WINDOW_FROM)
		st = pt_json_int(json, "max_window_layers", 0, INT32_MAX, 28, &from, err);
	if (c->family->window == PT_WINDOW_PATTERN)
		st = pt_json_int(json, "sliding_window_pattern", 1, INT32_MAX, c->family->def.pattern, &every, err);
	for (int i = 0; c->family->window != PT_WINDOW_OWN && i < s->layers; i++)
		s->layer[i].slides = every ? (i + 1) % every != 0 : i >= from;
	return st;
}

/* layer_types decides where it is given, but where all slide. */
static int read_slides(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const cJSON *types = pt_json_get(json, "layer_types");
	struct pt_stack_config *s = &c->stack[0];

	if (!types || c->family->window == PT_WINDOW_ALL)
		return rule_slides(c, json, err);
	if (cJSON_GetArraySize(types) != s->layers)
		return pt_error(err, PT_DATA, "layer_types does not have one entry for each of %d layers",
				s->layers);
	for (int i = 0; i < s->layers; i++) {
		const char *t = cJSON_GetStringValue(cJSON_GetArrayItem(types, i));

		s->layer[i].slides = t && !strcmp(t, "sliding_attention");
		if (!t || (!s->layer[i].slides && strcmp(t, "full_attention") != 0))
			return pt_error(err, PT_DATA, "layer_types: \"%.40s\" is not supported", t ? t : "");
		if (s->layer[i].slides && !c->window)
			return pt_error(err, PT_DATA, "layer_types: \"%s\", but there is no sliding_window", t);
	}
	return 0;
}

static int read_windows(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	enum pt_window_rule rule = c->family->window;
	bool use = rule == PT_WINDOW_ALL || rule == PT_WINDOW_PATTERN;
	int64_t w = 0;
	int st = 0;

	if (rule == PT_WINDOW_NEVER)
		return 0;
	if (!is_null(json, "sliding_window"))
		st = pt_json_int(json, "sliding_window", 0, INT32_MAX, c->family->def.window, &w, err);
	if (st == 0 && !use)
		st = pt_json_bool(json, "use_sliding_window", false, &use, err);
	if (st == 0 && use && w == 0 && pt_json_get(json, "sliding_window"))
		return pt_error(err, PT_DATA, "sliding_window is 0: null means none");
	c->window = use ? (int)w : 0;
	return st ? st : read_slides(c, json, err);
}

static void set_windows(struct pt_config *c)
{
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].window = c->stack[0].layer[i].slides ? c->window : 0;
}

/* An id or null; ids beyond the vocabulary are as good as none (published files hold some). */
static int read_id(const cJSON *json, const char *key, int def, int *out, struct pt_error *err)
{
	int64_t v = -1;
	int st = 0;

	*out = def;
	if (is_null(json, key))
		*out = -1;
	else if (pt_json_get(json, key)) {
		st = pt_json_int(json, key, -1, INT32_MAX, -1, &v, err);
		*out = (int)v;
	}
	return st;
}

static int read_ids(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const cJSON *eos = pt_json_get(json, "eos_token_id"), *v;
	int st, one;

	if ((st = read_id(json, "pad_token_id", c->family->def.pad, &c->pad, err)) ||
	    (st = read_id(json, "bos_token_id", c->family->def.bos, &c->bos, err)))
		return st;
	if (!cJSON_IsArray(eos)) {
		st = read_id(json, "eos_token_id", c->family->def.eos, &one, err);
		if (st == 0 && one >= 0)
			c->eos[c->neos++] = one;
		return st;
	}
	cJSON_ArrayForEach(v, eos) {
		int64_t id;

		if (c->neos == PT_CONFIG_MAX_EOS)
			return pt_error(err, PT_DATA, "eos_token_id has more than %d entries",
					PT_CONFIG_MAX_EOS);
		st = pt_json_to_int(v, 0, INT32_MAX, &id, err);
		if (st)
			return pt_error_prefix(err, "eos_token_id");
		c->eos[c->neos++] = (int)id;
	}
	return 0;
}

static int read_labels(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const cJSON *map = pt_json_get(json, "id2label");
	int64_t n = cJSON_IsObject(map) ? cJSON_GetArraySize(map) : 0;
	const char *s;
	int st;

	st = pt_json_int(json, "num_labels", 1, 1 << 20, n ? n : 2, &n, err);
	if (st == 0)
		st = pt_json_str(json, "problem_type", NULL, &s, err);
	if (st)
		return st;
	if (s && pt_problem_type_parse(s) < 0)
		return pt_error(err, PT_DATA, "problem_type \"%.40s\" is not known", s);
	if (s)
		c->problem = (enum pt_problem)pt_problem_type_parse(s);
	c->num_labels = (int)n;
	if (!cJSON_IsObject(map) || cJSON_GetArraySize(map) != n)
		return 0;
	c->label = pt_calloc((size_t)n, sizeof *c->label, err);
	if (!c->label)
		return err->status;
	for (int i = 0; i < c->num_labels; i++) {
		char id[16];

		snprintf(id, sizeof id, "%d", i);
		if (pt_json_str(map, id, NULL, &s, err))
			return pt_error_prefix(err, "id2label");
		if (!s)
			return pt_error(err, PT_DATA, "id2label has no entry \"%d\"", i);
		c->label[i] = pt_strdup(s, err);
		if (!c->label[i])
			return err->status;
	}
	return 0;
}

static void read_task(struct pt_config *c, const cJSON *json)
{
	const char *arch = cJSON_GetStringValue(cJSON_GetArrayItem(pt_json_get(json, "architectures"), 0));
	int t = arch ? pt_task_of_class(arch, c->nstacks > 1) : -1;

	c->task = t < 0 ? PT_TASK_NONE : (enum pt_task)t;
}

static int read_dtype(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	static const struct {
		const char *name;
		int type;
	} types[] = { { "float32", PT_F32 }, { "bfloat16", PT_BF16 }, { "float16", PT_F16 },
		      { "float64", PT_F64 } };
	const char *s;
	int st = pt_json_str(json, "torch_dtype", NULL, &s, err);

	if (st == 0)
		st = pt_json_str(json, "dtype", s, &s, err);
	c->dtype = -1;
	for (size_t i = 0; st == 0 && s && i < sizeof types / sizeof types[0]; i++) {
		if (!strcmp(s, types[i].name))
			c->dtype = types[i].type;
	}
	return st;
}

int pt_config_read(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	int st;

	memset(c, 0, sizeof *c);
	c->json = json;
	if (!cJSON_IsObject(json))
		return pt_error(err, PT_DATA, "config.json is not an object");
	if ((st = find_family(c, json, err)) || (st = refuse(json, c->family, err)) ||
	    (st = read_sizes(c, json, err)) || (st = read_switches(c, json, err)) ||
	    (st = read_windows(c, json, err)) ||
	    (c->family->config && (st = c->family->config(c, json, err))) ||
	    (st = read_ids(c, json, err)) || (st = read_labels(c, json, err)) ||
	    (st = read_dtype(c, json, err))) {
		pt_config_release(c);
		return pt_error_prefix(err, "config.json");
	}
	set_windows(c);
	read_task(c, json);
	if (c->position == PT_POS_ROPE && (st = pt_config_rope(c, json, err)))
		pt_config_release(c);
	return st;
}

void pt_config_release(struct pt_config *c)
{
	for (int i = 0; c->label && i < c->num_labels; i++)
		free(c->label[i]);
	free(c->label);
	c->label = NULL;
	for (int i = 0; i < PT_MAX_ROPES; i++) {
		free(c->rope[i].ext[0]);
		c->rope[i].ext[0] = c->rope[i].ext[1] = NULL;
	}
	for (int i = 0; i < c->nstacks; i++) {
		free(c->stack[i].layer);
		c->stack[i].layer = NULL;
	}
	c->nstacks = 0;
}
