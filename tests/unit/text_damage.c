/* SPDX-License-Identifier: MIT */
/*
 * What a tokenizer's file may not do: send the reader of a character map out of its bounds or into a circle, give
 * text that is not UTF-8, or numbers that are read otherwise than the package reads them. Under sanitizers.
 */
#include "test.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/tokfile.h"
#include "text/tokenizer.h"

static struct pt_error err;
static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

/* Every text of up to four characters that matter, looked up at every length. */
static void look_up(const struct pt_charsmap *map)
{
	static const char *const texts[] = {
		"a", "\t", "\xc2\xa0\xcc\x80", "e\xcc\x81", "\xe3\x80\x80", "\xf0\x9f\x98\x80", "ab", "\xff\xfe\xfd", "\x01\x02\x03\x04",
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		for (size_t n = 0; n <= strlen(texts[i]); n++) {
			size_t len = 0;
			const char *s = pt_charsmap_find(map, texts[i], n, &len);

			if (!s)
				continue;
			assert_true(s >= map->text && s + len <= map->text + map->ntext);
			assert_int_equal(pt_utf8_valid(s, len), len);
		}
}

static void put32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static void damaged_maps_are_refused_or_harmless(void **state)
{
	static const char text[] = " \0x\0\xc3\xa9\0long \xc3\xa9 text";
	unsigned char b[4 + 4 * 512 + sizeof text];
	int opened = 0, hits = 0;

	(void)state;
	for (int k = 0; k < 20000; k++) {
		uint32_t units = draw(512), size = 4 * units, cut;
		struct pt_charsmap *map;
		size_t n = 4 + size + sizeof text, len;

		put32(b, draw(16) ? size : draw(UINT32_MAX));
		/* Labels where their byte leads, offsets that go in circles, leaves in and out of the text. */
		for (uint32_t i = 0; i < units; i++) {
			uint32_t label = draw(4) ? i & 0xff : draw(256), offset = draw(8) ? draw(units) : draw(1u << 21);

			uint32_t leaf = 1u << 31 | (draw(8) ? draw(sizeof text + 4) : draw(1u << 31));

			if (i == 0 && draw(4))
				offset &= 0x100;
			put32(b + 4 + 4 * i, i && draw(3) == 0 ? leaf : (i ? label : 0) | offset << 10 | draw(4) << 8);
		}
		memcpy(b + 4 + size, text, sizeof text);
		cut = draw(4) ? (uint32_t)n : draw((uint32_t)n + 1);
		if (pt_charsmap_new(&map, b, cut, &err)) {
			assert_null(map);
			assert_int_equal(err.status, PT_DATA);
			continue;
		}
		opened++;
		look_up(map);
		for (int c = 1; c < 128; c++) {
			char s = (char)c;

			hits += pt_charsmap_find(map, &s, 1, &len) != NULL;
		}
		pt_charsmap_free(map);
	}
	if (opened < 5000 || hits < 10000)
		fail_msg("%d maps opened, %d texts found", opened, hits);
}

static void numbers_are_read_as_the_package_reads_them(void **state)
{
	static const struct {
		const char *s;
		double v;
	} t[] = {
		{ "0", 0 }, { "-7", -7 }, { "5E+3", 5000 }, { "0.1", 0x1.999999999999ap-4 }, { "1e23", 0x1.52d02c7e14af6p+76 },
		{ "2.2250738585072014e-308", 0x1p-1022 }, { "1e-330", 0 }, { "4.9e-324", 0x1p-1074 }, { "0e999999999999", 0 },
		{ "123456789012345678901234567890", 0x1.8ee90ff6c373ep+96 }, { "18446744073709551616.05", 0x1p64 },
		{ "-9.000000000000000000000000000001e0", -9 }, { "-8.342857142857143", -0x1.0af8af8af8af9p+3 },
		/* None of these is the nearest. */
		{ "-15.3615598924665679", -0x1.eb91e60d360dcp+3 }, { "-13.974646809685753", -0x1.bf304e8198088p+3 },
		{ "-10.54501822669066335436", -0x1.5170ca106b87ap+3 }, { "-7.3404819024193397", -0x1.d5ca749af156dp+2 },
		{ "-10.359971545049177", -0x1.4b84e30baf41fp+3 }, { "-11.790763453081823", -0x1.794def283b789p+3 },
		{ "-11.37616893138134521735", -0x1.6c09936d41bb8p+3 }, { "-7.44061314220545888531", -0x1.dc330176fd749p+2 },
	};
	static const char *const bad[] = { "", "-", "+1", ".5", "1.", "1e", "1e+", "01", "1e999", "nan", "Infinity", "0x1" };
	struct pt_walk w;
	double v;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		w = (struct pt_walk){ .start = t[i].s, .p = t[i].s, .end = t[i].s + strlen(t[i].s), .what = "vocab" };
		assert_ok(pt_span_number(&w, &v, &err), &err);
		if (v != t[i].v)
			fail_msg("%s is %a, not %a", t[i].s, v, t[i].v);
		assert_ptr_equal(w.p, w.end);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		w = (struct pt_walk){ .start = bad[i], .p = bad[i], .end = bad[i] + strlen(bad[i]), .what = "vocab" };
		if (pt_span_number(&w, &v, &err) == 0)
			assert_ptr_not_equal(w.p, w.end);
		else
			assert_int_equal(err.status, PT_DATA);
	}
}

