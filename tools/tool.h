/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what every program does the same way: options, --help, --version,
 * messages "peft-x: what failed", terminals, signals, exit status.
 */
#ifndef PT_TOOL_H
#define PT_TOOL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "base/opt.h"

struct pt_tool {
	const struct pt_opt_spec *spec;
	int verbose;		/* -v counts; -q sets quiet */
	bool quiet;
	char **operand;		/* operands, NULL-terminated */
	int noperands;
};

/*
 * Parse options (adding -h -V -v -q), set the log callback, restore SIGPIPE's
 * default, install handlers that remove temporary files before dying of the
 * signal. --help and --version print and exit 0; misuse prints the error, where an option is not known a usage line too, and
 * exits 2.
 */
void tool_init(struct pt_tool *t, const struct pt_opt_spec *spec, int argc, char **argv);

/* "tool: message" on stderr; returns err->status, so that main can return it. */
int tool_report(const struct pt_error *err);
void tool_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* PT_USAGE when path ("-" or NULL) means a terminal: no binary to or from one. */
int tool_check_output(const char *path, struct pt_error *err);
/* PT_USAGE when the output is one of the input files, by whatever name: it would be replaced. */
int tool_check_same(const char *output, char *const *paths, int n, struct pt_error *err);
int tool_check_input(char *const *paths, int n, struct pt_error *err);

/* Flush and close stdout; PT_FAIL when something could not be written. */
int tool_finish(struct pt_error *err);

/*
 * Stop signals (TERM, HUP, USR1, INT) of stateful tools and of writers of streams: after
 * tool_catch_signals() the first one only sets a flag.
 */
void tool_catch_signals(void);
/*
 * The same for programs without state to save: a second after the signal they die of it, whatever
 * they wait for. That second is for FAIL.
 */
void tool_catch_signals_briefly(void);
int tool_signal(void);			/* number of the signal that came, or 0 */
const char *tool_signal_name(int sig);	/* "TERM" */
void tool_die_of(int sig) __attribute__((noreturn));	/* restore the default and raise */

#endif
