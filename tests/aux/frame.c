/* SPDX-License-Identifier: MIT */
/*
 * frame.c - a program that is only the frame of a tool (tools/tool.h), for
 * t0004-frame.sh: signals, closed descriptors, messages.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tool.h"

static const char *output = "-";
static const struct pt_opt opts[] = {
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &output,
	  .help = "where the copy goes" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"frame", "[options] copy|stop|die|log|fds|bad", "Tries the frame of the tools.", opts
};

static int copy(struct pt_error *err)
{
	struct pt_out o;
	char data[4096];
	ssize_t n;

	if (pt_out_open(&o, output, err))
		return err->status;
	while ((n = pt_read_full(STDIN_FILENO, data, sizeof data)) > 0)
		if (pt_out_write(&o, data, (size_t)n, err)) {
			pt_out_abort(&o);
			return err->status;
		}
	if (n < 0)
		pt_error_errno(err, "standard input");
	if (tool_signal() || n < 0) {
		pt_out_abort(&o);
		return n < 0 && !tool_signal() ? err->status
			: pt_error(err, PT_STOPPED, "stopped by %s", tool_signal_name(tool_signal()));
	}
	return pt_out_commit(&o, err);
}

/* The copy of the first record only, then death by a signal that came while it was written. */
static void die(struct pt_error *err)
{
	struct pt_out o;

	if (pt_out_open(&o, output, err) == 0 && pt_out_write(&o, "x", 1, err) == 0)
		tool_die_of(SIGINT);
}

/* Numbers that a new file gets: never those of the standard descriptors. */
static void fds(void)
{
	int fd = open("/dev/null", O_RDONLY);

	fprintf(stderr, "%s\n", fd > 2 ? "fds ok" : "fds bad");
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_tool t;
	const char *what;

	tool_init(&t, &spec, argc, argv);
	what = t.noperands == 1 ? t.operand[0] : "";
	if (strcmp(what, "copy") == 0) {
		copy(&err);
	} else if (strcmp(what, "stop") == 0) {
		tool_catch_signals();
		copy(&err);
	} else if (strcmp(what, "die") == 0) {
		die(&err);
	} else if (strcmp(what, "log") == 0) {
		pt_log(PT_WARN, "a %s", "warning");
		pt_log(PT_FACT, "a fact");
		pt_log(PT_DETAIL, "a detail");
	} else if (strcmp(what, "fds") == 0) {
		fds();
	} else if (strcmp(what, "print") == 0) {
		puts("printed");
	} else {
		pt_error(&err, PT_DATA, "bad \033[31m name\nwith lines");
	}
	if (!err.status)
		tool_finish(&err);
	return err.status ? tool_report(&err) : 0;
}
