/* SPDX-License-Identifier: MIT */
/*
 * stream_kinds.c - every kind with all its tensors: what is written comes back; cuts inside of a segment
 * and flipped bits are refused (all of them with FAULTS=1, each fifth bit and third cut without;
 * stream.c tries all on examples); values that the format forbids are too.
 */
#include "test.h"

#include <unistd.h>

#include "base/file.h"
#include "io/kinds.h"
#include "io/stream.h"

enum { N = 3 };
static int64_t index_of[N] = { 4, 5, 9 }, offsets[N + 1] = { 0, 2, 2, 5 }, decoder_offsets[N + 1] = { 0, 1, 3, 3 };
static int64_t span[N][2] = { { 0, 1 }, { -1, -1 }, { 1, 2 } }, group[N] = { 1, 1, 2 }, source[N] = { 0, 1, 1 };
static int64_t row[N] = { 1, 1, 2 };
static int32_t ids[5] = { 1, 2, 3, 4, 99 }, labels[5] = { -100, 2, -100, 4, 99 }, types[5] = { 0, 0, 0, 1, 1 };
static int32_t cls[N] = { 0, 1, -100 }, decoder_ids[3] = { 7, 8, 9 }, decoder_labels[3] = { 7, -100, 9 };
static int32_t adapter[N] = { 0, 1, 0 }, draw[N] = { 0, 0, 1 };
static float target[N][2] = { { 1, 2 }, { 3, 4 }, { 5, 6 } }, weight[N] = { 1, 0, 0.5f };
static float probability[N][2] = { { 0.5f, 0.5f }, { 1, 0 }, { 0, 1 } }, loss[N] = { 1, 2, 3 };

static struct pt_examples all_of_it(void)
{
	return (struct pt_examples){
		.n = N, .tokens = 5, .decoder_tokens = 3, .k = 2, .index = index_of, .input_ids = ids, .offsets = offsets,
		.labels = labels, .token_type_ids = types, .cls = cls, .target = target[0], .decoder_ids = decoder_ids,
		.decoder_offsets = decoder_offsets, .decoder_labels = decoder_labels, .span = span[0], .group = group,
		.weight = weight, .adapter = adapter, .draw = draw, .source = source, .row = row,
		.step = 1, .micro = 1, .micros = 2, .epoch = 1, .step_examples = 6, .step_tokens = 4, .step_weight = 0.1,
	};
}

static void put(struct pt_st_build *b, enum pt_kind kind, int i)
{
	static int64_t step, count = 3;
	static double value = 0.25;
	struct pt_predictions p = { .n = N, .tokens = 5, .k = 2, .index = index_of, .cls = cls, .ids = ids,
				    .offsets = offsets, .probability = probability[0], .k_probability = true,
				    .logits = target[0], .loss = loss };
	struct pt_examples x = all_of_it();

	switch (kind) {
	case PT_KIND_EXAMPLES:
		pt_examples_build(&x, kind, b);
		break;
	case PT_KIND_BATCH:
		x.step = i / 2 + 1;
		x.micro = i % 2 + 1;
		pt_examples_build(&x, kind, b);
		break;
	case PT_KIND_METRICS:
		step = i + 1;
		for (const struct pt_kind_tensor *k = pt_kind_table(kind); k->name; k++)
			pt_st_build_array(b, k->name, k->dtype, 1, k->dtype == PT_F64 ? (void *)&value :
					  !strcmp(k->name, "step") ? (void *)&step : (void *)&count);
		if (i)
			pt_st_build_array(b, "eval_loss", PT_F64, 1, &value);
		break;
	case PT_KIND_PREDICTIONS:
		pt_predictions_build(&p, b);
		break;
	case PT_KIND_OTHER:
		pt_st_build_array(b, "x", PT_F32, N, loss);
		break;
	}
}

static const char *const names[] = { "other", "examples", "batch", "metrics", "predictions" };

static struct pt_buf make(enum pt_kind kind, bool zstd, int records)
{
	struct pt_error err = PT_ERROR_INIT;
	char path[64];
	struct pt_writer_options o = { .path = path, .tool = "test", .kind = names[kind], .zstd = zstd };
	struct pt_buf out = PT_BUF_INIT;
	struct pt_st_build b;
	struct pt_writer *w;

	snprintf(path, sizeof path, "/tmp/peft-kinds-%ld", (long)getpid());
	assert_ok(pt_writer_open(&w, &o, &err), &err);
	pt_st_build_init(&b);
	pt_st_build_meta(&b, "vocab_size", "100");
	pt_st_build_meta(&b, "task", "seq2seq");
	pt_st_build_meta(&b, "labels", "[\"a\",\"b\"]");
	assert_ok(pt_writer_head(w, &b, NULL, 0, "", &err), &err);
	for (int i = 0; i < records; i++) {
		pt_st_build_clear(&b);
		put(&b, kind, i);
		assert_ok(pt_writer_data(w, &b, &err), &err);
	}
	assert_ok(pt_writer_end(w, NULL, NULL, 0, false, &err), &err);
	pt_writer_close(w);
	pt_st_build_release(&b);
	assert_ok(pt_file_read(path, 1 << 20, &out, &err), &err);
	unlink(path);
	return out;
}

