/* SPDX-License-Identifier: MIT */
/*
 * peft-tokenize.c - text to examples.
 */
#include <omp.h>
#include <stdlib.h>

#include "data/facts.h"
#include "data/tokenize.h"
#include "filter.h"
#include "io/modeldir.h"
#include "labels.h"
#include "peft/adapter.h"

static struct pt_tokenize_options o = { .record = 1 << 20 };
static const char *model, *tokenizer, *labels, *task = "auto", *output = "-";
static struct pt_opt_list adapters, paths;
static int64_t max_length, max_target, reserve, threads, record = 1 << 20;
static int format;
static bool chunk_given, length_given, reserve_given, stride_given, whole, zstd, eos_given, eos = true;

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "model, or a directory with its tokenizer files" },
	{ .name = "adapter", .letter = 'a', .type = PT_OPT_LIST, .arg = "DIR", .value = &adapters,
	  .help = "adapter that knows the task, its labels and virtual tokens; repeated: one on the other" },
	{ .name = "tokenizer", .type = PT_OPT_STRING, .arg = "DIR|FILE", .value = &tokenizer,
	  .help = "another tokenizer than the model's" },
	{ .name = "format", .type = PT_OPT_CHOICE, .arg = "FORMAT", .value = &format, .choices = "auto|jsonl|text|tsv|csv",
	  .help = "of the input: auto, jsonl, text, tsv, csv (auto)" },
	{ .name = "columns", .type = PT_OPT_STRING, .arg = "A,B|NEW=OLD,...", .value = &o.source.columns,
	  .help = "names of the columns of TSV and CSV files that have no header, or other names" },
	{ .name = "path", .type = PT_OPT_LIST, .arg = "PATTERN", .value = &paths,
	  .help = "read only these files and members; {label} in it is the class" },
	{ .name = "unpacked", .type = PT_OPT_INT, .arg = "BYTES", .value = &o.source.unpacked, .min = 1, .max = 9e18,
	  .help = "what a file may unpack to (256Mi, or 200 times its size)" },
	{ .name = "whole", .type = PT_OPT_FLAG, .value = &whole,
	  .help = "a text file is one text, not one a line" },
	{ .name = "task", .type = PT_OPT_STRING, .arg = "TASK", .value = &task,
	  .help = "auto, lm, class, regression, multilabel, token-class, mlm, seq2seq, qa, contrastive (auto)" },
	{ .name = "labels", .type = PT_OPT_STRING, .arg = "A,B|FILE", .value = &labels,
	  .help = "names of the classes, in order; or a file with one a line" },
	{ .name = "max-length", .type = PT_OPT_INT, .arg = "N", .value = &max_length, .min = 1, .max = 1e8,
	  .given = &length_given, .help = "longest example; what is longer is cut (at most 1024)" },
	{ .name = "max-target", .type = PT_OPT_INT, .arg = "N", .value = &max_target, .min = 1, .max = 1e8,
	  .help = "seq2seq: longest target (as --max-length)" },
	{ .name = "chunk", .type = PT_OPT_INT, .arg = "N", .value = &o.maker.chunk, .min = 1, .max = 1e8,
	  .given = &chunk_given, .excludes = "max-length", .help = "make examples of at most N tokens of a long text" },
	{ .name = "stride", .type = PT_OPT_INT, .arg = "N", .value = &o.maker.stride, .max = 1e8,
	  .given = &stride_given, .help = "tokens that a piece repeats of the one before, as context (0; qa: 128)" },
	{ .name = "reserve", .type = PT_OPT_INT, .arg = "N", .value = &reserve, .max = 1e8,
	  .given = &reserve_given, .help = "leave room for N virtual tokens (those of the adapter)" },
	{ .name = "eos", .type = PT_OPT_FLAG, .value = &eos, .negatable = true, .given = &eos_given,
	  .help = "end texts and completions in a learned EOS (yes)" },
	{ .name = "replace", .type = PT_OPT_FLAG, .value = &o.maker.replace,
	  .help = "put U+FFFD for invalid UTF-8" },
	{ .name = "skip-bad", .type = PT_OPT_FLAG, .value = &o.skip_bad, .help = "count bad lines instead of failing" },
	{ .name = "split-special", .type = PT_OPT_FLAG, .value = &o.maker.split_special,
	  .help = "special tokens typed in a text are text" },
	{ .name = "count", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &o.limit, .min = 1, .max = 9e15,
	  .help = "stop after N examples" },
	{ .name = "record", .type = PT_OPT_INT, .arg = "BYTES", .value = &record, .min = 1, .max = 1 << 28,
	  .help = "size of a record; 1: an example a record (1Mi)" },
	{ .name = "threads", .letter = 'j', .type = PT_OPT_INT, .arg = "N", .value = &threads, .max = 1024,
	  .help = "threads (as many as there are cores)" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &output,
	  .help = "write to FILE instead of standard output" },
	{ .name = "zstd", .letter = 'z', .type = PT_OPT_FLAG, .value = &zstd, .help = "compress each record" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-tokenize", "-m DIR [options] [FILE ...]", "Makes examples of text, JSON lines, TSV, CSV, and archives of them.", opts
};

