/* SPDX-License-Identifier: MIT */
/*
 * sniff.c - recognise by its first bytes what a user may give by mistake.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "io/sniff.h"

struct magic {
	const char *bytes;
	size_t n;
	const char *what, *hint;
	enum pt_packed how;
};

static const char convert_hint[] =
	"convert it where it is trusted: python -c 'import sys,torch,safetensors.torch as s; "
	"s.save_file({k: v.contiguous() for k, v in torch.load(sys.argv[1], weights_only=True).items()}, "
	"sys.argv[2])' model.bin model.safetensors";

static const struct magic magics[] = {
	{ "\x1f\x8b", 2, "gzip data", "pipe it through zcat", PT_PACKED_GZIP },
	{ "BZh", 3, "bzip2 data", "pipe it through bzcat", PT_PACKED_BZIP2 },
	{ "\xfd" "7zXZ", 6, "xz data", "pipe it through xzcat", PT_PACKED_XZ },
	{ "\x28\xb5\x2f\xfd", 4, "zstd data", "pipe it through zstdcat", PT_PACKED_ZSTD },
	{ "PK\x03\x04", 4, "a zip archive (perhaps a PyTorch .bin)", convert_hint, PT_PACKED_ZIP },
	{ "PK\x05\x06", 4, "an empty zip archive", NULL, PT_PACKED_ZIP },
	{ "\x80\x02", 2, "a Python pickle", convert_hint, PT_PACKED_NOT },
	{ "\x80\x03", 2, "a Python pickle", convert_hint, PT_PACKED_NOT },
	{ "\x80\x04", 2, "a Python pickle", convert_hint, PT_PACKED_NOT },
	{ "\x80\x05", 2, "a Python pickle", convert_hint, PT_PACKED_NOT },
	{ "GGUF", 4, "GGUF", "name the model directory that it was made from", PT_PACKED_NOT },
	{ "\x93NUMPY", 6, "a NumPy array", NULL, PT_PACKED_NOT },
	{ "\x89HDF\r\n", 6, "HDF5", NULL, PT_PACKED_NOT },
	{ "ARROW1", 6, "an Arrow file", NULL, PT_PACKED_NOT },
	{ "PAR1", 4, "Parquet", "write it as JSON lines first", PT_PACKED_NOT },
	{ "\x7f" "ELF", 4, "an ELF program", NULL, PT_PACKED_NOT },
	{ "%PDF", 4, "PDF", NULL, PT_PACKED_NOT },
	{ "\x89PNG", 4, "a PNG picture", NULL, PT_PACKED_NOT },
};

static bool is_safetensors(const unsigned char *d, size_t n)
{
	uint64_t len = 0;

	if (n < 9 || d[8] != '{')
		return false;
	for (int i = 7; i >= 0; i--)
		len = len << 8 | d[i];
	return len >= 2 && len <= 100000000u;
}

static bool is_text(const unsigned char *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((d[i] < 0x20 && !(d[i] >= '\t' && d[i] <= '\r') && d[i] != 0x1b) || d[i] == 0x7f)
			return false;
	return n > 0;
}

/* With its byte order mark; of what is mostly ASCII every other byte is 0. */
static bool is_utf16(const unsigned char *d, size_t n)
{
	return n >= 4 && ((d[0] == 0xff && d[1] == 0xfe) || (d[0] == 0xfe && d[1] == 0xff)) && memchr(d, 0, n);
}

/* A skippable frame: 50..5f 2a 4d 18. */
static bool is_skippable(const unsigned char *d, size_t n)
{
	return n >= 4 && (d[0] & 0xf0) == 0x50 && d[1] == 0x2a && d[2] == 0x4d && d[3] == 0x18;
}

/* The magic number, or, before 1988, only a checksum: the sum of the header's bytes with its own field blank. */
static bool is_tar(const unsigned char *d, size_t n)
{
	unsigned long sum = 0, said = 0;
	size_t i = 148;

	if (n >= 262 && !memcmp(d + 257, "ustar", 5))
		return true;
	if (n < 512 || !d[0])
		return false;
	for (size_t k = 0; k < 512; k++)
		sum += k >= 148 && k < 156 ? ' ' : d[k];
	while (i < 156 && d[i] == ' ')
		i++;
	for (; i < 156 && d[i] >= '0' && d[i] <= '7'; i++)
		said = said * 8 + (d[i] - '0');
	return said == sum;
}

static const struct magic *magic_of(const void *data, size_t n)
{
	for (size_t k = 0; k < sizeof magics / sizeof *magics; k++)
		if (n >= magics[k].n && !memcmp(data, magics[k].bytes, magics[k].n))
			return &magics[k];
	return NULL;
}

enum pt_packed pt_sniff_packed(const void *data, size_t n)
{
	const struct magic *m = magic_of(data, n);

	if (m && m->how)
		return m->how;
	/* pzstd begins with a skippable frame. */
	if (is_skippable(data, n))
		return PT_PACKED_ZSTD;
	return is_tar(data, n) ? PT_PACKED_TAR : PT_PACKED_NOT;
}

const char *pt_sniff(const void *data, size_t n, const char **hint)
{
	const unsigned char *d = data;
	const struct magic *m;
	size_t i = 0;

	*hint = NULL;
	if (!n)
		return "nothing at all";
	if (is_safetensors(d, n)) {
		if (n >= 32 && !memcmp(d + 8, "{\"__metadata__\":{\"pts\":", 23)) {
			*hint = "peft-view shows what is in it";
			return "a tensor stream";
		}
		return PT_SNIFF_SAFETENSORS;
	}
	m = magic_of(d, n);
	if (m) {
		*hint = m->hint;
		return m->what;
	}
	if (is_skippable(d, n))
		return "a skippable zstd frame";
	if (is_tar(d, n)) {
		*hint = "unpack it first";
		return "a tar archive";
	}
	if (is_utf16(d, n)) {
		*hint = "iconv -f UTF-16 -t UTF-8 makes UTF-8 of it";
		return "UTF-16";
	}
	if (!is_text(d, n))
		return "unknown data";
	if (n >= 3 && !memcmp(d, "\xef\xbb\xbf", 3))
		i = 3;
	while (i < n && (d[i] == ' ' || (d[i] >= '\t' && d[i] <= '\r')))
		i++;
	*hint = "make a stream of it with peft-tokenize";
	if (i < n && (d[i] == '{' || d[i] == '['))
		return "JSON";
	return "text";
}
