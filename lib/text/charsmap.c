/* SPDX-License-Identifier: MIT */
/*
 * charsmap.c - reading the map, and looking things up in it.
 */
#include "text/charsmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static uint32_t le32(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int pt_charsmap_new(struct pt_charsmap **out, const void *data, size_t n, struct pt_error *err)
{
	struct pt_charsmap *map;
	const unsigned char *p = data;
	uint32_t size;

	*out = NULL;
	size = n < 4 ? 0 : le32(p);
	if (n < 4 || size % 4 || size > n - 4)
		return pt_error(err, PT_DATA, "the map is cut short: its trie has %u bytes, there are %zu", (unsigned)size,
				n < 4 ? 0 : n - 4);
	map = pt_calloc(1, sizeof *map, err);
	if (!map)
		return PT_FAIL;
	map->nunit = size / 4;
	map->ntext = n - 4 - size;
	map->unit = pt_malloc(map->nunit + 1, sizeof *map->unit, err);
	map->text = pt_malloc(map->ntext + 1, 1, err);
	if (!map->unit || !map->text) {
		pt_charsmap_free(map);
		return PT_FAIL;
	}
	for (size_t i = 0; i < map->nunit; i++)
		map->unit[i] = le32(p + 4 + 4 * i);
	memcpy(map->text, p + 4 + size, map->ntext);
	map->text[map->ntext] = '\0';
	if (pt_utf8_valid(map->text, map->ntext) < map->ntext) {
		pt_charsmap_free(map);
		return pt_error(err, PT_DATA, "the map's replacements are not UTF-8");
	}
	for (int c = 0; c < 128; c++) {
		char s = (char)c;
		size_t len;

		map->ascii[c] = pt_charsmap_find(map, &s, 1, &len) != NULL;
	}
	*out = map;
	return 0;
}

void pt_charsmap_free(struct pt_charsmap *map)
{
	if (!map)
		return;
	free(map->unit);
	free(map->text);
	free(map);
}

static size_t offset(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

const char *pt_charsmap_find(const struct pt_charsmap *map, const char *s, size_t n, size_t *len)
{
	size_t at = map->nunit ? offset(map->unit[0]) : 0, value;

	for (size_t i = 0; i < n && s[i]; i++) {
		unsigned char c = (unsigned char)s[i];
		uint32_t unit;

		at ^= c;
		if (at >= map->nunit)
			return NULL;
		unit = map->unit[at];
		if ((unit & (1u << 31 | 0xff)) != c)
			return NULL;
		at ^= offset(unit);
		if (!(unit & 1u << 8))
			continue;
		/* A leaf hangs here. A damaged one, out of the map or into the middle of a character, is none. */
		value = at < map->nunit ? map->unit[at] & 0x7fffffff : SIZE_MAX;
		if (value > map->ntext || ((unsigned char)map->text[value] & 0xc0) == 0x80)
			return NULL;
		*len = strlen(map->text + value);
		return map->text + value;
	}
	return NULL;
}