/* Files cut short and with bytes changed: an error, or a tokenizer that works. */
static void damaged_files_are_refused_or_work(void **state)
{
	static const char *const names[] = { "t5", "unigram-ties", "wordlevel", "spaced", "xlm-r" };
	static const char text[] = "It's \xc2\xa0\xcc\x80 e\xcc\x81 0000 \xf0\x9f\x98\x80 <mask></s> x";
	struct pt_encoding e = PT_ENCODING_INIT;
	int opened = 0, refused = 0;
	char path[] = "/tmp/text_damage.XXXXXX", from[100];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && close(fd) == 0);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct pt_buf file = PT_BUF_INIT;

		snprintf(from, sizeof from, "tests/data/tokenizers/%s.json", names[i]);
		assert_ok(pt_file_read(from, 1 << 20, &file, &err), &err);
		for (int k = 0; k < 120; k++) {
			size_t n = k % 3 ? file.len : draw((uint32_t)file.len), at = draw((uint32_t)file.len);
			char was = file.data[at];
			struct pt_tokenizer *tok;
			struct pt_encoder *enc;

			if (k % 3)
				file.data[at] = "0123456789abcXYZ+/=[]{},\":-"[draw(27)];
			assert_ok(pt_file_write(path, file.data, n, &err), &err);
			file.data[at] = was;
			if (pt_tokenizer_open(&tok, path, &err)) {
				assert_null(tok);
				refused++;
				continue;
			}
			opened++;
			assert_ok(pt_encoder_new(&enc, tok, &err), &err);
			for (int flags = 0; flags < 2; flags++)
				if (pt_encode(enc, text, sizeof text - 1, flags ? PT_ENCODE_ORIGIN | PT_ENCODE_SPECIAL : 0, 0, &e, &err))
					assert_int_equal(err.status, PT_DATA);
			for (size_t t = 0; e.origin && t < e.n; t++)
				assert_true(e.origin[t].from <= e.origin[t].to && e.origin[t].to < sizeof text);
			pt_encoder_free(enc);
			pt_tokenizer_close(tok);
		}
		pt_buf_release(&file);
	}
	pt_encoding_release(&e);
	assert_int_equal(unlink(path), 0);
	if (opened < 50 || refused < 150)
		fail_msg("%d files opened, %d refused", opened, refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_maps_are_refused_or_harmless),
		cmocka_unit_test(numbers_are_read_as_the_package_reads_them),
		cmocka_unit_test(damaged_files_are_refused_or_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
