/* SPDX-License-Identifier: MIT */
/*
 * stream_fuzz.c - random damage and random records against the reader: it refuses or reads, and
 * what it hands out can be used by all that take records. A second by default; PEFT_FUZZ=SECONDS for
 * more, PEFT_FUZZ_SEED to begin elsewhere. Worth most under sanitizers.
 */
#include "test.h"

#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "io/digest.h"
#include "io/join.h"
#include "io/kinds.h"
#include "io/record.h"
#include "io/stream.h"
#include "io/zst.h"

static uint64_t seed, draws;
static uint64_t accepted, refused, records;

static uint64_t rnd(uint64_t below)
{
	return pt_hash64(&(uint64_t[2]){ seed, draws++ }, 16) % below;
}

/* Use a record in all the ways there are. */
static void use(enum pt_kind kind, const struct pt_record *rec, struct pt_join *join, struct pt_writer *w)
{
	struct pt_error err = PT_ERROR_INIT;
	int64_t n = pt_kind_count(kind, &rec->st);
	uint64_t sum = 0;
	struct pt_predictions p;
	struct pt_examples x;

	records++;
	if (kind == PT_KIND_EXAMPLES || kind == PT_KIND_BATCH) {
		assert_int_equal(pt_examples_view(&x, kind, &rec->st, &err), 0);
		for (int64_t i = 0; i < x.n; i++) {
			sum += (uint64_t)x.index[i];
			for (int64_t t = x.offsets[i]; t < x.offsets[i + 1]; t++)
				sum += (uint64_t)(x.input_ids[t] ^ (x.labels ? x.labels[t] : 0));
			for (int64_t t = x.decoder_ids ? x.decoder_offsets[i] : 0;
			     x.decoder_ids && t < x.decoder_offsets[i + 1]; t++)
				sum += (uint64_t)x.decoder_ids[t];
		}
	} else if (kind == PT_KIND_PREDICTIONS && !pt_predictions_view(&p, &rec->st, &err)) {
		for (int64_t i = 0; i < p.n; i++)
			sum += (uint64_t)(p.index[i] ^ (p.ids ? p.offsets[i + 1] : 0));
	}
	for (size_t i = 0; i < rec->st.ntensors; i++)
		for (size_t b = 0; b < rec->st.tensor[i].bytes; b++)
			sum += ((const unsigned char *)rec->st.tensor[i].data)[b];
	if (w)
		pt_join_write(join, w, rec, (int64_t)rnd((uint64_t)n + 1), &err);
	draws += sum & 1;		/* the sum counts for something */
}

static void feed(const void *data, size_t n, int flags)
{
	struct pt_writer_options o = { .path = "/dev/null", .tool = "peft-cat", .kind = "x" };
	struct pt_error err = PT_ERROR_INIT, ignored = PT_ERROR_INIT;
	struct pt_prov prov = PT_PROV_INIT;
	struct pt_buf text = PT_BUF_INIT;
	const struct pt_record *rec;
	struct pt_writer *w = NULL;
	struct pt_join join = { 0 };
	enum pt_kind kind = PT_KIND_OTHER;
	struct pt_reader *r;
	struct pt_st_build made;
	uint64_t *ids;
	size_t nids;
	char *copy = malloc(n ? n : 1);		/* of this size: sanitizers see a read beyond */

	memcpy(copy, data, n);
	pt_st_build_init(&made);
	assert_int_equal(pt_reader_open_memory(&r, copy, n, NULL, flags, &err), 0);
	while (!pt_reader_next(r, &rec, &err) && rec) {
		if (rec->type == PT_HEAD) {
			kind = pt_kind_parse(pt_st_meta(&rec->st, "kind"));
			if (!w && !pt_writer_open(&w, &o, &ignored)) {
				pt_join_init(&join, kind);
				pt_join_heads(&made, &rec, 1, true, &ignored);
				pt_writer_kind(w, pt_st_meta(&rec->st, "kind"), &ignored);
				pt_writer_head(w, &made, &rec, 1, "", &ignored);
			}
			pt_join_segment(&join, &made, rec, &ignored);
		} else if (rec->type == PT_RECORD) {
			use(kind, rec, kind == join.kind ? &join : NULL, kind == join.kind ? w : NULL);
		}
	}
	*(err.status ? &refused : &accepted) += 1;
	assert_true(err.status == 0 || err.status == PT_DATA);
	if (!pt_reader_prov(r, &prov, &ids, &nids, &ignored)) {
		for (size_t i = 0; i < nids; i++)
			pt_prov_tree(&prov, ids[i], &text, &ignored);
		free(ids);
	}
	if (w)
		pt_writer_end(w, NULL, &r, 1, true, &ignored);
	pt_writer_close(w);
	pt_join_release(&join);
	pt_st_build_release(&made);
	pt_prov_release(&prov);
	pt_buf_release(&text);
	pt_reader_close(r);
	free(copy);
}

