/* SPDX-License-Identifier: MIT */
/*
 * bottleneck_config.c - the configuration of bottleneck adapters, BnConfig of
 * AdapterHub's library: its presets, the options that change a key, and what
 * the keys say.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/opt.h"
#include "model/config.h"
#include "peft/bottleneck.h"

const char pt_bottleneck_defaults[] =
	"{\"adapter_name\":\"default\",\"adapter_residual_before_ln\":false,\"auto_mapping\":null,"
	"\"base_model_name_or_path\":null,\"cross_adapter\":false,\"dropout\":0.0,\"factorized_phm_W\":true,"
	"\"factorized_phm_rule\":false,\"hypercomplex_nonlinearity\":\"glorot-uniform\",\"init_weights\":\"bert\","
	"\"init_weights_seed\":null,\"inv_adapter\":null,\"inv_adapter_reduction_factor\":null,\"is_parallel\":false,"
	"\"learn_phm\":true,\"leave_out\":[],\"ln_after\":false,\"ln_before\":false,\"mh_adapter\":false,\"modules_to_save\":null,"
	"\"non_linearity\":\"relu\","
	"\"original_ln_after\":true,\"original_ln_before\":false,\"output_adapter\":true,\"peft_type\":\"BOTTLENECK\",\"phm_bias\":true,"
	"\"phm_c_init\":\"normal\",\"phm_dim\":4,\"phm_init_range\":0.0001,\"phm_layer\":false,\"phm_rank\":1,"
	"\"reduction_factor\":16,\"residual_before_ln\":true,\"scaling\":1.0,\"shared_W_phm\":false,\"shared_phm_rule\":true,"
	"\"stochastic_depth\":0.0,\"task_type\":null,\"use_gating\":false}";

#define SEQ_BN "\"mh_adapter\":false,\"output_adapter\":true,\"original_ln_before\":true"
#define DOUBLE_SEQ_BN "\"mh_adapter\":true,\"output_adapter\":true,\"original_ln_before\":false"
#define INVERTED ",\"inv_adapter\":\"nice\",\"inv_adapter_reduction_factor\":2"
#define PAR_BN \
	"\"mh_adapter\":false,\"output_adapter\":true,\"non_linearity\":\"relu\",\"reduction_factor\":2," \
	"\"init_weights\":\"mam_adapter\",\"is_parallel\":true"
#define COMPACTER ",\"non_linearity\":\"gelu\",\"reduction_factor\":32,\"phm_layer\":true"

/* What the library's names stand for. */
static const struct {
	const char *name, *keys;
} presets[] = {
	{ "seq_bn", "{" SEQ_BN ",\"non_linearity\":\"relu\",\"reduction_factor\":16}" },
	{ "seq_bn_inv", "{" SEQ_BN ",\"non_linearity\":\"relu\",\"reduction_factor\":16" INVERTED "}" },
	{ "double_seq_bn", "{" DOUBLE_SEQ_BN ",\"non_linearity\":\"swish\",\"reduction_factor\":16}" },
	{ "double_seq_bn_inv", "{" DOUBLE_SEQ_BN ",\"non_linearity\":\"swish\",\"reduction_factor\":16" INVERTED "}" },
	{ "compacter", "{" DOUBLE_SEQ_BN COMPACTER "}" }, { "compacter++", "{" SEQ_BN COMPACTER "}" },
	{ "par_bn", "{" PAR_BN ",\"scaling\":4.0}" },
	{ "scaled_par_bn", "{" PAR_BN ",\"scaling\":\"learned\"}" },
};

enum { NPRESETS = sizeof presets / sizeof presets[0] };

