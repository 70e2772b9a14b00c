/* SPDX-License-Identifier: MIT */
/*
 * peft-step.c - micro-batches to a trained adapter.
 */
#include <limits.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "load.h"
#include "report.h"
#include "tool.h"
#include "train/loop.h"
#include "trial.h"

static struct {
	const char *model, *output, *device, *eval;
	struct pt_opt_list adapters;
	double lr, warmup_ratio, decay, beta1, beta2, eps, clip, loraplus, loraplus_embedding, router_loss, save_minutes;
	int64_t warmup, steps, mem, recompute, eval_steps, patience, save_steps, keep, seed, threads;
	int schedule, dtype;
	bool ratio_given, recompute_given, plan, dry_run, other_tokenizer,
		loraplus_given, router_given, lorafa;
} o = {
	.device = "auto", .lr = 5e-5, .schedule = PT_SCHEDULE_LINEAR, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
	.clip = 1, .loraplus_embedding = 1e-6, .router_loss = -1, .recompute = INT_MAX, .save_minutes = 10, .keep = 2,
};

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &o.model,
	  .help = "the base model" },
	{ .name = "adapter", .letter = 'a', .type = PT_OPT_LIST, .arg = "DIR", .value = &o.adapters,
	  .help = "the adapter to start from (peft-init); repeated: the last, on the others, which stand still" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "DIR", .value = &o.output,
	  .help = "the trained adapter, and checkpoints on the way" },
	{ .name = "lr", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.lr, .max = 1e9,
	  .help = "learning rate (5e-5)" },
	{ .name = "schedule", .type = PT_OPT_CHOICE, .arg = "NAME", .value = &o.schedule,
	  .choices = PT_SCHEDULE_CHOICES, .help = "of the rate: constant, linear or cosine (linear)" },
	{ .name = "warmup", .type = PT_OPT_INT, .arg = "N", .value = &o.warmup, .max = 9e15,
	  .help = "steps in which the rate rises from 0 (0)" },
	{ .name = "warmup-ratio", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.warmup_ratio, .max = 1,
	  .given = &o.ratio_given, .excludes = "warmup", .help = "the same as a share of all steps" },
	{ .name = "steps", .type = PT_OPT_INT, .arg = "N", .value = &o.steps, .min = 1, .max = 9e15,
	  .help = "end after N steps; the schedule is for as many" },
	{ .name = "weight-decay", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.decay, .max = 1e9,
	  .help = "of AdamW, not on biases and norms (0)" },
	{ .name = "beta1", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.beta1, .max = 0.999999999,
	  .help = "of AdamW (0.9)" },
	{ .name = "beta2", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.beta2, .max = 0.999999999,
	  .help = "of AdamW (0.999)" },
	{ .name = "eps", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.eps, .max = 1e9,
	  .help = "of AdamW (1e-8)" },
	{ .name = "clip", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.clip, .max = 1e30,
	  .help = "largest norm of the gradient; 0: no clipping (1)" },
	{ .name = "loraplus", .type = PT_OPT_FLOAT, .arg = "RATIO", .value = &o.loraplus, .min = 1e-9, .max = 1e9,
	  .given = &o.loraplus_given, .help = "LoRA+: rate of B and of vectors, in units of --lr" },
	{ .name = "loraplus-embedding", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.loraplus_embedding, .max = 1e9,
	  .wants = "loraplus", .help = "LoRA+: rate of an adapted embedding (1e-6)" },
	{ .name = "router-loss", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.router_loss, .max = 1e6, .optional = true,
	  .given = &o.router_given, .help = "keep the experts of a mixture in balance: factor of that loss (by model)" },
	{ .name = "lora-fa", .type = PT_OPT_FLAG, .value = &o.lorafa,
	  .help = "LoRA-FA: A stands still, the gradient of B is turned to what full training's step is nearest to" },
	LOAD_OPTION_MEM(&o.mem),
	{ .name = "recompute", .type = PT_OPT_INT, .arg = "N", .value = &o.recompute, .max = 1e9, .optional = true,
	  .given = &o.recompute_given,
	  .help = "keep one tensor of N layers (all) and compute the rest again (as many as it takes to fit)" },
	{ .name = "eval", .type = PT_OPT_STRING, .arg = "FILE", .value = &o.eval,
	  .help = "batches to evaluate on; the best state becomes the result" },
	{ .name = "eval-steps", .type = PT_OPT_INT, .arg = "N", .value = &o.eval_steps, .min = 1, .max = 9e15,
	  .wants = "eval", .help = "evaluate every N steps (a tenth of all)" },
	{ .name = "patience", .type = PT_OPT_INT, .arg = "N", .value = &o.patience, .min = 1, .max = 9e15,
	  .wants = "eval", .help = "end after N evaluations without a better loss" },
	{ .name = "save-steps", .type = PT_OPT_INT, .arg = "N", .value = &o.save_steps, .min = 1, .max = 9e15,
	  .help = "save every N steps" },
	{ .name = "save-minutes", .type = PT_OPT_FLOAT, .arg = "F", .value = &o.save_minutes, .max = 1e9,
	  .help = "save every F minutes; 0: not by time (10)" },
	{ .name = "keep", .type = PT_OPT_INT, .arg = "N", .value = &o.keep, .min = 1, .max = 1e6,
	  .help = "keep the newest N checkpoints, and the best (2)" },
	LOAD_OPTION_DTYPE(&o.dtype),
	{ .name = "plan", .type = PT_OPT_FLAG, .value = &o.plan, .help = "print the memory it takes, train nothing" },
	{ .name = "dry-run", .type = PT_OPT_FLAG, .value = &o.dry_run, .excludes = "plan",
	  .help = "one micro-batch: show its first example and the loss, change nothing" },
	{ .name = "other-tokenizer", .type = PT_OPT_FLAG, .value = &o.other_tokenizer,
	  .help = "take a stream that was made with another tokenizer than the model's" },
	{ .name = "seed", .letter = 's', .type = PT_OPT_INT, .arg = "SEED", .value = &o.seed, .max = 9e15,
	  .help = "of dropout (0)" },
	LOAD_OPTION_DEVICE(&o.device), LOAD_OPTION_THREADS(&o.threads),
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-step", "-m DIR -a DIR ... -o DIR [options] [FILE ...]",
	"Trains an adapter on micro-batches, step by step; saves on the way and goes on where it was.", opts
};

