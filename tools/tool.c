/* SPDX-License-Identifier: MIT */
/*
 * tool.c - the frame of every program; see tool.h.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

static const struct { int number; const char *name; } stop_signals[] = {
	{ SIGTERM, "TERM" }, { SIGHUP, "HUP" }, { SIGUSR1, "USR1" }, { SIGINT, "INT" },
};
enum { N_STOP = sizeof stop_signals / sizeof *stop_signals };

static const char *tool_name = "peft";
static const struct pt_tool *tool;
static volatile sig_atomic_t caught;
static bool briefly;
static volatile struct timespec caught_at;	/* set before caught */
static int wake_pipe[2] = { -1, -1 };

static void say(const char *msg)
{
	struct pt_buf b = PT_BUF_INIT;

	pt_buf_printf(&b, "%s: ", tool_name);
	pt_buf_printable(&b, msg, strlen(msg));
	pt_buf_char(&b, '\n');
	/* One write: messages of a pipeline's stages do not mix. */
	if (!b.failed)
		pt_write_full(STDERR_FILENO, b.data, b.len);
	pt_buf_release(&b);
}

int tool_report(const struct pt_error *err)
{
	say(err->msg);
	return err->status;
}

void tool_warn(const char *fmt, ...)
{
	struct pt_error e = PT_ERROR_INIT;
	va_list ap;
	int n;

	n = snprintf(e.msg, sizeof e.msg, "warning: ");
	va_start(ap, fmt);
	vsnprintf(e.msg + n, sizeof e.msg - (size_t)n, fmt, ap);
	va_end(ap);
	say(e.msg);
}

static void on_log(enum pt_log_level level, const char *msg, void *arg)
{
	(void)arg;
	if (level == PT_WARN)
		tool_warn("%s", msg);
	else if (!tool->quiet && tool->verbose >= (level == PT_FACT ? 1 : 2))
		say(msg);
}

/* A descriptor 0..2 that the caller closed must not become a file of ours. */
static void keep_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    /* The wrong direction: use fails, as on a closed one. */
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			_exit(PT_FAIL);
}

static void on_fatal(int sig)
{
	int saved = errno;

	pt_out_unlink_all();
	errno = saved;
	/* SA_RESETHAND: the default is back, and takes effect when the handler returns. */
	raise(sig);
}