/* Where task and labels come from: options, then the adapter, then the model. */
struct setting {
	struct pt_tokenizer *tok;
	struct pt_facts facts;
	struct pt_classes given;
};

/* Virtual tokens of a stack add up; its last adapter knows the rest. */
static int read_adapter(struct setting *s, const char *dir, bool last, struct pt_error *err)
{
	struct pt_adapter_info info;

	if (pt_adapter_peek(dir, &info, err))
		return err->status;
	if (!reserve_given)
		reserve += info.front;
	/* What a class head learns, one class or several or a number, the labels tell. */
	if (last && o.maker.task.task == PT_TASK_NONE && !pt_task_labels(info.task))
		o.maker.task.task = info.task;
	if (last && info.task != PT_TASK_NONE)
		o.maker.fallback = pt_maker_task_of(info.task, PT_PROBLEM_UNSET);
	for (int i = 0; last && info.labels && i < info.nlabels && !labels && !err->status; i++)
		pt_classes_add(&s->given, info.labels[i], err);
	pt_adapter_info_release(&info);
	return err->status;
}

static int read_labels(struct setting *s, struct pt_error *err)
{
	char **list;
	int n;

	o.maker.fallback = s->facts.task;
	if (labels && labels_parse(labels, &list, &n, err))
		return err->status;
	for (int i = 0; labels && i < n && !err->status; i++)
		pt_classes_add(&s->given, list[i], err);
	if (labels)
		labels_free(list, n);
	if (err->status == PT_DATA)
		err->status = PT_USAGE;		/* a name that no class may have */
	if (err->status)
		return err->status;
	for (int i = 0; i < adapters.n; i++)
		if (read_adapter(s, adapters.item[i], i == adapters.n - 1, err))
			return err->status;
	o.maker.labels = s->given.n ? &s->given : s->facts.labels.n ? &s->facts.labels : NULL;
	return 0;
}

/* Learned ends, second lengths, names of classes: of some tasks alone. */
static void set_only(void)
{
	const unsigned texts = 1u << PT_TASK_CAUSAL_LM | 1u << PT_TASK_SEQ2SEQ_LM;
	const unsigned classes = 1u << PT_TASK_SEQ_CLS | 1u << PT_TASK_TOKEN_CLS;
	static struct pt_maker_only only[4];

	only[0] = (struct pt_maker_only){ "--max-target", max_target > 0, 1u << PT_TASK_SEQ2SEQ_LM };
	only[1] = (struct pt_maker_only){ "--eos", eos_given && eos, texts };
	only[2] = (struct pt_maker_only){ "--labels", labels != NULL, classes };
	o.maker.only = only;
}

