/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - see utf8.h.
 */
#include "text/utf8.h"

size_t pt_utf8_replace(struct pt_buf *out, const char *s, size_t n)
{
	size_t replaced = 0, i = 0;

	while (i < n) {
		size_t good = pt_utf8_valid(s + i, n - i);
		uint32_t cp;

		pt_buf_add(out, s + i, good);
		i += good;
		if (i == n)
			break;
		/* One replacement for each maximal subpart, as Python counts them. */
		i += pt_utf8_next(s + i, n - i, &cp);
		pt_buf_str(out, "\xef\xbf\xbd");
		replaced++;
	}
	return replaced;
}
