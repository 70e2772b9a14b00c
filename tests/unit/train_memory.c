/* SPDX-License-Identifier: MIT */
/*
 * Memory of a device that has its own: what is chosen where it is short, to
 * the same bytes; weights that take turns, inputs that wait in host memory;
 * what happens when there is none. The guard makes copies as late as they may
 * be and fills what is on its way with NaN.
 */
#include "memory_fix.h"

#include "model/body.h"

#define DORA "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":4,\"use_dora\":true,\"lora_dropout\":0.1," \
	"\"target_modules\":\"all-linear\"}"
#define OFT "{\"peft_type\":\"OFT\",\"task_type\":\"CAUSAL_LM\",\"oft_block_size\":4,\"r\":0,\"target_modules\":[\"q_proj\",\"down_proj\"]}"
#define LAST "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":2,\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[4,6]}"

static void same_bytes(void **state)
{
	static const char *const config[] = { FIX_LORA, DORA, OFT, LAST };
	static const int way[][3] = { { 0, 0, 0 }, { BLOCKS, 0, 0 }, { BLOCKS, BLOCKS, 0 }, { 4, 3, 0 }, { 0, 0, BLOCKS },
		{ 0, 0, 3 }, { 0, 0, 4 }, { 3, 0, 5 }, { BLOCKS, BLOCKS, BLOCKS }, { 5, 2, 6 }, { 0, 0, 1 }, { 0, 0, 2 } };

	(void)state;
	for (size_t c = 0; c < sizeof config / sizeof *config; c++) {
		float *want = NULL;
		size_t bytes = 0;

		for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
			struct pt_step_room r = { 0 };
			struct tfix x;
			float *got;

			open_step(&x, device(), config[c]);
			x.m->recompute = way[k][0];
			x.m->away = way[k][1];
			assert_ok(pt_step_choose(&x.s, &bounds, &bounds, SIZE_MAX, &r, &err), &err);
			assert_ok(pt_step_fit(&x.s, &bounds, &bounds, 0, &err), &err);
			assert_int_equal(x.s.run.away.capacity, r.host);
			assert_ok(pt_model_place(x.m, way[k][2], &err), &err);
			bytes = two_steps(&x, &got);
			/* Blocks below the first that trains keep nothing, so that nothing of them waits. */
			assert_int_equal(x.s.run.away.peak > 0, way[k][1] > (c == 3 ? 4 : 0));
			if (k)
				assert_memory_equal(got, want, bytes);
			else
				want = got;
			assert_true(isfinite(got[0]) && got[0] != got[2] && got[1] > 0);
			if (k)
				free(got);
			tfix_close(&x);
		}
		free(want);
	}
}

/* From plenty to too little: what is chosen, that it is kept to, and what it takes. */
static void choices(void **state)
{
	static const int way[][3] = { { 0, 0, 0 }, { 1, 0, 0 }, { BLOCKS, 0, 0 }, { BLOCKS, 2, 0 }, { BLOCKS, BLOCKS, 0 },
		{ BLOCKS, BLOCKS, 3 }, { BLOCKS, BLOCKS, BLOCKS } };
	float *want = NULL;
	size_t last = SIZE_MAX;

	(void)state;
	for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
		struct pt_step_room r;
		size_t room, before, state_bytes, all;
		struct tfix x;
		float *got;

		open_step(&x, device(), FIX_LORA);
		x.s.recompute_max = BLOCKS;
		state_bytes = pt_step_state_bytes(&x.s);
		room = room_for(&x, way[k][0], way[k][1], way[k][2]);
		assert_true(room < last);
		last = room;
		assert_ok(pt_step_choose(&x.s, &bounds, NULL, room, &r, &err), &err);
		assert_int_equal(r.turns, way[k][2]);
		assert_int_equal(r.recompute, x.m->recompute);
		/* With weights in turns there may be room for less of the rest. */
		assert_true(r.turns ? r.away <= way[k][1] : r.recompute == way[k][0] && r.away == way[k][1]);
		assert_true(pt_step_room_bytes(&r) <= room);
		x.m->recompute = x.m->away = 0;
		before = x.dev->used;
		assert_ok(pt_step_fit(&x.s, &bounds, NULL, room + state_bytes, &err), &err);
		assert_int_equal(x.m->recompute, r.recompute);
		assert_int_equal(x.m->away, r.away);
		assert_int_equal(x.m->body->parts.turns, r.turns);
		/* All that there is, and nothing more while it runs. */
		all = pt_step_room_bytes(&r);
		assert_in_range(x.dev->used - before, all - 256, all);
		x.dev->peak = 0;
		two_steps(&x, &got);
		assert_int_equal(x.dev->peak, 0);
		if (k)
			assert_memory_equal(got, want, 4 * sizeof *got);
		else
			want = got;
		if (k)
			free(got);
		if (k == sizeof way / sizeof *way - 1) {
			x.m->recompute = x.m->away = 0;
			assert_fails(pt_step_fit(&x.s, &bounds, NULL, room + state_bytes - 1, &err), PT_USAGE, "tokens fit", &err);
			assert_int_equal(x.m->recompute + x.m->away, 0);
		}
		tfix_close(&x);
	}
	free(want);
}

/* Two steps of x are those of a run of the same configuration that has all the memory it wants. */
static void as_with_plenty(struct tfix *x, const char *config)
{
	struct tfix y;
	float *want, *got;
	size_t n = two_steps(x, &got);

	open_step(&y, device(), config);
	assert_ok(pt_step_fit(&y.s, &bounds, NULL, 0, &err), &err);
	two_steps(&y, &want);
	assert_memory_equal(got, want, n);
	tfix_close(x);
	tfix_close(&y);
	free(want);
	free(got);
}

