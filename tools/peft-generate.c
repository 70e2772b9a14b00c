/* SPDX-License-Identifier: MIT */
/*
 * peft-generate.c - prompts in, text out.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "data/sample.h"
#include "data/source.h"
#include "gen/generate.h"
#include "load.h"
#include "tool.h"

static const char *model, *device = "auto";
static int64_t threads, mem, seed, count = -1, max_tokens = 256, context = 4096, top_k;
static double temperature, top_p = 1;
static int dtype;
static bool json, score, ignore_eos, special;
static struct pt_opt_list adapters, prompts;

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "the base: a model directory or a name in the hub cache" },
	LOAD_OPTION_ADAPTERS(&adapters),
	{ .name = "prompt", .type = PT_OPT_LIST, .arg = "TEXT", .value = &prompts, .empty = true, .excludes = "score",
	  .help = "a prompt, instead of reading files; may be repeated" },
	{ .name = "max-tokens", .type = PT_OPT_INT, .arg = "N", .value = &max_tokens, .min = 1, .max = 1 << 30,
	  .help = "new tokens of a prompt, at most (256)" },
	{ .name = "temperature", .type = PT_OPT_FLOAT, .arg = "X", .value = &temperature, .min = 0, .max = 1e6,
	  .help = "draw tokens at this temperature; 0 takes the likeliest (0)" },
	{ .name = "top-k", .type = PT_OPT_INT, .arg = "N", .value = &top_k, .max = 1 << 30, .wants = "temperature",
	  .help = "draw from the N likeliest tokens; 0: from all (0)" },
	{ .name = "top-p", .type = PT_OPT_FLOAT, .arg = "P", .value = &top_p, .min = 1e-9, .max = 1,
	  .wants = "temperature",
	  .help = "draw from the likeliest tokens that reach probability P (1)" },
	{ .name = "seed", .letter = 's', .type = PT_OPT_INT, .arg = "N", .value = &seed, .max = 9e15,
	  .wants = "temperature", .help = "seed of the draws (0)" },
	{ .name = "count", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &count, .max = 9e15,
	  .help = "stop after N prompts" },
	{ .name = "json", .type = PT_OPT_FLAG, .value = &json, .excludes = "score",
	  .help = "write a JSON object a line: prompt, text, end" },
	{ .name = "score", .type = PT_OPT_FLAG, .value = &score,
	  .help = "write no text, but how often it equals the line's completion" },
	{ .name = "ignore-eos", .type = PT_OPT_FLAG, .value = &ignore_eos,
	  .help = "go on behind the end of text" },
	{ .name = "special", .type = PT_OPT_FLAG, .value = &special,
	  .help = "write special tokens too" },
	{ .name = "context", .type = PT_OPT_INT, .arg = "N", .value = &context, .min = 2, .max = 1 << 30,
	  .help = "positions to keep, prompt and text together (4096, or the model's)" },
	LOAD_OPTION_MEM(&mem), LOAD_OPTION_DTYPE(&dtype), LOAD_OPTION_DEVICE(&device), LOAD_OPTION_THREADS(&threads),
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-generate", "[options] -m DIR [FILE ...]",
	"Goes on behind prompts with a language model and its adapter.", opts
};

struct job {
	struct load l;
	struct pt_device *plan;
	struct pt_generator *gen;
	struct pt_encoder *enc;
	struct pt_encoding ids;
	struct pt_decoder dec;
	struct pt_buf text, line;	/* what was generated; the JSON */
	bool stream;			/* print as it comes */
	int64_t done, right, compared;
	struct pt_error err;		/* of a token that was handed out */
};

/* One token: its text may be held back until it is whole. */
static bool on_token(void *arg, int32_t id)
{
	struct job *j = arg;
	size_t from = j->text.len;

	if (pt_decoder_push(&j->dec, id, &j->text, &j->err))
		return false;
	if (j->stream && j->text.len > from) {
		fwrite(j->text.data + from, 1, j->text.len - from, stdout);
		fflush(stdout);
	}
	return true;
}

