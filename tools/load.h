/* SPDX-License-Identifier: MIT */
/*
 * load.h - what tools that compute open alike: device, model directory,
 * adapter, and the agreement of a batch stream with them (task, labels,
 * tokenizer).
 */
#ifndef PT_TOOLS_LOAD_H
#define PT_TOOLS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/opt.h"
#include "io/modeldir.h"
#include "io/stream.h"
#include "peft/adapter.h"
#include "text/tokenizer.h"
#include "train/feed.h"

#define LOAD_DTYPES "auto|f32|bf16"
enum { LOAD_AUTO, LOAD_F32, LOAD_BF16 };

/* Rows of a table of options: in which type, where and by how many threads is computed. */
#define LOAD_OPTION_DTYPE(v) \
	{ .name = "dtype", .type = PT_OPT_CHOICE, .arg = "TYPE", .value = (v), .choices = LOAD_DTYPES, \
	  .help = "compute in f32 or bf16 (auto: bf16 where weights and machine have it)" }
#define LOAD_OPTION_DEVICE(v) \
	{ .name = "device", .letter = 'd', .type = PT_OPT_STRING, .arg = "NAME", .value = (v), \
	  .help = "auto, cpu, cuda or cuda:N (auto)" }
#define LOAD_OPTION_THREADS(v) \
	{ .name = "threads", .letter = 'j', .type = PT_OPT_INT, .arg = "N", .value = (v), .max = 4096, \
	  .help = "threads (all cores)" }
#define LOAD_OPTION_MEM(v) \
	{ .name = "mem", .type = PT_OPT_INT, .arg = "SIZE", .value = (v), .min = 1, .max = 9e18, \
	  .help = "bytes to work in; on the CPU beside the base's weights (all that there is)" }
/* Adapters that are used as they are. */
#define LOAD_OPTION_ADAPTERS(v) \
	{ .name = "adapter", .letter = 'a', .type = PT_OPT_LIST, .arg = "DIR", .value = (v), \
	  .help = "adapter, or trained model directory; repeated: one on the other, the last with the head" }

struct load_options {
	const char *model;		/* -m */
	const char *const *adapter;	/* -a [nadapters], the lowest of a stack first */
	int nadapters;			/* 0: none */
	const char *device;		/* -d */
	int threads;			/* -j; 0: all */
	bool trainable;			/* gradients for the adapter */
	const struct pt_record *head;	/* HEAD of the batch stream; NULL: there is none */
	bool text;			/* where neither head nor adapter tells the task: to generate text, else the model's own */
	bool other_tokenizer;		/* take a stream of another tokenizer */
	bool tokenizer;			/* keep the tokenizer open */
};

struct load {
	struct pt_device *dev;
	struct pt_modeldir base;	/* -m */
	struct pt_modeldir full;	/* -a where that is a model directory */
	struct pt_adapter_info info;	/* of the last -a */
	struct pt_model *model;
	struct pt_adapter *adapter;	/* the last, on those below it; NULL: none */
	struct pt_tokenizer *tok;	/* NULL: not asked for, or the model has none */
	struct pt_feed_options feed;	/* task, problem, labels; seed is the caller's */
	char *const *labels;		/* [feed.nlabels] borrowed from adapter or model; NULL: unnamed */
	int32_t *class_map;
	uint64_t base_digest;		/* identity of -m */
};

/* Messages name -m, -a and the cure. l is released by load_close() also after a failure. */
int load_open(struct load *l, const struct load_options *o, struct pt_error *err);
/* The same in two steps: the directories of -m and -a, which is done before HEAD is known; then the rest. */
int load_find(struct load *l, const struct load_options *o, struct pt_error *err);
int load_found(struct load *l, const struct load_options *o, struct pt_error *err);
void load_close(struct load *l);

/* Whether both are there, and are one. */
bool load_same(const char *a, const char *b);

/*
 * Whether products are computed in bf16: LOAD_AUTO where the weights are
 * stored so and the device has such products.
 */
bool load_bf16(const struct load *l, int dtype);

/* Bytes that the device has, or mem where that is less and not 0. */
size_t load_mem(const struct load *l, int64_t mem);

#endif