static const char *const words[] = {
	"index", "input_ids", "offsets", "labels", "class", "target", "decoder_ids", "decoder_offsets", "weight", "span",
	"cu_seqlens", "step", "loss", "lr", "grad_norm", "tokens", "examples", "seconds", "ids", "probability", "logits",
	"group", "source", "row", "draw", "decoder_labels", "decoder_cu_seqlens", "token_type_ids", "_x", "other",
};
static const char *const kinds[] = { "examples", "batch", "metrics", "predictions", "other" };

/* A tensor of this name, mostly as the table wants it. */
static void add_tensor(struct pt_st_build *b, const char *name, enum pt_kind kind, int64_t n, int64_t *offsets,
		       char *data)
{
	const struct pt_kind_tensor *k = pt_kind_entry(kind, name);
	bool wrong = rnd(40) == 0;
	enum pt_dtype type = k && !wrong ? k->dtype : (enum pt_dtype)rnd(PT_DTYPES);
	int64_t shape[3] = { n, 1 + (int64_t)rnd(3), 2 };
	int ndim = 1;
	const void *from = data;

	if (k && !wrong)
		switch (k->shape) {
		case PT_PER_EXAMPLE_K: ndim = 2; break;
		case PT_PER_EXAMPLE_2: ndim = 2; shape[1] = 2; break;
		case PT_PER_EXAMPLE_OR_K: ndim = 1 + (int)rnd(2); break;
		case PT_PER_TOKEN: case PT_PER_DECODER: shape[0] = offsets[n]; break;
		case PT_OFFSETS: case PT_DECODER_OFFSETS: shape[0] = n + 1; from = offsets; break;
		default: break;
		}
	else
		ndim = (int)rnd(4);
	if (from == data)
		for (size_t i = 0; i < 64; i++)
			data[rnd(2048)] = (char)(rnd(4) ? 0 : rnd(256));
	pt_st_build_tensor(b, name, type, ndim, shape, from);
}

static void add_record(struct pt_buf *out, const char *pts, const char *kind, struct pt_st_build *b)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf rec = PT_BUF_INIT;

	if (!strcmp(pts, "head")) {
		pt_st_build_meta(b, "v", rnd(50) ? "1" : "2");
		pt_st_build_meta(b, "kind", kind);
		if (rnd(2))
			pt_st_build_meta(b, "vocab_size", rnd(9) ? "200" : "-1");
		if (rnd(3) == 0)
			pt_st_build_meta(b, "labels", rnd(9) ? "[\"a\",\"b\"]" : "{");
		if (rnd(3) == 0)
			pt_st_build_meta(b, "task", rnd(2) ? "lm" : "class");
		if (rnd(3) == 0)
			pt_st_build_meta(b, "max_tokens", rnd(2) ? "99" : "9999999999999999999999");
	}
	if (!pt_record_build(b, pts, &rec, &err))
		pt_buf_add(out, rec.data, rec.len);
	pt_buf_release(&rec);
}

static void put_step(struct pt_st_build *b)
{
	static const char *const keys[] = { "step", "micro", "micros", "epoch", "step_examples", "step_tokens", "step_weight" };
	char text[32];

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		snprintf(text, sizeof text, "%d", (int)(i == 2 ? 2 : rnd(60) ? 1 : rnd(5)));
		if (rnd(60))
			pt_st_build_meta(b, keys[i], text);
	}
}

