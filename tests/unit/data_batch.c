/* SPDX-License-Identifier: MIT */
/*
 * data_batch.c - what a stream of batches promises: each example once an
 * epoch, bounds, steps without gaps, denominators, groups, splits, packing,
 * and that nothing depends on the bound of memory.
 */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rng.h"
#include "batch_fix.h"

static void go(const struct pt_batch_options *o)
{
	struct pt_error err;

	assert_ok(run(o, &err), &err);
	read_output();
	if (!o->stream) {
		assert_int_equal(got.total, got.steps);
		assert_int_equal(got.max_tokens, got.seen_tokens);
		assert_int_equal(got.max_seqs, got.seen_seqs);
		assert_int_equal(got.max_len, got.seen_len);
	} else {
		assert_int_equal(got.total, -1);
		assert_true(got.max_tokens < 0 || got.max_tokens >= got.seen_tokens);
		assert_true(got.max_seqs >= got.seen_seqs);
	}
}

/* Lengths like those of sentences. */
static struct input *lengths(int n)
{
	memset(&input, 0, sizeof input);
	input.n = n;
	for (int i = 0; i < n; i++)
		input.len[i] = 3 + (int64_t)pt_rng_below(1, (uint64_t)i, 25) + (int64_t)pt_rng_below(2, (uint64_t)i, 30);
	return &input;
}

/* Each of 0..n-1 once in each epoch. */
static void each_once(int n, int epochs)
{
	static int count[5][MAX];

	memset(count, 0, sizeof count);
	assert_int_equal(got.examples, (int64_t)n * epochs);
	for (int64_t i = 0; i < got.examples; i++)
		count[got.epoch_of[i]][got.order[i]]++;
	for (int e = 1; e <= epochs; e++)
		for (int i = 0; i < n; i++)
			assert_int_equal(count[e][i], 1);
}

static void test_order(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	put_input(lengths(101));
	o.epochs = 2;
	o.accumulate = 3;
	go(&o);
	each_once(101, 2);
	for (int i = 0; i < 202; i++)
		assert_int_equal(got.order[i], i % 101);
	/* 13 micro-batches an epoch, the last of 5 examples; steps of 3, 3, 3, 3, 1. */
	assert_int_equal(got.micros, 26);
	assert_int_equal(got.steps, 10);
	assert_int_equal(got.max_seqs, 8);
	assert_false(got.limited);
}

static void test_shuffle(void **state)
{
	static int64_t first[MAX * 4];
	struct pt_batch_options o = by8;
	int moved = 0, same = 0, far = 0;

	(void)state;
	put_input(lengths(2000));
	o.shuffle = true;
	o.epochs = 3;
	go(&o);
	each_once(2000, 3);
	memcpy(first, got.order, sizeof first);
	for (int i = 0; i < 2000; i++) {
		moved += first[i] != i;
		same += first[i] == first[i + 2000] || first[i + 2000] == first[i + 4000];
		far += first[i] - i > 1000 || i - first[i] > 1000;
	}
	assert_true(moved > 1990 && same < 20 && far > 400);	/* global: a quarter moves by more than half */
	/* The epochs do not depend on how many there are; the seed decides. */
	o.epochs = 1;
	go(&o);
	assert_memory_equal(got.order, first, 2000 * sizeof *first);
	o.seed = 1;
	go(&o);
	assert_memory_not_equal(got.order, first, 2000 * sizeof *first);
}

static struct pt_buf output(void)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;

	assert_ok(pt_file_read(out_path, 1u << 30, &b, &err), &err);
	return b;
}

static void test_memory(void **state)
{
	static const size_t bounds[] = { 0, 1, 1000, 40000, 1 << 20, 1 << 30 };
	struct pt_batch_options o = { .tokens = 512, .accumulate = 2, .epochs = 2, .shuffle = true };
	struct pt_buf first = PT_BUF_INIT;

	(void)state;
	lengths(MAX)->weights = true;
	put_input(&input);
	for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
		struct pt_error err;
		struct pt_buf b;

		o.memory = bounds[i];
		assert_ok(run(&o, &err), &err);
		b = output();
		if (!i)
			first = b;
		assert_int_equal(b.len, first.len);
		assert_memory_equal(b.data, first.data, b.len);
		if (i)
			pt_buf_release(&b);
	}
	pt_buf_release(&first);
	read_output();
	each_once(MAX, 2);
}