const struct pt_option pt_bottleneck_options[] = {
	{ .name = "preset", .key = "preset", .kind = PT_OPTION_WORD, .arg = "NAME", .passing = true, .preset = "seq_bn",
	  .words = "seq_bn|pfeiffer=seq_bn|double_seq_bn|houlsby=double_seq_bn|par_bn|parallel=par_bn|scaled_par_bn|"
		   "scaled_parallel=scaled_par_bn|compacter|compacter++|seq_bn_inv|pfeiffer+inv=seq_bn_inv|"
		   "double_seq_bn_inv|houlsby+inv=double_seq_bn_inv",
	  .help = "a configuration by AdapterHub's name, which other options change: seq_bn (pfeiffer), double_seq_bn (houlsby), par_bn (parallel), scaled_par_bn, compacter, compacter++, seq_bn_inv, double_seq_bn_inv (seq_bn)" },
	{ .name = "adapter-name", .key = "adapter_name", .kind = PT_OPTION_TEXT, .arg = "NAME",
	  .help = "the adapter's name in its files (default)" },
	{ .name = "reduction-factor", .key = "reduction_factor", .kind = PT_OPTION_FLOAT, .arg = "X", .min = 1e-6, .max = 1e9,
	  .help = "how many times narrower than the model the bottleneck is (by preset)" },
	{ .name = "reduction-by-layer", .key = "reduction_factor", .kind = PT_OPTION_FLOAT_BY, .arg = "LAYER=X",
	  .help = "the same of one layer, or of all others (default=X); may be repeated" },
	{ .name = "non-linearity", .key = "non_linearity", .kind = PT_OPTION_TEXT, .arg = "NAME",
	  .help = "activation in the bottleneck (by preset)" },
	{ .name = "scaling", .key = "scaling", .kind = PT_OPTION_TEXT, .arg = "X",
	  .help = "factor on what is added: a number, learned, or channel (by preset)" },
	{ .name = "gating", .key = "use_gating", .kind = PT_OPTION_FLAG, .help = "a learned gate for each sequence" },
	{ .name = "dropout", .key = "dropout", .kind = PT_OPTION_FLOAT, .arg = "P", .min = 0, .max = 0.999,
	  .help = "dropout in the adapter (0)" },
	{ .name = "init", .key = "init_weights", .kind = PT_OPTION_WORD, .arg = "HOW",
	  .words = "bert|mam=mam_adapter|mam_adapter|houlsby", .help = "fresh values: bert, mam or houlsby (by preset)" },
	{ .name = "mh-adapter", .key = "mh_adapter", .kind = PT_OPTION_FLAG, .help = "adapters behind attention (by preset)" },
	{ .name = "output-adapter", .key = "output_adapter", .kind = PT_OPTION_FLAG,
	  .help = "adapters behind feed-forwards (by preset)" },
	{ .name = "cross-adapter", .key = "cross_adapter", .kind = PT_OPTION_FLAG, .help = "adapters behind cross attention" },
	{ .name = "parallel", .key = "is_parallel", .kind = PT_OPTION_FLAG,
	  .help = "adapters beside the sub-blocks instead of behind them (by preset)" },
	{ .name = "ln-before", .key = "ln_before", .kind = PT_OPTION_FLAG, .help = "a layer norm of its own before the bottleneck" },
	{ .name = "ln-after", .key = "ln_after", .kind = PT_OPTION_FLAG, .help = "a layer norm of its own behind the bottleneck" },
	{ .name = "adapter-residual-before-ln", .key = "adapter_residual_before_ln", .kind = PT_OPTION_FLAG,
	  .help = "that norm takes in the residual" },
	{ .name = "original-ln-before", .key = "original_ln_before", .kind = PT_OPTION_FLAG,
	  .help = "the model's residual and norm come before the adapter (by preset)" },
	{ .name = "original-ln-after", .key = "original_ln_after", .kind = PT_OPTION_FLAG,
	  .help = "they come behind it (yes)" },
	{ .name = "residual-before-ln", .key = "residual_before_ln", .kind = PT_OPTION_WORD, .arg = "HOW",
	  .words = "yes=true|no=false|post_add",
	  .help = "where its own residual begins, with --original-ln-before: before the sum (yes), behind it (post_add) or behind the norm (no)" },
	{ .name = "inv-adapter", .key = "inv_adapter", .kind = PT_OPTION_WORD, .arg = "KIND", .words = "nice|none=null",
	  .help = "an invertible adapter of the embeddings: nice or none (by preset)" },
	{ .name = "inv-reduction-factor", .key = "inv_adapter_reduction_factor", .kind = PT_OPTION_FLOAT, .arg = "X", .min = 1e-6,
	  .max = 1e9, .help = "how many times narrower than half the model its middle is (by preset)" },
	{ .name = "leave-out", .key = "leave_out", .kind = PT_OPTION_NUMBERS, .arg = "LIST", .help = "layers without adapters, as in 0-3,7" },
	PT_OPTION_SAVE_MODULES,
	{ 0 }
};