static int print_json(struct job *j, const struct pt_sample_text *prompt, const struct pt_sample_text *want,
		      enum pt_generate_end end, struct pt_error *err)
{
	static const char *const ends[] = { "eos", "max_tokens", "context", "stopped" };
	cJSON *o = cJSON_CreateObject();
	struct pt_buf s = PT_BUF_INIT;
	int st = 0;

	pt_buf_add(&s, prompt->s, prompt->n);
	pt_buf_char(&s, '\0');
	if (want->s) {
		pt_buf_add(&s, want->s, want->n);
		pt_buf_char(&s, '\0');
	}
	pt_buf_char(&j->text, '\0');
	st = pt_buf_check(&s, err);
	if (!st)
		st = pt_buf_check(&j->text, err);
	if (!st && (!o || !cJSON_AddStringToObject(o, "prompt", s.data) ||
		    (want->s && !cJSON_AddStringToObject(o, "completion", s.data + prompt->n + 1)) ||
		    !cJSON_AddStringToObject(o, "text", j->text.data) || !cJSON_AddStringToObject(o, "end", ends[end])))
		st = pt_error(err, PT_FAIL, "out of memory");
	pt_buf_clear(&j->line);
	if (!st) {
		pt_json_print(&j->line, o, 0);
		pt_buf_char(&j->line, '\n');
		st = pt_buf_check(&j->line, err);
	}
	if (!st) {
		fwrite(j->line.data, 1, j->line.len, stdout);
		fflush(stdout);
	}
	cJSON_Delete(o);
	pt_buf_release(&s);
	return st;
}

/* what names the prompt in messages. */
static int one(struct job *j, const struct pt_sample_text *prompt, const struct pt_sample_text *want,
	       const char *what, struct pt_error *err)
{
	enum pt_generate_end end = PT_END_EOS;
	int st = pt_encode(j->enc, prompt->s, prompt->n, PT_ENCODE_SPECIAL, 0, &j->ids, err);

	pt_buf_clear(&j->text);
	if (!st)
		st = pt_generate(j->gen, j->ids.ids, (int64_t)j->ids.n, (uint64_t)j->done, on_token, j, &end, err);
	if (!st && j->err.status) {
		*err = j->err;
		st = err->status;
	}
	if (!st) {
		size_t from = j->text.len;

		st = pt_decoder_flush(&j->dec, &j->text, err);
		if (j->stream && j->text.len > from)
			fwrite(j->text.data + from, 1, j->text.len - from, stdout);
	}
	if (st == PT_DATA || st == PT_NUMERIC)
		return pt_error_prefix(err, "%s", what);
	if (st)
		return st;
	j->done++;
	if (want->s) {
		j->compared++;
		j->right += want->n == j->text.len && !memcmp(want->s, j->text.data, want->n);
	}
	if (j->stream)
		putchar('\n');
	return json ? print_json(j, prompt, want, end, err) : 0;
}

static int from_line(struct job *j, const struct pt_line *l, struct pt_error *err)
{
	struct pt_sample s;
	const struct pt_sample_text *prompt;
	char what[300];
	int st = 0;

	snprintf(what, sizeof what, "%.250s:%lld", l->of->name, (long long)l->row);
	if (pt_sample_line(&s, l->of, l->text, l->n, what, err))
		return err->status;
	prompt = s.prompt.s ? &s.prompt : &s.text;
	if (!prompt->s)
		st = pt_error(err, PT_DATA, "%s: no \"prompt\" and no \"text\"", what);
	else if (score && !s.completion.s)
		st = pt_error(err, PT_DATA, "%s: no \"completion\" to compare with (--score)", what);
	else
		st = one(j, prompt, &s.completion, what, err);
	pt_sample_release(&s);
	return st;
}

