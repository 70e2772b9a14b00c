/* SPDX-License-Identifier: MIT */
/*
 * read_stream.c - reads a tensor stream by stream.md alone: what it is, whether it is whole.
 *
 *     cc -o read_stream read_stream.c -lzstd -lxxhash && ./read_stream <x.pts
 *
 * It shares nothing with the programs here. The input is held in memory; status 3: refused.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

typedef unsigned long long u64;

static void must(int ok, const char *why)
{
	if (ok)
		return;
	fprintf(stderr, "read_stream: %s\n", why);
	exit(3);
}

static u64 le64(const char *p)
{
	u64 v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

/* The header of the last record: {name: {key: value}}, arrays as their text. And its tensors' bytes. */
static struct { char *name, *key, *value; } item[8192];
static int nitems;
static char *bytes;

static const char *get(const char *name, const char *key)
{
	for (int i = 0; i < nitems; i++)
		if (!strcmp(item[i].name, name) && !strcmp(item[i].key, key))
			return item[i].value;
	return NULL;
}

static const char *meta(const char *key)
{
	const char *v = get("__metadata__", key);

	return v ? v : "";
}

static int tensor(const char *name, u64 *begin, u64 *end, u64 *n)
{
	const char *offsets = get(name, "data_offsets"), *shape = get(name, "shape");

	*n = 0;
	return offsets && shape && sscanf(offsets, "[ %llu , %llu", begin, end) == 2 &&
	       sscanf(shape, "[ %llu", n) >= 0;
}

static int next(char **p, char c)
{
	*p += strspn(*p, " \t\r\n");
	return **p == c ? ++*p, 1 : 0;
}

/* Unescaped in place: what an escape stands for is never longer. */
static char *string(char **p)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned u, low;
	const char *e;
	char *s, *d;

	must(next(p, '"'), "a header has no string where one belongs");
	for (s = d = *p; **p != '"'; ++*p) {
		must(**p != '\0', "a string does not end");
		if (**p != '\\') {
			*d++ = **p;
		} else if (*++*p != 'u') {
			must(**p && (e = strchr(from, **p)) != NULL, "bad escape");
			*d++ = to[e - from];
		} else {
			must(sscanf(*p + 1, "%4x", &u) == 1 && strlen(*p) > 4, "bad escape");
			*p += 4;
			if (u >= 0xd800 && u < 0xdc00 && sscanf(*p + 1, "\\u%4x", &low) == 1 && strlen(*p) > 6) {
				u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
				*p += 6;
			}
			/* UTF-8: lead byte, then six bits each. */
			for (int more = u < 0x80 ? 0 : u < 0x800 ? 1 : u < 0x10000 ? 2 : 3, i = more; i >= 0; i--)
				*d++ = (char)(i < more ? 0x80 | (u >> 6 * i & 63)
						       : (more ? 0xf0 << (3 - more) & 0xff : 0) | u >> 6 * i);
		}
	}
	++*p;
	*d = '\0';
	return s;
}

static void header(char *p)
{
	char *name;

	nitems = 0;
	for (must(next(&p, '{'), "not a record"); !next(&p, '}'); next(&p, ',')) {
		name = string(&p);
		for (must(next(&p, ':') && next(&p, '{'), "bad header"); !next(&p, '}'); next(&p, ',')) {
			must(nitems < 8192, "a header has too many entries");
			item[nitems].name = name;
			item[nitems].key = string(&p);
			must(next(&p, ':'), "bad header");
			if (next(&p, '[')) {
				item[nitems++].value = p - 1;
				p += strcspn(p, "]");
				must(*p != '\0', "an array does not end");
				*p++ = '\0';
			} else {
				item[nitems++].value = string(&p);
			}
		}
	}
}