static void test_packing(void **state)
{
	struct pt_batch_options o = { .tokens = 512, .accumulate = 1, .epochs = 1, .memory = 1 << 20 };

	(void)state;
	lengths(MAX);
	input.len[7] = 600;		/* too long: alone */
	input.len[9] = 0;
	put_input(&input);
	for (int i = 0; i < 3; i++) {
		o.shuffle = i == 1;
		o.stream = false;
		go(&o);
		each_once(MAX, 1);
		assert_int_equal(got.max_tokens, 600);
		for (int64_t m = 0; m < got.micros; m++)
			assert_true(got.size[m] <= 512 || got.size[m] == 600);
		assert_true((double)got.tokens >= 0.99 * 512 * (double)got.micros);
	}
	/* The window is the same when nothing is kept; without a bound from upstream a longer one is refused. */
	struct pt_error err;

	o.shuffle = false;
	o.stream = true;
	assert_fails(run(&o, &err), PT_DATA, "sequence of 600", &err);
	input.len[7] = 6;
	put_input(&input);
	o.stream = false;
	go(&o);
	int64_t micros = got.micros;

	o.stream = true;
	go(&o);
	assert_int_equal(got.micros, micros);
	assert_int_equal(got.max_tokens, 512);
	each_once(MAX, 1);
}

static void test_groups(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	/* Pairs far apart, and one set of 11. */
	lengths(300)->groups = true;
	for (int i = 0; i < 300; i++)
		input.group[i] = i < 11 ? 1000 : i < 155 ? i : i - 144;
	input.weights = true;
	put_input(&input);
	for (int k = 0; k < 4; k++) {
		int at[MAX] = { 0 };

		o.examples = k < 2 ? 8 : 0;
		o.tokens = k < 2 ? 0 : 256;
		o.shuffle = k % 2;
		go(&o);
		each_once(300, 1);
		if (k < 2)
			assert_int_equal(got.max_seqs, 11);
		for (int i = 0; i < 300; i++)
			at[got.order[i]] = i;
		for (int i = 11; i < 155 && k < 2; i++)
			assert_int_equal(at[i] + 1, at[i + 144]);
	}
	/* While it is read: neighbours only, and a group larger than was promised is refused. */
	struct pt_error err;

	o = by8;
	o.stream = true;
	assert_fails(run(&o, &err), PT_DATA, "group of 11", &err);
	for (int i = 0; i < 300; i++)
		input.group[i] = i / 3;
	put_input(&input);
	go(&o);
	each_once(300, 1);
	assert_int_equal(got.seen_seqs, 6);
}

static void test_split(void **state)
{
	struct pt_batch_options o = by8;
	bool held[MAX] = { false };
	int64_t n;

	(void)state;
	put_input(lengths(4000));
	o.split = 0.1;
	o.part = PT_PART_HELD;
	go(&o);
	n = got.examples;
	assert_in_range(n, 340, 460);
	for (int64_t i = 0; i < n; i++)
		held[got.order[i]] = true;
	/* The other part has the rest, whatever else is asked. */
	o.part = PT_PART_TRAIN;
	o.shuffle = true;
	o.seed = 7;
	o.examples = 0;
	o.tokens = 300;
	go(&o);
	assert_int_equal(got.examples, 4000 - n);
	for (int64_t i = 0; i < got.examples; i++)
		assert_false(held[got.order[i]]);
	/* Another seed, another part; the ends. */
	o = by8;
	o.split = 0.1;
	o.split_seed = 1;
	o.part = PT_PART_HELD;
	o.stream = true;
	go(&o);
	int both = 0;

	for (int64_t i = 0; i < got.examples; i++)
		both += held[got.order[i]];
	assert_in_range(both, 10, 80);
	o.split = 1;
	go(&o);
	assert_int_equal(got.examples, 4000);
	o.split = 0;
	go(&o);
	assert_int_equal(got.examples, 0);
	/* Groups stay on one side. */
	lengths(600)->groups = true;
	for (int i = 0; i < 600; i++)
		input.group[i] = i % 200;
	put_input(&input);
	o = by8;
	o.split = 0.3;
	o.part = PT_PART_HELD;
	go(&o);
	assert_int_equal(got.examples % 3, 0);
	memset(held, 0, sizeof held);
	for (int64_t i = 0; i < got.examples; i++)
		held[got.order[i]] = true;
	for (int i = 0; i < 200; i++)
		assert_true(held[i] == held[i + 200] && held[i] == held[i + 400]);
}