/* A number with a point: the library takes no other for one. */
static int set_float(cJSON *config, const char *key, double v, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	cJSON *number = cJSON_CreateNumber(v), *made = NULL;

	pt_json_print(&text, number, 0);
	cJSON_Delete(number);
	if (!pt_buf_check(&text, err)) {
		if (!strpbrk(text.data, ".e"))
			pt_buf_str(&text, ".0");
		if (!pt_buf_check(&text, err))
			made = pt_json_parse(text.data, text.len, 0, key, err);
	}
	pt_buf_release(&text);
	if (!made)
		return err->status;
	cJSON_DeleteItemFromObjectCaseSensitive(config, key);
	if (cJSON_AddItemToObject(config, key, made))
		return 0;
	cJSON_Delete(made);
	return pt_error(err, PT_FAIL, "out of memory");
}

static int expand(cJSON *config, const char *name, struct pt_error *err)
{
	for (int i = 0; i < NPRESETS; i++) {
		if (!strcmp(presets[i].name, name))
			return pt_adapter_config_complete(config, presets[i].keys, err);
	}
	return pt_error(err, PT_USAGE, "preset '%s' is not known", name);
}

int pt_bottleneck_preset(cJSON *config, struct pt_error *err)
{
	const cJSON *scaling = pt_json_get(config, "scaling");
	const char *name;
	double v;

	if (pt_json_str(config, "preset", NULL, &name, err) || (name && expand(config, name, err)))
		return err->status;
	cJSON_DeleteItemFromObjectCaseSensitive(config, "preset");
	if (cJSON_IsString(scaling) && strcmp(scaling->valuestring, "learned") != 0 &&
	    strcmp(scaling->valuestring, "channel") != 0) {
		if (pt_parse_double(scaling->valuestring, -1e9, 1e9, &v, err))
			return pt_error(err, PT_USAGE, "scaling '%s': a number, learned or channel", scaling->valuestring);
		return set_float(config, "scaling", v, err);
	}
	return cJSON_IsNumber(scaling) ? set_float(config, "scaling", scaling->valuedouble, err) : 0;
}

static int parse_scaling(struct pt_bottleneck *b, const cJSON *config, struct pt_error *err)
{
	const cJSON *v = pt_json_get(config, "scaling");

	b->scale = 1;
	if (!v || cJSON_IsNumber(v))
		b->scale = v ? (float)v->valuedouble : 1;
	else if (cJSON_IsString(v) && !strcmp(v->valuestring, "learned"))
		b->scaling = PT_SCALING_LEARNED;
	else if (cJSON_IsString(v) && !strcmp(v->valuestring, "channel"))
		b->scaling = PT_SCALING_CHANNEL;
	else
		return pt_error(err, PT_USAGE, "scaling: neither a number nor \"learned\" or \"channel\"");
	return 0;
}

static int parse_residual(struct pt_bottleneck *b, const cJSON *config, struct pt_error *err)
{
	const cJSON *v = pt_json_get(config, "residual_before_ln");

	if (!v || cJSON_IsTrue(v))
		b->residual = PT_RESIDUAL_OUTPUT;
	else if (cJSON_IsFalse(v))
		b->residual = PT_RESIDUAL_NORM;
	else if (cJSON_IsString(v) && !strcmp(v->valuestring, "post_add"))
		b->residual = PT_RESIDUAL_SUM;
	else
		return pt_error(err, PT_USAGE, "residual_before_ln: neither true, false nor \"post_add\"");
	return 0;
}

/* Before it had versions the library had other names for the two forms of GELU. */
static int parse_act(struct pt_adapter *a, struct pt_bottleneck *b, struct pt_error *err)
{
	bool old = !a->fresh && !pt_json_get(pt_json_get(a->config, "hub"), "version");
	const char *name;
	int act;

	if (pt_json_str(a->config, "non_linearity", NULL, &name, err))
		return err->status;
	if (!name)
		return pt_error(err, PT_USAGE, "non_linearity is missing");
	if (old && !strcmp(name, "gelu"))
		name = "gelu_new";
	else if (old && !strcmp(name, "gelu_orig"))
		name = "gelu";
	act = pt_act_parse(name);
	if (act < 0)
		return pt_error(err, PT_USAGE, "non_linearity '%s' is not supported", name);
	b->act = (enum pt_act)act;
	return 0;
}