/* More micro-batches than were planned for: weights begin to take turns in the middle of a run. */
static void more_later(void **state)
{
	struct pt_bounds small = { .tokens = 20, .seqs = 1, .len = 20 };
	struct tfix x;
	size_t limit;

	(void)state;
	open_step(&x, device(), DORA);
	x.s.recompute_max = BLOCKS;
	limit = room_for(&x, BLOCKS, BLOCKS, BLOCKS) + pt_step_state_bytes(&x.s);
	assert_ok(pt_step_fit(&x.s, &small, NULL, limit, &err), &err);
	assert_int_equal(x.m->body->parts.turns, 0);
	assert_ok(pt_step_fit(&x.s, &bounds, NULL, limit, &err), &err);
	assert_true(x.m->body->parts.turns > 2);
	as_with_plenty(&x, DORA);
}

static int left;
static int (*real_alloc)(struct pt_device *, size_t, void **, struct pt_error *);
static int (*real_fetch)(struct pt_device *, void *, const void *, size_t, uint64_t *, struct pt_error *);
static int (*real_pin)(struct pt_device *, size_t, void **, struct pt_error *);

static int failing_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *e)
{
	*out = NULL;
	return left-- > 0 ? real_alloc(dev, n, out, e) : pt_error(e, PT_DEVICE, "no memory for %zu bytes on %s", n, dev->name);
}

static int failing_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *e)
{
	*out = NULL;
	return left-- > 0 ? real_pin(dev, n, out, e) : pt_error(e, PT_DEVICE, "no memory for %zu bytes", n);
}

static int failing_fetch(struct pt_device *dev, void *dst, const void *src, size_t n, uint64_t *ticket,
			 struct pt_error *e)
{
	return left-- > 0 ? real_fetch(dev, dst, src, n, ticket, e) : pt_error(e, PT_DEVICE, "a copy failed");
}

/* A step that ends in the middle, with copies under way, or in a loss that is not finite, leaves nothing behind. */
static void broken_off(void **state)
{
	float *got, *old;
	struct tfix x;
	const struct pt_param *bad;
	struct pt_param *p;
	struct tbatch b;
	double norm;
	size_t n;
	int k = 0;

	(void)state;
	open_step(&x, device(), FIX_LORA);
	x.m->recompute = x.m->away = BLOCKS;
	assert_ok(pt_step_fit(&x.s, &bounds, NULL, 0, &err), &err);
	assert_ok(pt_model_place(x.m, BLOCKS, &err), &err);
	tbatch_make(&b, 0, 8, 20, false);
	real_fetch = x.dev->fetch;
	x.dev->fetch = failing_fetch;
	for (left = 0; pt_step_micro(&x.s, &b.x, &err); left = ++k)
		assert_int_equal(err.status, PT_DEVICE);
	x.dev->fetch = real_fetch;
	/* Five on the way there, five and seven inputs on the way back. */
	assert_in_range(k, 2 * (BLOCKS - 2) + BLOCKS, 2 * BLOCKS + BLOCKS);
	p = x.a->params.item[5];
	n = (size_t)pt_tensor_count(&p->t);
	old = calloc(n, sizeof *old);
	got = calloc(n, sizeof *got);
	assert_ok(pt_param_read(&x.a->params, p, old, &err), &err);
	got[0] = NAN;
	assert_ok(pt_param_write(&x.a->params, p, got, &err), &err);
	free(got);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	assert_fails(pt_step_update(&x.s, 1e-2, 1, 2, &norm, &bad, &err), PT_NUMERIC, "the loss is nan", &err);
	assert_ok(pt_param_write(&x.a->params, p, old, &err), &err);
	free(old);
	as_with_plenty(&x, FIX_LORA);
}

/* The n-th allocation fails: one line, nothing is kept, and with memory it goes on to the same bytes. */
static void no_memory(void **state)
{
	struct tfix x;
	float *got;
	size_t used;
	int n = 0, status;

	(void)state;
	open_step(&x, device(), FIX_LORA);
	x.s.recompute_max = BLOCKS;
	used = x.dev->used;
	real_alloc = x.dev->alloc;
	real_pin = x.dev->pin;
	x.dev->alloc = failing_alloc;
	x.dev->pin = failing_pin;
	do {
		size_t limit = room_for(&x, BLOCKS, BLOCKS, 4) + pt_step_state_bytes(&x.s);

		left = n++;
		status = pt_step_fit(&x.s, &bounds, NULL, limit, &err);
		if (!status)
			break;
		assert_int_equal(status, PT_DEVICE);
		assert_non_null(strstr(err.msg, "no memory for"));
		assert_null(strchr(err.msg, '\n'));
		if (x.s.run.dev)
			pt_run_release(&x.s.run);
		assert_int_equal(pt_model_place(x.m, 0, &err), PT_DEVICE);
		assert_int_equal(x.dev->used, used);
		err = (struct pt_error)PT_ERROR_INIT;
	} while (n < 100);
	/* What stays, two places, four blocks, the arena, inputs that wait. */
	assert_in_range(n, 8, 10);
	assert_int_equal(x.m->body->parts.turns, 4);
	left = 1000;
	two_steps(&x, &got);
	free(got);
	tfix_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes), cmocka_unit_test(choices), cmocka_unit_test(more_later),
		cmocka_unit_test(broken_off), cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, make_base, drop_dir);
}