struct step_tool {
	struct pt_tool t;
	struct pt_reader *in;
	const struct pt_record *head;
	struct load_options where;
	struct load load;
	struct pt_device *plan;
	struct pt_step step;
	struct pt_loop loop;
	struct report report;
	struct pt_buf options;
	int lock;
	bool made;			/* the output directory, now */
	bool reads;			/* the input is being read: a failure may be its */
	struct pt_loop_options lo;
};

static int check_usage(const struct step_tool *s, struct pt_error *err)
{
	bool trains = !o.plan && !o.dry_run;

	if (!o.model || !o.adapters.n || (trains && !o.output))
		return pt_error(err, PT_USAGE, "%s is missing", !o.model ? "-m, the base model," :
				!o.adapters.n ? "-a, the adapter to start from," : "-o, where the trained adapter goes,");
	for (int i = 0; trains && i < o.adapters.n; i++)
		if (load_same(o.output, o.adapters.item[i]))
			return pt_error(err, PT_USAGE, "-o %s is the directory of -a: a run needs a place of its own", o.output);
	if (trains && load_same(o.output, o.model))
		return pt_error(err, PT_USAGE, "-o %s is the directory of -m: a run needs a place of its own", o.output);
	return tool_check_input(s->t.operand, s->t.noperands, err);
}