static void install(int sig, void (*handler)(int), int flags, bool respect_ignored)
{
	struct sigaction sa = { 0 }, old;

	/* nohup and background jobs of scripts ignore what they do not want. */
	if (respect_ignored && sigaction(sig, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		return;
	sa.sa_handler = handler;
	sa.sa_flags = flags;
	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
}

static void set_signals(void)
{
	for (int i = 0; i < N_STOP; i++)
		install(stop_signals[i].number, on_fatal, (int)SA_RESETHAND, true);
	install(SIGQUIT, on_fatal, (int)SA_RESETHAND, true);
	/* Whoever started us may ignore SIGPIPE (Python does): the end of a reader ends us. */
	install(SIGPIPE, on_fatal, (int)SA_RESETHAND, false);
	/* A file too large is a write error with a message. */
	install(SIGXFSZ, SIG_IGN, 0, false);
}

static void on_stop(int sig)
{
	int saved = errno;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!caught) {
		caught_at = now;
		caught = sig;
		if (briefly)
			alarm(1);
		if (wake_pipe[1] >= 0 && write(wake_pipe[1], "", 1) < 0)
			errno = saved;
	} else if (sig == SIGINT) {
		/* Twice Ctrl-C means now. timeout(1) sends one signal twice, at once. */
		double s = (double)(now.tv_sec - caught_at.tv_sec) +
			   (double)(now.tv_nsec - caught_at.tv_nsec) * 1e-9;

		if (s > 0.5)
			tool_die_of(sig);
	}
	errno = saved;
}

void tool_catch_signals(void)
{
	if (wake_pipe[0] < 0 && pipe(wake_pipe) == 0) {
		for (int i = 0; i < 2; i++) {
			fcntl(wake_pipe[i], F_SETFD, FD_CLOEXEC);
			fcntl(wake_pipe[i], F_SETFL, O_NONBLOCK);
		}
		pt_read_interrupt(&caught, wake_pipe[0]);
	}
	for (int i = 0; i < N_STOP; i++)
		install(stop_signals[i].number, on_stop, SA_RESTART, true);
}

static void on_alarm(int sig)
{
	(void)sig;
	tool_die_of(caught);
}

void tool_catch_signals_briefly(void)
{
	briefly = true;
	install(SIGALRM, on_alarm, 0, false);
	tool_catch_signals();
}

int tool_signal(void)
{
	return caught;
}

const char *tool_signal_name(int sig)
{
	for (int i = 0; i < N_STOP; i++)
		if (stop_signals[i].number == sig)
			return stop_signals[i].name;
	return "?";
}

void tool_die_of(int sig)
{
	sigset_t set;

	pt_out_unlink_all();
	install(sig, SIG_DFL, 0, false);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
	_exit(128 + sig);
}

static void usage_error(const struct pt_opt_spec *spec, bool help, const struct pt_error *err)
{
	say(err->msg);
	if (help)
		fprintf(stderr, "usage: %s %s\n", spec->tool, spec->synopsis);
	exit(PT_USAGE);
}

static void print_and_exit(struct pt_buf *b)
{
	struct pt_error err = PT_ERROR_INIT;
	int status = pt_buf_check(b, &err);

	if (!status)
		fwrite(b->data, 1, b->len, stdout);
	if (!status)
		status = tool_finish(&err);
	if (status)
		tool_report(&err);
	pt_buf_release(b);
	exit(status);
}

void tool_init(struct pt_tool *t, const struct pt_opt_spec *spec, int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf text = PT_BUF_INIT;
	struct pt_opt_spec all = *spec;
	struct pt_opt *opts;
	bool help, version;
	size_t n = 0;
	int first = argc;

	*t = (struct pt_tool){ .spec = spec };
	tool = t;
	tool_name = spec->tool;
	keep_standard_fds();
	set_signals();
	pt_log_set(on_log, NULL);
	while (spec->opts[n].name)
		n++;
	opts = calloc(n + 3, sizeof *opts);
	if (!opts) {
		say("out of memory");
		exit(PT_FAIL);
	}
	memcpy(opts, spec->opts, n * sizeof *opts);
	opts[n] = (struct pt_opt){ .name = "quiet", .letter = 'q', .type = PT_OPT_FLAG,
				   .value = &t->quiet, .help = "say nothing but warnings and errors" };
	opts[n + 1] = (struct pt_opt){ .name = "verbose", .letter = 'v', .type = PT_OPT_COUNT,
				       .value = &t->verbose, .help = "say more; twice: details" };
	all.opts = opts;
	if (pt_opt_parse(&all, argc, argv, &first, &help, &version, &err))
		usage_error(spec, help, &err);
	if (help) {
		pt_opt_help(&all, &text);
		print_and_exit(&text);
	}
	if (version) {
		pt_buf_printf(&text, "%s %s\n", spec->tool, PT_VERSION);
		print_and_exit(&text);
	}
	free(opts);
	t->operand = argv + first;
	t->noperands = argc - first;
}

int tool_check_output(const char *path, struct pt_error *err)
{
	if ((!path || strcmp(path, "-") == 0) && isatty(STDOUT_FILENO))
		return pt_error(err, PT_USAGE,
				"standard output is a terminal: give -o FILE or a pipe");
	return 0;
}

int tool_check_same(const char *output, char *const *paths, int n, struct pt_error *err)
{
	struct stat out, in;

	/* What is appended to its own input never ends. */
	if (!output || (strcmp(output, "-") ? stat(output, &out) : fstat(STDOUT_FILENO, &out)) || !S_ISREG(out.st_mode))
		return 0;
	for (int i = 0; i < n; i++) {
		if (strcmp(paths[i], "-") != 0 && stat(paths[i], &in) == 0 && in.st_dev == out.st_dev &&
		    in.st_ino == out.st_ino)
			return pt_error(err, PT_USAGE, "%s is input and output: give another %s", paths[i],
					strcmp(output, "-") ? "-o" : "output");
	}
	return 0;
}

int tool_check_input(char *const *paths, int n, struct pt_error *err)
{
	bool in = n == 0;

	for (int i = 0; i < n; i++)
		in = in || strcmp(paths[i], "-") == 0;
	if (in && isatty(STDIN_FILENO))
		return pt_error(err, PT_USAGE, "standard input is a terminal: give a FILE or a pipe");
	return 0;
}

int tool_finish(struct pt_error *err)
{
	bool pending = __fpending(stdout) > 0, failed = ferror(stdout) != 0;

	errno = 0;
	/* Closed by the caller and never used: fine. */
	if (fclose(stdout) && (pending || errno != EBADF))
		return pt_error_errno(err, "standard output: cannot write");
	if (failed)
		return pt_error(err, PT_FAIL, "standard output: cannot write");
	return 0;
}