static int parse_init(struct pt_bottleneck *b, const cJSON *config, struct pt_error *err)
{
	static const char *const names[] = { "bert", "mam_adapter", "houlsby" };
	const char *how;

	if (pt_json_int(config, "init_weights_seed", 0, INT64_C(1) << 53, -1, &b->seed, err) ||
	    pt_json_str(config, "init_weights", names[0], &how, err))
		return err->status;
	for (int i = PT_INIT_BERT; i <= PT_INIT_HOULSBY; i++) {
		if (!strcmp(names[i], how)) {
			b->init = (enum pt_bottleneck_init)i;
			return 0;
		}
	}
	return pt_error(err, PT_USAGE, "init_weights '%s': bert, mam_adapter and houlsby are known", how);
}

static int parse_flags(struct pt_bottleneck *b, const cJSON *config, struct pt_error *err)
{
	const struct {
		const char *key;
		bool def, needed, *to;
	} flags[] = {
		{ "mh_adapter", false, true, &b->at[PT_SUB_ATTENTION] }, { "output_adapter", false, true, &b->at[PT_SUB_FFN] },
		{ "cross_adapter", false, false, &b->at[PT_SUB_CROSS] }, { "is_parallel", false, false, &b->parallel },
		{ "original_ln_before", false, false, &b->original_before },
		{ "original_ln_after", true, false, &b->original_after }, { "ln_before", false, false, &b->ln_before },
		{ "ln_after", false, false, &b->ln_after }, { "use_gating", false, false, &b->gating },
		{ "adapter_residual_before_ln", false, false, &b->residual_first },
	};

	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		if (flags[i].needed && !pt_json_get(config, flags[i].key))
			return pt_error(err, PT_USAGE, "%s is missing", flags[i].key);
		if (pt_json_bool(config, flags[i].key, flags[i].def, flags[i].to, err))
			return err->status;
	}
	return 0;
}

/* What the library has, and this does not. */
static int check_supported(const struct pt_adapter *a, struct pt_error *err)
{
	double depth;

	if (pt_json_double(a->config, "stochastic_depth", 0, &depth, err))
		return err->status;
	if (depth > 0 && a->trainable)
		return pt_error(err, PT_USAGE, "stochastic_depth %g: not supported in training", depth);
	return 0;
}

static int parse_phm(struct pt_bottleneck *b, const cJSON *config, struct pt_error *err)
{
	bool phm, left, right, shared;
	const char *how;
	int64_t n;

	if (pt_json_bool(config, "phm_layer", false, &phm, err) || !phm)
		return err->status;
	if (pt_json_int(config, "phm_dim", 1, 64, 4, &n, err) || pt_json_int(config, "phm_rank", 1, 1 << 20, 1, &b->phm_rank, err) ||
	    pt_json_bool(config, "factorized_phm_W", true, &left, err) ||
	    pt_json_bool(config, "factorized_phm_rule", false, &right, err) ||
	    pt_json_bool(config, "shared_W_phm", false, &shared, err) ||
	    pt_json_bool(config, "phm_bias", true, &b->phm_bias, err) ||
	    pt_json_bool(config, "learn_phm", true, &b->phm_learn, err) ||
	    pt_json_bool(config, "shared_phm_rule", true, &b->phm_shared, err) ||
	    pt_json_double(config, "phm_init_range", 1e-4, &b->phm_range, err) ||
	    pt_json_str(config, "phm_c_init", "normal", &how, err))
		return err->status;
	if (right || shared)
		return pt_error(err, PT_USAGE, "%s true is not supported", right ? "factorized_phm_rule" : "shared_W_phm");
	if (strcmp(how, "normal") != 0 && strcmp(how, "uniform") != 0)
		return pt_error(err, PT_USAGE, "phm_c_init '%s': normal and uniform are known", how);
	b->phm = (int)n;
	b->phm_uniform = *how == 'u';
	if (!left)
		b->phm_rank = 0;
	return 0;
}