/* Steps of the run, and the schedule over them. */
static int find_schedule(struct step_tool *s, struct pt_error *err)
{
	struct pt_schedule *sc = &s->lo.schedule;
	int64_t total;

	if (pt_loop_total(s->head, &total, err))
		return err->status;
	if (o.steps && total && o.steps > total)
		tool_warn("--steps is %lld, the stream has %lld: the run ends there, in the middle of the schedule",
			  (long long)o.steps, (long long)total);
	if (o.steps)
		total = o.steps;
	if (total && o.warmup >= total)
		tool_warn("--warmup %lld is all of the %lld steps: the rate never reaches --lr", (long long)o.warmup,
			  (long long)total);
	*sc = (struct pt_schedule){ .kind = (enum pt_schedule_kind)o.schedule, .lr = o.lr, .warmup = o.warmup,
				    .total = total };
	if (!total && sc->kind != PT_SCHEDULE_CONSTANT)
		return pt_error(err, PT_USAGE, "the stream does not tell how many steps it has, and the %s schedule needs it: give --steps N or --schedule constant",
				sc->kind == PT_SCHEDULE_LINEAR ? "linear" : "cosine");
	if (!total && o.ratio_given)
		return pt_error(err, PT_USAGE, "the stream does not tell how many steps it has: give --warmup N, or --steps N");
	if (o.ratio_given)
		sc->warmup = pt_schedule_warmup(o.warmup_ratio, total);
	s->lo.eval_steps = o.eval_steps ? o.eval_steps : total ? (total + 9) / 10 : 500;
	return 0;
}

/* Shortest decimal that is the same double. */
static void put_number(struct pt_buf *b, const char *key, double v)
{
	char text[40];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	pt_buf_printf(b, "%s=%s ", key, text);
}

/* What changes the result, in one spelling. */
static int put_options(struct step_tool *s, struct pt_error *err)
{
	static const char *const dtypes[] = { "auto", "f32", "bf16" };
	static const char *const schedules[] = { "constant", "linear", "cosine" };
	struct pt_buf *b = &s->options;

	put_number(b, "lr", o.lr);
	pt_buf_printf(b, "schedule=%s warmup=%lld ", schedules[o.schedule], (long long)s->lo.schedule.warmup);
	if (o.steps)
		pt_buf_printf(b, "steps=%lld ", (long long)o.steps);
	put_number(b, "weight-decay", o.decay);
	put_number(b, "beta1", o.beta1);
	put_number(b, "beta2", o.beta2);
	put_number(b, "eps", o.eps);
	put_number(b, "clip", o.clip);
	if (o.loraplus_given) {
		put_number(b, "loraplus", o.loraplus);
		put_number(b, "loraplus-embedding", o.loraplus_embedding);
	}
	if (s->load.model->router_loss > 0)
		put_number(b, "router-loss", s->load.model->router_loss);
	if (o.lorafa)
		pt_buf_printf(b, "lora-fa ");
	if (o.eval)
		pt_buf_printf(b, "eval-steps=%lld ", (long long)s->lo.eval_steps);
	if (o.patience)
		pt_buf_printf(b, "patience=%lld ", (long long)o.patience);
	pt_buf_printf(b, "dtype=%s seed=%lld", dtypes[o.dtype], (long long)o.seed);
	return pt_buf_check(b, err);
}

/* Before anything is created: a name that was mistyped leaves nothing behind. */
static int find_model(struct step_tool *s, struct pt_error *err)
{
	s->where = (struct load_options){ .model = o.model, .adapter = o.adapters.item,
					  .nadapters = o.adapters.n, .device = o.device,
					  .threads = (int)o.threads, .trainable = true,
					  .other_tokenizer = o.other_tokenizer, .tokenizer = o.dry_run };
	return load_find(&s->load, &s->where, err);
}

/* As config.json asks, unless the option says otherwise. */
static int set_router_loss(struct pt_model *m, struct pt_error *err)
{
	m->router_loss = pt_model_router_factor(m);
	if (!o.router_given)
		return 0;
	if (!m->cfg.experts)
		return pt_error(err, PT_USAGE, "--router-loss: %s has no experts", o.model);
	m->router_loss = o.router_loss < 0 ? m->cfg.router_loss : o.router_loss;
	if (m->router_loss <= 0 && o.router_loss < 0)
		return pt_error(err, PT_USAGE, "router_aux_loss_coef of %s is 0: give --router-loss=F", o.model);
	return 0;
}