static void test_stop(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	put_input(lengths(100));
	o.accumulate = 2;
	o.steps = 3;
	go(&o);
	assert_true(got.limited);
	assert_int_equal(got.total, 3);
	assert_int_equal(got.examples, 48);
	o.stream = true;
	go(&o);
	assert_true(got.limited);
	assert_int_equal(got.examples, 48);
	/* As many steps as there are: nothing was left out. */
	o.stream = false;
	o.steps = 7;
	go(&o);
	assert_false(got.limited);
	assert_int_equal(got.examples, 100);
	o.steps = 8;
	go(&o);
	assert_false(got.limited);
}

static void test_segments(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	lengths(100)->segments = 3;
	input.groups = true;
	for (int i = 0; i < 100; i++)
		input.group[i] = 5;	/* the same number in three segments: three groups */
	put_input(&input);
	go(&o);
	each_once(100, 1);
	assert_int_equal(got.micros, 3);
}

static void test_decoder(void **state)
{
	struct pt_batch_options o = { .tokens = 200, .accumulate = 2, .epochs = 1, .memory = 100 };

	(void)state;
	lengths(200)->decoder = true;
	input.task = "seq2seq";
	put_input(&input);
	go(&o);
	each_once(200, 1);
	assert_true(got.max_tokens <= 200);
}

static void count_warning(enum pt_log_level level, const char *msg, void *arg)
{
	(void)msg;
	*(int *)arg += level == PT_WARN;
}

/* While it is read: bounds of sources and of targets, or neither and one warning. */
static void test_decoder_promise(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	o.stream = true;
	for (int knows = 0; knows < 4; knows++) {
		int warnings = 0;

		lengths(40);
		input.task = "seq2seq";
		input.decoder = true;
		input.max_len = knows & 1 ? "700" : NULL;
		input.max_decoder_len = knows & 2 ? "350" : NULL;
		put_input(&input);
		pt_log_set(count_warning, &warnings);
		go(&o);
		pt_log_set(NULL, NULL);
		assert_int_equal(warnings, knows != 3);
		assert_int_equal(got.max_seqs, 8);
		assert_int_equal(got.max_tokens, knows == 3 ? 8 * 700 : -1);
		assert_int_equal(got.max_decoder_tokens, knows == 3 ? 8 * 350 : -1);
	}
}

static void test_empty(void **state)
{
	struct pt_batch_options o = by8;

	(void)state;
	put_input(lengths(0));
	for (int i = 0; i < 2; i++) {
		o.stream = i;
		o.shuffle = !i;
		go(&o);
		assert_int_equal(got.examples, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_shuffle),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_packing),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_decoder),
		cmocka_unit_test(test_decoder_promise),
		cmocka_unit_test(test_empty),
	};
	int failed;

	snprintf(in_path, sizeof in_path, "/tmp/peft-batch-in.%d", (int)getpid());
	snprintf(out_path, sizeof out_path, "/tmp/peft-batch-out.%d", (int)getpid());
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(in_path);
	unlink(out_path);
	return failed;
}