/* A copy of exactly this size, so that sanitizers see a read beyond it. */
static int consume(const void *data, size_t n, uint64_t *digest, struct pt_error *err)
{
	char *copy = malloc(n ? n : 1);
	const struct pt_record *rec;
	struct pt_reader *r;
	int status;

	memcpy(copy, data, n);
	*err = (struct pt_error)PT_ERROR_INIT;
	status = pt_reader_open_memory(&r, copy, n, NULL, 0, err);
	while (!status && !(status = pt_reader_next(r, &rec, err)) && rec)
		;
	*digest = pt_reader_digest(r);
	pt_reader_close(r);
	free(copy);
	return status;
}

static void sweep(enum pt_kind kind, bool zstd)
{
	struct pt_buf b = make(kind, zstd, 2), two = PT_BUF_INIT;
	bool every = getenv("FAULTS") != NULL;
	uint64_t digest, is;
	struct pt_error err;
	int harmless = 0;

	assert_ok(consume(b.data, b.len, &digest, &err), &err);
	for (size_t i = 0; i < b.len * 8; i += every ? 1 : 5) {
		int status;

		b.data[i / 8] ^= (char)(1 << i % 8);
		status = consume(b.data, b.len, &is, &err);
		if (!status && zstd && is == digest)
			harmless++;		/* a bit that the frame does not feel */
		else if (status != PT_DATA)
			fail_msg("%s%s, bit %zu of byte %zu: status %d %s", names[kind], zstd ? ", zstd" : "", i % 8,
				 i / 8, status, err.msg);
		b.data[i / 8] ^= (char)(1 << i % 8);
	}
	assert_true(harmless * 100 < (int)b.len * 8);
	/* A second segment behind the first: complete at the seam, nowhere else. */
	pt_buf_add(&two, b.data, b.len);
	pt_buf_add(&two, b.data, b.len);
	for (size_t n = 0; n <= two.len; n++) {
		if (!every && n % 3 && n != b.len && n != two.len)
			continue;
		int status = consume(two.data, n, &is, &err);

		if (status != (n == b.len || n == two.len ? 0 : PT_DATA))
			fail_msg("%s%s, cut at %zu of %zu: status %d %s", names[kind], zstd ? ", zstd" : "", n, two.len,
				 status, err.msg);
	}
	pt_buf_release(&two);
	pt_buf_release(&b);
}

static void test_examples(void **state) { (void)state; sweep(PT_KIND_EXAMPLES, false); }
static void test_batch(void **state) { (void)state; sweep(PT_KIND_BATCH, false); sweep(PT_KIND_BATCH, true); }
static void test_metrics(void **state) { (void)state; sweep(PT_KIND_METRICS, false); sweep(PT_KIND_METRICS, true); }
static void test_predictions(void **state) { (void)state; sweep(PT_KIND_PREDICTIONS, false); }
static void test_other(void **state) { (void)state; sweep(PT_KIND_OTHER, false); sweep(PT_KIND_OTHER, true); }

#define SAME(a, b, n) assert_memory_equal(a, b, (n) * sizeof *(b))

static void test_round_trip(void **state)
{
	enum pt_kind kinds[] = { PT_KIND_EXAMPLES, PT_KIND_BATCH };
	struct pt_error err = PT_ERROR_INIT;
	const struct pt_record *rec;
	struct pt_predictions p;
	struct pt_examples x;
	struct pt_reader *r;
	struct pt_buf b;

	(void)state;
	for (int k = 0; k < 2; k++) {
		b = make(kinds[k], k, 1);
		assert_ok(pt_reader_open_memory(&r, b.data, b.len, names[kinds[k]], 0, &err), &err);
		assert_ok(pt_reader_data(r, &rec, &err), &err);
		assert_ok(pt_examples_view(&x, kinds[k], &rec->st, &err), &err);
		assert_true(x.n == N && x.tokens == 5 && x.decoder_tokens == 3 && x.k == 2);
		SAME(x.index, index_of, N);
		SAME(x.input_ids, ids, 5);
		SAME(x.offsets, offsets, N + 1);
		SAME(x.labels, labels, 5);
		SAME(x.token_type_ids, types, 5);
		SAME(x.cls, cls, N);
		SAME(x.target, target, N);
		SAME(x.decoder_ids, decoder_ids, 3);
		SAME(x.decoder_offsets, decoder_offsets, N + 1);
		SAME(x.decoder_labels, decoder_labels, 3);
		SAME(x.span, span, N);
		SAME(x.group, group, N);
		SAME(x.weight, weight, N);
		SAME(x.adapter, adapter, N);
		SAME(x.draw, draw, N);
		SAME(x.source, source, N);
		SAME(x.row, row, N);
		if (k)
			assert_true(x.step == 1 && x.micro == 1 && x.micros == 2 && x.epoch == 1 && x.step_examples == 6 &&
				    x.step_tokens == 4 && x.step_weight == 0.1);
		pt_reader_close(r);
		pt_buf_release(&b);
	}
	b = make(PT_KIND_PREDICTIONS, true, 1);
	assert_ok(pt_reader_open_memory(&r, b.data, b.len, "predictions", 0, &err), &err);
	assert_ok(pt_reader_data(r, &rec, &err), &err);
	assert_ok(pt_predictions_view(&p, &rec->st, &err), &err);
	assert_true(p.n == N && p.tokens == 5 && p.k == 2 && p.k_probability);
	SAME(p.ids, ids, 5);
	SAME(p.offsets, offsets, N + 1);
	SAME(p.probability, probability, N);
	SAME(p.loss, loss, N);
	pt_reader_close(r);
	pt_buf_release(&b);
}

