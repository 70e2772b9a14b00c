/* SPDX-License-Identifier: MIT */
/*
 * bytelevel.c - see bytelevel.h.
 */
#include "text/bytelevel.h"

#include "text/utf8.h"

static bool printable(unsigned b)
{
	return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

uint32_t pt_bytelevel_char(uint8_t byte)
{
	/* The 68 others in order: 0x00-0x20, 0x7f-0xa0, 0xad. */
	if (printable(byte))
		return byte;
	return byte <= 0x20 ? 0x100u + byte : byte <= 0xa0 ? 0x121u + (byte - 0x7fu) : 0x143u;
}

int pt_bytelevel_byte(uint32_t cp)
{
	if (cp < 0x100)
		return printable(cp) ? (int)cp : -1;
	if (cp <= 0x120)
		return (int)(cp - 0x100);
	if (cp <= 0x142)
		return (int)(cp - 0x121 + 0x7f);
	return cp == 0x143 ? 0xad : -1;
}

void pt_bytelevel_map(struct pt_buf *out, const char *s, size_t n)
{
	char *p = pt_buf_reserve(out, 2 * n), *from = p;

	if (!p)
		return;
	for (size_t i = 0; i < n; i++)
		p += pt_utf8_put(pt_bytelevel_char((uint8_t)s[i]), p);
	out->len += (size_t)(p - from);
	out->data[out->len] = '\0';
}

void pt_bytelevel_draft(struct pt_draft *out, const char *s, size_t n, const struct pt_range *at)
{
	if (!at) {
		pt_bytelevel_map(&out->text, s, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		char utf8[4];

		pt_draft_add(out, utf8, pt_utf8_put(pt_bytelevel_char((uint8_t)s[i]), utf8), at + i);
	}
}

bool pt_bytelevel_unmap(struct pt_buf *out, const char *s, size_t n)
{
	size_t len = out->len, i = 0;

	while (i < n) {
		unsigned k;
		int b = pt_bytelevel_byte(pt_utf8_get(s + i, &k));

		if (b < 0) {
			out->len = len;
			return false;
		}
		pt_buf_char(out, (char)b);
		i += k;
	}
	return true;
}