/* Section 1: the record at data, of which size bytes are there; its length. */
static u64 record(char *data, u64 size)
{
	static char *copy;
	u64 n, begin, end, length = 0, n0;

	must(size > 8 && (n = le64(data)) <= 16 << 20 && n <= size - 8, "not a record, or cut short");
	free(copy);
	must((copy = calloc(n + 1, 1)) != NULL, "out of memory");
	memcpy(copy, data + 8, n);
	header(copy);
	bytes = data + 8 + n;
	for (int i = 0; i < nitems; i++)
		if (!strcmp(item[i].key, "data_offsets")) {
			must(tensor(item[i].name, &begin, &end, &n0) && begin <= end, "bad tensor");
			length = end > length ? end : length;
		}
	must(length <= size - 8 - n, "cut short");
	must(tensor("_tail", &begin, &end, &n0) && end == length && end - begin >= 16, "no \"_tail\" at the end");
	length += 8 + n;
	must(length % 64 == 0 && end - begin < 80 && le64(data + length - 16) == length, "a length is wrong");
	must(le64(data + length - 8) == XXH64(data, length - 8, 0), "a checksum is wrong");
	for (u64 i = begin; i < end - 16; i++)
		must(!bytes[i], "padding is not zero");
	return length;
}

/* Section 4, the tensors in their order: e a row an example, t tokens, d decoder tokens, o offsets. */
#define EXAMPLES(o) " index e input_ids t " o " o labels t token_type_ids t class e target e decoder_ids d decoder_" o \
	" o decoder_labels d span e group e weight e adapter e draw e source e row e "
static const char *const kinds[][2] = {
	{ "examples", EXAMPLES("offsets") },
	{ "batch", EXAMPLES("cu_seqlens") },
	{ "metrics", " step e loss e lr e grad_norm e tokens e examples e seconds e " },
	{ "predictions", " index e class e ids t offsets o probability e logits e loss e " },
	{ NULL, "" },
};

/* Section 6 (on a little-endian machine). */
static XXH64_state_t *hash;

static void add64(u64 v)
{
	XXH64_update(hash, &v, 8);
}

static void add_str(const char *s)
{
	add64(strlen(s));
	XXH64_update(hash, s, strlen(s));
}

static void add_part(unsigned char number, const char *name, u64 begin, u64 end)
{
	XXH64_update(hash, &number, 1);
	if (!number)
		add_str(name);
	add64(end - begin);
	XXH64_update(hash, bytes + begin, end - begin);
}

static void head(void)
{
	static const char *const keys[] = { "options", "tokenizer", "vocab_size", "task", "labels", "max_tokens",
		"max_seqs", "max_len", "max_decoder_tokens", "max_decoder_len", "total_steps" };

	XXH64_reset(hash, 0);
	add_str("pts1");
	add_str(meta("kind"));
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (get("__metadata__", keys[i])) {
			add_str(keys[i]);
			add_str(meta(keys[i]));
		}
	XXH64_update(hash, "\xff", 1);
}

/* The part of example i of the tensor that stands at begin..end with n rows. */
static void add_example(unsigned char number, char how, u64 i, u64 begin, u64 end, u64 n)
{
	u64 o, o_end, on, row = n ? (end - begin) / n : 0;

	if (how == 'o')
		return;
	if (how == 'e') {
		must(i < n, "a tensor is too short");
		add_part(number, NULL, begin + row * i, begin + row * (i + 1));
		return;
	}
	must(tensor(how == 't' ? "offsets" : "decoder_offsets", &o, &o_end, &on) && i + 2 <= on, "no offsets");
	o += 8 * i;
	must(le64(bytes + o) <= le64(bytes + o + 8) && le64(bytes + o + 8) <= n, "offsets are wrong");
	add_part(number, NULL, begin + 4 * le64(bytes + o), begin + 4 * le64(bytes + o + 8));
}

static int by_name;

static int order(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	u64 i, j, n;

	return by_name ? strcmp(x, y) : tensor(x, &i, &n, &n) && tensor(y, &j, &n, &n) && i < j ? -1 : 1;
}

