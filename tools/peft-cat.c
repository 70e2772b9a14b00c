/* SPDX-License-Identifier: MIT */
/*
 * peft-cat.c - join streams into one segment.
 */
#include "filter.h"

static struct filter f = { .tool = "peft-cat", .options = "", .output = "-", .limit = -1 };
static const struct pt_opt opts[] = {
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &f.output,
	  .help = "write to FILE instead of standard output" },
	{ .name = "zstd", .letter = 'z', .type = PT_OPT_FLAG, .value = &f.zstd,
	  .help = "compress each record" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-cat", "[options] [FILE ...]", "Joins tensor streams of one kind into one segment.", opts
};

int main(int argc, char **argv)
{
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	return filter_run(&f, &t);
}