static int set_lengths(const struct setting *s, struct pt_error *err)
{
	int64_t limit = pt_facts_max_length(&s->facts, s->tok, reserve), positions = s->facts.positions;
	int64_t asked = chunk_given ? o.maker.chunk : max_length;

	if (limit < 1)
		return pt_error(err, PT_USAGE, "--reserve %lld leaves no room in %lld positions", (long long)reserve,
				(long long)(limit + reserve));
	if (positions && asked > positions - reserve)
		tool_warn("examples of %lld tokens: the model has %lld positions%s", (long long)asked,
			  (long long)positions, reserve ? ", less --reserve" : "");
	if (!stride_given)
		o.maker.stride = -1;
	o.maker.max_length = chunk_given ? o.maker.chunk : length_given ? max_length : limit;
	o.maker.max_target = max_target ? max_target : o.maker.max_length;
	return 0;
}

static void set_eos(const struct setting *s)
{
	int32_t id = pt_tokenizer_named(s->tok, PT_TOKEN_EOS);

	if (id < 0 && s->facts.eos <= pt_tokenizer_max_id(s->tok))
		id = s->facts.eos;
	o.maker.eos = eos ? id : -1;
}

static int settings(struct setting *s, struct pt_error *err)
{
	char *dir = NULL;

	if (!model && !tokenizer)
		return pt_error(err, PT_USAGE, "-m DIR names the model whose tokenizer is used");
	if (pt_maker_task_parse(&o.maker.task, task, err))
		return err->status;
	if (whole && format != PT_SOURCE_AUTO && format != PT_SOURCE_TEXT)
		return pt_error(err, PT_USAGE, "--whole is for text, and --format says that this is none");
	o.source.format = whole ? PT_SOURCE_WHOLE : (enum pt_source_format)format;
	if (pt_patterns_init(&o.source.path, paths.item, paths.n, err))
		return err->status;
	o.record = (size_t)record;
	o.threads = threads ? (int)threads : omp_get_max_threads();
	if (model) {
		bool hub;

		dir = pt_modeldir_resolve(model, &hub, err);
		if (!dir)
			return err->status;
	}
	if (!dir || !pt_facts_read(&s->facts, dir, err)) {
		if (!tokenizer && !pt_tokenizer_exists(dir))
			pt_error(err, PT_DATA, "%s: no tokenizer there (tokenizer.json, vocab.json + merges.txt or vocab.txt); "
				 "--tokenizer names another", dir);
		else if (!pt_tokenizer_open(&s->tok, tokenizer ? tokenizer : dir, err) && !read_labels(s, err))
			set_lengths(s, err);
	}
	free(dir);
	if (!err->status)
		set_eos(s);
	set_only();
	o.maker.tok = s->tok;
	return err->status;
}

static void say_counts(const struct pt_tokenize_counts *c)
{
	if (c->bad)
		tool_warn("%lld bad lines passed over; the first: %s", (long long)c->bad, c->first_bad.msg);
	if (c->maker.dropped)
		tool_warn("%lld examples dropped: nothing would be learned of them", (long long)c->maker.dropped);
	pt_log(PT_FACT, "%lld examples, %lld tokens, %lld cut at %lld tokens", (long long)c->examples,
	       (long long)c->tokens, (long long)c->maker.cut, (long long)o.maker.max_length);
}

int main(int argc, char **argv)
{
	struct pt_writer_options out = { .tool = "peft-tokenize", .kind = "examples" };
	struct setting s = { .facts = { .eos = -1 } };
	struct pt_tokenize_counts counts;
	struct pt_error err = PT_ERROR_INIT;
	struct pt_writer *w = NULL;
	struct pt_tool t;
	int status;

	tool_init(&t, &spec, argc, argv);
	if (tool_check_output(output, &err) || tool_check_same(output, t.operand, t.noperands, &err))
		return tool_report(&err);
	out.path = output;
	out.zstd = zstd;
	tool_catch_signals_briefly();
	/* The output first: who reads it learns by FAIL what is wrong. */
	if (!pt_writer_open(&w, &out, &err) && !settings(&s, &err) &&
	    !pt_tokenize_run(&o, (const char *const *)t.operand, t.noperands, w, &counts, &err))
		say_counts(&counts);
	status = filter_end(w, NULL, 0, &err);
	pt_tokenizer_close(s.tok);
	pt_classes_release(&s.given);
	pt_facts_release(&s.facts);
	pt_patterns_release(&o.source.path);
	pt_opt_list_release(&adapters);
	pt_opt_list_release(&paths);
	return status;
}
