/* SPDX-License-Identifier: MIT */
/*
 * peft-head.c - the first examples, micro-batches, steps or predictions.
 */
#include <stdio.h>

#include "filter.h"

static struct filter f = { .tool = "peft-head", .output = "-", .limit = 10 };
static const struct pt_opt opts[] = {
	{ .name = "count", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &f.limit, .max = 9e15,
	  .help = "how many (10)" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &f.output,
	  .help = "write to FILE instead of standard output" },
	{ .name = "zstd", .letter = 'z', .type = PT_OPT_FLAG, .value = &f.zstd,
	  .help = "compress each record" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-head", "[options] [FILE ...]",
	"Copies the first examples, micro-batches, steps or predictions of tensor streams.", opts
};

int main(int argc, char **argv)
{
	char options[32];
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	snprintf(options, sizeof options, "-n %lld", (long long)f.limit);
	f.options = options;
	return filter_run(&f, &t);
}