/* A stream of random records, the END of which is right as often as not. */
static void make(struct pt_buf *out)
{
	const char *name = kinds[rnd(5)];
	enum pt_kind kind = pt_kind_parse(name);
	struct pt_error err = PT_ERROR_INIT;
	static char data[65536];
	struct pt_digest digest;
	struct pt_st_build b;
	struct pt_st st;
	uint64_t v;
	char number[32];
	int64_t offsets[16];
	size_t start = out->len;

	pt_st_build_init(&b);
	add_record(out, "head", name, &b);
	assert_ok(pt_st_parse(&st, out->data + start, out->len - start, &err), &err);
	pt_digest_head(&digest, &st);
	pt_st_release(&st);
	pt_st_build_clear(&b);
	for (uint64_t i = rnd(4); i > 0; i--) {
		const struct pt_kind_tensor *table = pt_kind_table(kind);
		int64_t n = (int64_t)rnd(6);
		size_t at = out->len;

		for (int64_t k = offsets[0] = 0; k < n; k++)
			offsets[k + 1] = offsets[k] + (int64_t)rnd(5) - (rnd(60) == 0);
		for (int64_t k = 0; k <= n; k++)
			offsets[k] = offsets[k] < 0 ? 0 : offsets[k];
		for (int k = 0; table && table[k].name; k++)
			if (table[k].always ? rnd(60) : rnd(4) == 0)
				add_tensor(&b, table[k].name, kind, n, offsets, data);
		if (!table || rnd(20) == 0)
			add_tensor(&b, words[rnd(sizeof words / sizeof *words)], kind, n, offsets, data);
		if (kind == PT_KIND_BATCH)
			put_step(&b);
		add_record(out, "data", name, &b);
		pt_st_build_clear(&b);
		err = (struct pt_error)PT_ERROR_INIT;
		if (out->len > at && !pt_st_parse(&st, out->data + at, out->len - at, &err)) {
			struct pt_kind_bounds bounds = { 0 };

			st.ntensors--;
			if (!pt_kind_check(kind, &st, &bounds, &err))
				pt_digest_data(&digest, &st, &err);
			pt_st_release(&st);
		}
	}
	for (int i = 0; (name = pt_digest_count(&digest, i, &v)) != NULL; i++) {
		snprintf(number, sizeof number, "%llu", (unsigned long long)v);
		pt_st_build_meta(&b, name, number);
	}
	pt_st_build_meta(&b, "digest", pt_hex64(pt_digest_value(&digest)).s);
	add_record(out, "end", "", &b);
	pt_st_build_release(&b);
}

static void damage(struct pt_buf *b)
{
	for (uint64_t k = 1 + rnd(4); k > 0 && b->len > 1; k--) {
		size_t at = rnd(b->len), n = rnd(b->len - at) % 100, to = rnd(b->len);

		switch (rnd(6)) {
		case 0: b->data[at] ^= (char)(1 << rnd(8)); break;
		case 1: b->data[at] = (char)rnd(256); break;
		case 2: b->data[at] = "0123456789[]{}\":,\\u"[rnd(19)]; break;
		case 3: memmove(b->data + at, b->data + at + n, b->len - at - n); b->len -= n; break;
		case 4: if (to + n <= b->len) memmove(b->data + to, b->data + at, n); break;
		default: b->len = at + 1; break;
		}
	}
}

/* Damage inside of a record, behind a checksum that is right. */
static void damage_deeply(struct pt_buf *b)
{
	struct pt_error err = PT_ERROR_INIT;
	size_t at = 0, need, total;
	uint64_t h;

	for (uint64_t k = rnd(4); !pt_st_extent(b->data + at, b->len - at, &need, &total, &err) && total && k > 0 &&
	     at + total < b->len; k--)
		at += total;
	if (pt_st_extent(b->data + at, b->len - at, &need, &total, &err) || !total || total < 80 || at + total > b->len)
		return;
	for (uint64_t k = 1 + rnd(3); k > 0; k--) {
		size_t i = at + 8 + rnd(total - 24);

		b->data[i] = rnd(2) ? "0123456789[]{}\":,\\u"[rnd(19)] : (char)rnd(256);
	}
	h = pt_hash64(b->data + at, total - 8);
	memcpy(b->data + at + total - 8, &h, 8);
}

static void pack(struct pt_buf *b)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf packed = PT_BUF_INIT;
	struct pt_zst_writer *w;

	assert_int_equal(pt_zst_writer_new(&w, &err), 0);
	if (!pt_zst_compress(w, b->data, b->len, &packed, &err)) {
		pt_buf_clear(b);
		pt_buf_add(b, packed.data, packed.len);
	}
	pt_zst_writer_free(w);
	pt_buf_release(&packed);
}

static void test_fuzz(void **state)
{
	const char *seconds = getenv("PEFT_FUZZ"), *from = getenv("PEFT_FUZZ_SEED");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 1);
	struct pt_buf b = PT_BUF_INIT;

	(void)state;
	seed = from ? strtoull(from, NULL, 10) : 1;
	for (uint64_t i = 0; i < 500 || time(NULL) < end; i++, seed++) {
		draws = 0;
		pt_buf_clear(&b);
		for (uint64_t k = 1 + (rnd(3) == 0); k > 0; k--)
			make(&b);
		feed(b.data, b.len, rnd(2) ? PT_READ_ANY_KIND : 0);
		if (rnd(2))
			damage_deeply(&b);
		if (rnd(3) == 0)
			pack(&b);
		if (rnd(2))
			damage(&b);
		feed(b.data, b.len, rnd(2) ? PT_READ_ANY_KIND : 0);
	}
	pt_buf_release(&b);
	/* Both happen often enough to mean something. */
	assert_true(accepted > 50 && refused > 50 && records > 100);
	print_message("# %llu accepted, %llu refused, %llu records used\n", (unsigned long long)accepted,
		      (unsigned long long)refused, (unsigned long long)records);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fuzz) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