static int from_files(struct job *j, const struct pt_tool *t, struct pt_error *err)
{
	static const struct pt_source_options plain;
	struct pt_source src;
	struct pt_block b;
	int st = pt_source_open(&src, (const char *const *)t->operand, t->noperands, &plain, err);

	while (!st && (count < 0 || j->done < count)) {
		st = pt_source_block(&src, &b, err);
		if (st || !b.n)
			break;
		for (size_t i = 0; i < b.n && !st && (count < 0 || j->done < count); i++)
			st = from_line(j, &b.line[i], err);
	}
	pt_source_close(&src);
	if (!st && !j->done && count)
		st = pt_source_none((const char *const *)t->operand, t->noperands, "no prompt: the input is empty", err);
	return st;
}

static int from_options(struct job *j, struct pt_error *err)
{
	const struct pt_sample_text none = { NULL, 0 };
	int st = 0;

	for (int i = 0; i < prompts.n && !st && (count < 0 || j->done < count); i++) {
		const struct pt_sample_text p = { prompts.item[i], strlen(prompts.item[i]) };

		st = one(j, &p, &none, "--prompt", err);
	}
	return st;
}

static int start(struct job *j, struct pt_error *err)
{
	const struct load_options lo = { .model = model, .adapter = adapters.item, .nadapters = adapters.n, .device = device,
		.threads = (int)threads, .text = true, .tokenizer = true };
	struct pt_generate_options o = {
		.sampling = { temperature, top_k, top_p, (uint64_t)seed }, .max_tokens = max_tokens,
		.max_length = context, .ignore_eos = ignore_eos,
	};
	int st = load_open(&j->l, &lo, err);

	if (st)
		return st;
	if (!j->l.tok)
		return pt_error(err, PT_DATA, "%s has no tokenizer (tokenizer.json, or vocab.json and merges.txt)", model);
	if (o.max_length > pt_model_max_len(j->l.model))
		o.max_length = pt_model_max_len(j->l.model);
	o.bf16 = load_bf16(&j->l, dtype);
	o.mem = load_mem(&j->l, mem);
	st = pt_device_plan(&j->plan, j->l.dev, err);
	if (!st)
		st = pt_encoder_new(&j->enc, j->l.tok, err);
	if (!st)
		st = pt_generator_new(&j->gen, j->l.model, j->plan, &o, err);
	pt_decoder_init(&j->dec, j->l.tok, !special);
	j->stream = !json && !score;
	return st;
}

static int run(struct job *j, const struct pt_tool *t, struct pt_error *err)
{
	int st;

	if (!model)
		return pt_error(err, PT_USAGE, "-m DIR is needed");
	if (prompts.n && t->noperands)
		return pt_error(err, PT_USAGE, "--prompt excludes files");
	st = start(j, err);
	if (!st)
		st = prompts.n ? from_options(j, err) : from_files(j, t, err);
	if (st || !score)
		return st;
	if (!j->compared)
		return pt_error(err, PT_DATA, "there is no prompt to score");
	printf("exact_match\t%.17g\nright\t%lld\nprompts\t%lld\n", (double)j->right / (double)j->compared,
	       (long long)j->right, (long long)j->compared);
	return 0;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct job j = { 0 };
	struct pt_tool t;
	int st;

	tool_init(&t, &spec, argc, argv);
	st = run(&j, &t, &err);
	if (!st)
		st = tool_finish(&err);
	if (st)
		tool_report(&err);
	pt_decoder_release(&j.dec);
	pt_encoding_release(&j.ids);
	pt_buf_release(&j.text);
	pt_buf_release(&j.line);
	pt_encoder_free(j.enc);
	pt_generator_free(j.gen);
	load_close(&j.l);
	if (j.plan)
		pt_device_close(j.plan);
	pt_opt_list_release(&adapters);
	pt_opt_list_release(&prompts);
	return st;
}