/* A DATA record; the number of its examples, steps or micro-batches. */
static u64 data(const char *kind)
{
	static const char *const keys[] = { "step", "micro", "micros", "epoch", "step_examples", "step_tokens" };
	u64 begin, end, n, count = 1;
	const char *table, *rest[1024];
	int k = 0, nrest = 0, batch = !strcmp(kind, "batch");
	double weight = strtod(meta("step_weight"), NULL);
	char name[64], how;

	while (kinds[k][0] && strcmp(kinds[k][0], kind))
		k++;
	table = kinds[k][1];
	by_name = kinds[k][0] != NULL;
	for (int i = 0; i < nitems; i++) {
		snprintf(name, sizeof name, " %.60s ", item[i].name);
		if (!strcmp(item[i].key, "dtype") && name[1] != '_' && !strstr(table, name) && nrest < 1024)
			rest[nrest++] = item[i].name;
	}
	qsort(rest, (size_t)nrest, sizeof *rest, order);
	if (*table && !batch)
		must(tensor(k == 2 ? "step" : "index", &begin, &end, &count), "no step or index");
	for (u64 i = 0; i < count; i++) {
		XXH64_update(hash, "\1", 1);
		for (int m = 0; batch && m < 6; m++)
			add64(strtoull(meta(keys[m]), NULL, 10));
		if (batch)
			XXH64_update(hash, &weight, 8);
		for (int number = 1, at = 0, len; sscanf(table + at, "%63s %c %n", name, &how, &len) == 2;
		     at += len, number++)
			if (tensor(name, &begin, &end, &n) && strcmp(name, "seconds")) {
				if (batch)
					add_part((unsigned char)number, NULL, begin, end);
				else
					add_example((unsigned char)number, how, i, begin, end, n);
			}
		for (int r = 0; r < nrest; r++)
			if (tensor(rest[r], &begin, &end, &n) && (!*table || i < n))
				add_part(0, rest[r], begin + (*table ? 8 * i : 0), *table ? begin + 8 * i + 8 : end);
	}
	return count;
}

/* The next record, unpacked where it is compressed; what it takes of the input. */
static u64 read_record(char *p, u64 left)
{
	static char *plain;
	u64 size;
	size_t n;

	if (left < 4 || memcmp(p, "\x28\xb5\x2f\xfd", 4))
		return record(p, left);
	n = ZSTD_findFrameCompressedSize(p, left);
	must(!ZSTD_isError(n) && (size = ZSTD_getFrameContentSize(p, n)) <= 1 << 30, "a damaged or cut zstd frame");
	free(plain);
	must((plain = malloc(size + 1)) && ZSTD_decompress(plain, size, p, n) == size, "a damaged zstd frame");
	must(record(plain, size) == size, "a zstd frame is not one record");
	return n;
}

int main(void)
{
	u64 n = 0, cap = 1 << 16, at = 0, k, records = 0, count = 0;
	char kind[64] = "", text[32], *p = malloc(cap);
	enum { START, IN, BETWEEN } state = START;

	while (p && (k = fread(p + n, 1, cap - n, stdin)) > 0)
		if ((n += k) == cap)
			p = realloc(p, cap *= 2);
	hash = XXH64_createState();
	must(p && hash && n, "empty input");
	while (at < n) {
		at += read_record(p + at, n - at);
		must(strcmp(meta("pts"), "fail"), meta("message"));
		if (!strcmp(meta("pts"), "head") && state != IN) {
			must(!strcmp(meta("v"), "1"), "another version");
			snprintf(kind, sizeof kind, "%s", meta("kind"));
			head();
			records = count = 0;
			state = IN;
		} else if (!strcmp(meta("pts"), "data") && state == IN) {
			count += data(kind);
			records++;
		} else {
			must(!strcmp(meta("pts"), "end") && state == IN, "a record that does not belong here");
			must(strtoull(meta("records"), NULL, 10) == records, "records are missing");
			snprintf(text, sizeof text, "%016llx", (u64)XXH64_digest(hash));
			must(!strcmp(meta("digest"), text), "the digest is wrong");
			printf("%s: %llu records, %llu of the kind, digest %s, END%s\n", kind, records, count, text,
			       *meta("limited") ? " (limited)" : "");
			state = BETWEEN;
		}
	}
	must(state == BETWEEN, "cut short: no END");
	XXH64_freeState(hash);
	free(p);
	return 0;
}