static int check_model(const struct pt_adapter *a, const struct pt_bottleneck *b, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	const char *type;
	int64_t width;

	if (!b->original_after && c->family->hub == PT_HUB_HOOKED)
		return pt_error(err, PT_USAGE, "original_ln_after false: models of type %s keep their residuals to themselves",
				c->family->model_type);
	if (b->parallel && b->at[PT_SUB_FFN] && c->form == PT_BLOCK_PARALLEL)
		return pt_error(err, PT_USAGE, "is_parallel with output_adapter: feed-forwards of models of type %s stand beside the attention already",
				c->family->model_type);
	if (pt_json_str(pt_json_get(a->config, "hub"), "model_type", c->family->model_type, &type, err) ||
	    pt_json_int(pt_json_get(a->config, "hub"), "hidden_size", 1, INT32_MAX, c->hidden, &width, err))
		return err->status;
	if (width != c->hidden)
		return pt_error(err, PT_USAGE, "hidden_size %lld: the model has %lld", (long long)width, (long long)c->hidden);
	if (strcmp(type, c->family->model_type) != 0)
		return pt_error(err, PT_USAGE, "model_type %s: the model is a %s", type, c->family->model_type);
	return 0;
}

int pt_bottleneck_parse(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_bottleneck *b = pt_calloc(1, sizeof *b, err);
	double dropout;

	a->state = b;
	if (!b || pt_json_str(a->config, "adapter_name", "default", &b->name, err) || parse_flags(b, a->config, err) ||
	    parse_act(a, b, err) || parse_scaling(b, a->config, err) || parse_residual(b, a->config, err) ||
	    parse_init(b, a->config, err) || pt_json_double(a->config, "dropout", 0, &dropout, err))
		return err->status;
	if (!*b->name || strpbrk(b->name, "./"))
		return pt_error(err, PT_USAGE, "the adapter's name '%s': a word without points", b->name);
	if (!(dropout >= 0 && dropout < 1))
		return pt_error(err, PT_USAGE, "dropout %g is not in [0, 1)", dropout);
	b->dropout = (float)dropout;
	b->reduction = pt_json_get(a->config, "reduction_factor");
	b->leave_out = pt_json_get(a->config, "leave_out");
	if (!cJSON_IsNumber(b->reduction) && !cJSON_IsObject(b->reduction))
		return pt_error(err, PT_USAGE, "reduction_factor: neither a number nor numbers by layer");
	if (b->leave_out && !cJSON_IsArray(b->leave_out))
		return pt_error(err, PT_USAGE, "leave_out: not a list of layers");
	return check_supported(a, err) || parse_phm(b, a->config, err) || pt_invert_parse(a, b, err) ? err->status : check_model(a, b, err);
}

int pt_bottleneck_layer(const struct pt_adapter *a, const struct pt_site *s)
{
	return s->stack > 0 ? s->layer + a->model->cfg.stack[0].layers : s->layer;
}

/* Python's d // r of floats. */
static double floor_div(double d, double r)
{
	double whole = (d - fmod(d, r)) / r, down = floor(whole);

	return whole - down > 0.5 ? down + 1 : down;
}

int pt_bottleneck_width(const struct pt_adapter *a, const struct pt_site *s, int64_t *k, struct pt_error *err)
{
	const struct pt_bottleneck *b = a->state;
	const cJSON *v = b->reduction;
	int layer = pt_bottleneck_layer(a, s);
	double r;

	if (cJSON_IsObject(v)) {
		char *key = pt_format(err, "%d", layer);

		v = key ? pt_json_get(b->reduction, key) : NULL;
		free(key);
		if (!v)
			v = pt_json_get(b->reduction, "default");
		if (!v)
			return pt_error(err, PT_USAGE, "reduction_factor has neither layer %d nor a default", layer);
	}
	r = cJSON_IsNumber(v) ? v->valuedouble : 0;
	if (!(r > 0) || s->in / r > INT32_MAX)
		return pt_error(err, PT_USAGE, "reduction_factor of layer %d is no number above 0", layer);
	*k = (int64_t)floor_div((double)s->in, r);
	*k = *k < 1 ? 1 : *k;
	if (b->phm && (*k % b->phm || s->in % b->phm))
		return pt_error(err, PT_USAGE, "phm_dim %d divides not both widths, %lld and %lld: see reduction_factor", b->phm,
				(long long)s->in, (long long)*k);
	return 0;
}