/* One value is changed, the writer refuses the record as a reader would. */
static void refuses(const char *says, const struct pt_examples *x)
{
	struct pt_writer_options o = { .path = "/dev/null", .tool = "test", .kind = "batch" };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_st_build b;
	struct pt_writer *w;

	assert_ok(pt_writer_open(&w, &o, &err), &err);
	pt_st_build_init(&b);
	pt_st_build_meta(&b, "vocab_size", "100");
	pt_st_build_meta(&b, "task", "seq2seq");
	pt_st_build_meta(&b, "labels", "[\"a\",\"b\"]");
	assert_ok(pt_writer_head(w, &b, NULL, 0, "", &err), &err);
	pt_st_build_clear(&b);
	pt_examples_build(x, PT_KIND_BATCH, &b);
	if (says)
		assert_fails(pt_writer_data(w, &b, &err), PT_DATA, says, &err);
	else
		assert_ok(pt_writer_data(w, &b, &err), &err);
	pt_st_build_release(&b);
	pt_writer_close(w);
}

/* All of it, but value at one place of a member that has n. */
#define WRONG(member, type, n, at, value, says) do {			\
	struct pt_examples x_ = all_of_it();				\
	type copy_[n];							\
	memcpy(copy_, x_.member, sizeof copy_);				\
	copy_[at] = value;						\
	x_.member = copy_;						\
	refuses(says, &x_);						\
} while (0)

static void test_values(void **state)
{
	struct pt_examples x = all_of_it();

	(void)state;
	refuses(NULL, &x);
	WRONG(input_ids, int32_t, 5, 4, 100, "input_ids[4] is 100");
	WRONG(input_ids, int32_t, 5, 4, -1, "input_ids[4] is -1");
	WRONG(input_ids, int32_t, 5, 4, -100, "input_ids[4] is -100");
	WRONG(labels, int32_t, 5, 4, 100, "labels[4] is 100");
	WRONG(labels, int32_t, 5, 4, -99, "labels[4] is -99");
	WRONG(token_type_ids, int32_t, 5, 4, -1, "token_type_ids");
	WRONG(cls, int32_t, 3, 2, 2, "class[2] is 2");
	WRONG(decoder_ids, int32_t, 3, 2, 100, "decoder_ids[2] is 100");
	WRONG(decoder_labels, int32_t, 3, 2, 100, "decoder_labels[2] is 100");
	WRONG(offsets, int64_t, 4, 3, 4, "ends with 4");
	WRONG(offsets, int64_t, 4, 3, 6, "ends with 6");
	WRONG(offsets, int64_t, 4, 0, 1, "begins with 1");
	WRONG(decoder_offsets, int64_t, 4, 3, 2, "falls from 3 to 2");
	WRONG(span, int64_t, 6, 1, 2, "span[0] is 0..2, its example has 2 tokens");
	WRONG(span, int64_t, 6, 0, -1, "span[0]");
	WRONG(weight, float, 3, 2, -1, "weight[2] is -1");
	WRONG(weight, float, 3, 2, 1.0f / 0.0f, "weight[2] is inf");
	WRONG(adapter, int32_t, 3, 2, -1, "adapter");
	WRONG(draw, int32_t, 3, 2, -1, "draw");
	x.micro = 3;
	refuses("micro-batch 3 of 2", &x);
	x = all_of_it();
	x.decoder_offsets = NULL;
	refuses("decoder_cu_seqlens", &x);
	x = all_of_it();
	x.decoder_ids = NULL;
	refuses("decoder_ids is missing", &x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_predictions),
		cmocka_unit_test(test_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