/* How much there is to train in, and how much of the forward pass may be done twice for its sake. */
static void set_memory(struct step_tool *s)
{
	int blocks = pt_model_blocks(s->load.model);

	s->lo.limit = load_mem(&s->load, o.mem);
	if (o.recompute_given)
		s->load.model->recompute = o.recompute < blocks ? (int)o.recompute : blocks;
	else
		s->step.recompute_max = blocks;
}

static int open_model(struct step_tool *s, struct pt_error *err)
{
	struct pt_adamw adamw = { .beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .decay = o.decay,
				  .clip = o.clip };

	s->where.head = s->head;
	if (load_found(&s->load, &s->where, err) ||
	    pt_device_plan(&s->plan, s->load.dev, err))
		return err->status;
	pt_log(PT_FACT, "%s: %s", s->load.dev->name, s->load.dev->path);
	if (o.lr == 0)
		tool_warn("--lr 0 learns nothing");
	if (o.loraplus_given &&
	    pt_adapter_loraplus(s->load.adapter, o.loraplus, o.lr > 0 ? o.loraplus_embedding / o.lr : 0, err))
		return err->status;
	if (set_router_loss(s->load.model, err))
		return err->status;
	if (o.lorafa && pt_adapter_lorafa(s->load.adapter, err))
		return err->status;
	s->load.feed.seed = (uint64_t)o.seed;
	if (pt_step_init(&s->step, s->load.model, s->load.adapter, &s->load.adapter->params, s->load.dev, s->plan,
			 &s->load.feed, &adamw, load_bf16(&s->load, o.dtype), err))
		return err->status;
	set_memory(s);
	return 0;
}

static int asked_to_stop(void *arg)
{
	(void)arg;
	return tool_signal();
}

static int on_metric(void *arg, const struct pt_history *h, size_t i, bool again, struct pt_error *err)
{
	struct step_tool *s = arg;

	return report_row(&s->report, h, i, again, err);
}

static int train(struct step_tool *s, struct pt_error *err)
{
	struct pt_loop_options *lo = &s->lo;
	const char *total = pt_st_meta(&s->head->st, "total_steps");

	lo->out = o.output;
	lo->tool = "peft-step";
	lo->options = s->options.data;
	lo->steps = o.steps;
	lo->eval = o.eval;
	lo->patience = o.patience;
	lo->save_steps = o.save_steps;
	lo->save_seconds = o.save_minutes * 60;
	lo->keep = (int)o.keep;
	lo->loose_bounds = !total;
	lo->base = s->load.base_digest;
	lo->stop = asked_to_stop;
	lo->metric = on_metric;
	lo->arg = s;
	if (pt_loop_open(&s->loop, lo, &s->step, s->in, err))
		return err->status;
	if (s->loop.resumed)
		pt_log(PT_FACT, "going on after step %lld", (long long)s->loop.resumed);
	report_head(&s->report, s->head, s->options.data, lo->schedule.total);
	s->reads = true;
	return pt_loop_run(&s->loop, err);
}

static int run(struct step_tool *s, struct pt_error *err)
{
	bool trains = !o.plan && !o.dry_run;

	if (trains && report_open(&s->report, s->t.quiet, err))
		return err->status;
	if (check_usage(s, err) || find_model(s, err) || (trains && pt_loop_lock(o.output, &s->lock, &s->made, err)))
		return err->status;
	s->reads = true;
	if (pt_reader_open(&s->in, (const char *const *)s->t.operand, s->t.noperands, "batch", 0, err) ||
	    pt_reader_head(s->in, &s->head, err))
		return err->status;
	s->reads = false;
	if (pt_loop_some(s->head, pt_reader_name(s->in), err))
		return err->status;
	if (find_schedule(s, err) || open_model(s, err) || put_options(s, err))
		return err->status;
	if (o.plan)
		return trial_plan(&s->step, s->head, o.eval, &s->load, s->lo.schedule.total, s->lo.limit, err);
	s->reads = o.dry_run;
	if (o.dry_run)
		return trial_step(&s->step, s->in, &s->load, s->lo.limit, err);
	return train(s, err);
}

/* The input broke off: perhaps by the signal that stops the whole pipeline, and ours is on its way. */
static int wait_for_signal(void)
{
	struct timespec left = { 1, 0 };

	while (!tool_signal() && nanosleep(&left, &left))
		;
	return tool_signal();
}

static bool is_stop_name(const char *name)
{
	static const int stops[] = { SIGTERM, SIGHUP, SIGUSR1, SIGINT };

	for (size_t i = 0; name && i < sizeof stops / sizeof *stops; i++)
		if (!strcmp(name, tool_signal_name(stops[i])))
			return true;
	return false;
}

/* The status a bad end has, after waiting for a signal that explains it; *sig is the signal or 0. */
static void judge(const struct step_tool *s, struct pt_error *err, int *sig)
{
	const char *upstream = s->in && pt_reader_failed(s->in) ? pt_reader_fail_signal(s->in) : NULL;
	long long step = (long long)s->loop.saved;
	char place[1200] = "nothing was saved";
	struct pt_error cause = *err;

	if (step)
		snprintf(place, sizeof place, "step %lld is saved in %s, the same command goes on from there", step,
			 o.output);
	*sig = s->reads && cause.status == PT_DATA ? wait_for_signal() : tool_signal();
	if (*sig && cause.status == PT_STOPPED)
		pt_error(err, PT_STOPPED, "stopped by %s: %s", tool_signal_name(*sig), place);
	else if (*sig)
		pt_error(err, PT_STOPPED, "stopped by %s: %s; before that: %s", tool_signal_name(*sig), place, cause.msg);
	else if (err->status == PT_DATA && is_stop_name(upstream))
		pt_error(err, PT_STOPPED, "the input was stopped by %s: %s", upstream, place);
	else if (step && err->status == PT_DATA)
		pt_error_add(err, "; %s", place);
}

static void say_end(const struct step_tool *s)
{
	const struct pt_loop *l = &s->loop;

	if (l->finished_before)
		pt_log(PT_FACT, "%s was finished at step %lld: left alone", o.output, (long long)l->at.step);
	if (l->at.best_step)
		pt_log(PT_FACT, "the best evaluation was at step %lld of %lld, loss %.6g%s", (long long)l->at.best_step,
		       (long long)l->at.step, l->at.best_loss, l->early ? "; none was better after it" : "");
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct step_tool s = { .lock = -1 };
	int64_t saved;
	int sig = 0, status;

	tool_init(&s.t, &spec, argc, argv);
	tool_catch_signals();
	/* Metrics that nobody reads do not end the training. */
	signal(SIGPIPE, SIG_IGN);
	status = run(&s, &err);
	if (status)
		judge(&s, &err, &sig);
	else
		say_end(&s);
	report_close(&s.report, s.in, s.loop.limited, &err, sig ? tool_signal_name(sig) : NULL);
	if (!status && s.loop.limited)
		pt_reader_drain(s.in);
	status = err.status ? tool_report(&err) : 0;
	if (!status && s.report.broken && !strstr(s.report.why.msg, strerror(EPIPE)))
		status = PT_FAIL;
	saved = s.loop.saved;
	pt_loop_close(&s.loop);
	pt_step_release(&s.step);
	if (s.plan)
		pt_device_close(s.plan);
	pt_reader_close(s.in);
	load_close(&s.load);
	pt_buf_release(&s.options);
	/* Whose lock it is not does not own the directory. */
	if (err.status && s.made && s.lock >= 0 && !saved)
		pt_loop_unmake(o.output);
	pt_lock_close(&s.lock);
	pt_opt_list_release(&o.adapters);
	if (sig == SIGINT)
		tool_die_of(sig);
	return status;
}
