/* SPDX-License-Identifier: MIT */
/*
 * zipdir.c - see zipdir.h.
 */
#include "io/zipdir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum {
	END = 22, END64 = 56, LOCATOR64 = 20, CENTRAL = 46, LOCAL = 30,
	COMMENT = 65535,		/* longest, behind the end record */
	NAME = 65535,
	DESCRIBED = 1 << 3,		/* sizes and CRC stand behind the data */
};
#define DIRECTORY_MOST ((int64_t)2 << 30)

/* What a header, the directory's or the member's own, says of a member. */
struct header {
	unsigned flags, method;
	uint32_t crc;
	uint64_t packed, size, at;
	const unsigned char *name;
	size_t nname;
};

static uint64_t get(const unsigned char *p, int n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static int read_at(int fd, void *data, size_t n, int64_t at, struct pt_error *err)
{
	char *p = data;

	while (n) {
		ssize_t k = pread(fd, p, n, at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return pt_error_errno(err, "cannot read");
		if (!k)
			return pt_error(err, PT_DATA, "the zip archive is cut short");
		p += k;
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

static int damaged(const char *what, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "damaged zip archive: %s", what);
}

/* Values that do not fit stand in the extra field 1, in this order. */
static bool get_extra(struct header *h, const unsigned char *p, size_t n)
{
	uint64_t *wide[3] = { h->size == UINT32_MAX ? &h->size : NULL, h->packed == UINT32_MAX ? &h->packed : NULL,
			      h->at == UINT32_MAX ? &h->at : NULL };

	while (n >= 4) {
		size_t id = get(p, 2), len = get(p + 2, 2);

		if (len > n - 4)
			return false;
		p += 4;
		n -= 4 + len;
		for (int i = 0; i < 3 && id == 1; i++) {
			if (!wide[i])
				continue;
			if (len < 8)
				return false;
			*wide[i] = get(p, 8);
			p += 8;
			len -= 8;
		}
		p += len;
	}
	return true;
}

/* Where the directory is and how many members it has. */
struct where {
	int64_t at, size, count, end;	/* end: of the directory, where the end records begin */
};

static int find_end64(int fd, struct where *w, int64_t end, struct pt_error *err)
{
	unsigned char locator[LOCATOR64], e[END64];
	int64_t at;

	if (end < LOCATOR64 + END64)
		return damaged("no end record of zip64", err);
	if (read_at(fd, locator, sizeof locator, end - LOCATOR64, err))
		return err->status;
	at = (int64_t)get(locator + 8, 8);
	if (memcmp(locator, "PK\6\7", 4) || at < 0 || at > end - LOCATOR64 - END64)
		return damaged("no end record of zip64", err);
	if (read_at(fd, e, sizeof e, at, err))
		return err->status;
	if (memcmp(e, "PK\6\6", 4))
		return damaged("no end record of zip64", err);
	w->count = (int64_t)get(e + 32, 8);
	w->size = (int64_t)get(e + 40, 8);
	w->at = (int64_t)get(e + 48, 8);
	w->end = at;
	if (get(e + 16, 4) || get(e + 20, 4) || get(e + 24, 8) != get(e + 32, 8))
		return pt_error(err, PT_DATA, "a zip archive in several parts");
	return 0;
}

static int find_end(int fd, int64_t size, struct where *w, struct pt_error *err)
{
	size_t n = size < END + COMMENT ? (size_t)size : END + COMMENT;
	unsigned char *tail = pt_malloc(n ? n : 1, 1, err), *e;
	int64_t end;
	int status;

	if (!tail)
		return err->status;
	status = read_at(fd, tail, n, size - (int64_t)n, err);
	if (status)
		goto out;
	for (e = n >= END ? tail + n - END : NULL; e && e >= tail; e--)
		if (!memcmp(e, "PK\5\6", 4) && e + END + get(e + 20, 2) == tail + n)
			break;
	if (!e || e < tail) {
		status = pt_error(err, PT_DATA, "the zip archive is cut short: its directory, at the end, is missing");
		goto out;
	}
	end = size - (tail + n - e);
	*w = (struct where){ (int64_t)get(e + 16, 4), (int64_t)get(e + 12, 4), (int64_t)get(e + 10, 2), end };
	if (w->at == UINT32_MAX || w->size == UINT32_MAX || w->count == UINT16_MAX)
		status = find_end64(fd, w, end, err);
	else if (get(e + 4, 2) || get(e + 6, 2) || get(e + 8, 2) != get(e + 10, 2))
		status = pt_error(err, PT_DATA, "a zip archive in several parts");
	if (!status && (w->at < 0 || w->size < 0 || w->at > w->end || w->size != w->end - w->at || w->count < 0))
		status = damaged("the directory is not where the end record says", err);
	if (!status && w->count > w->size / CENTRAL)
		status = damaged("the directory has another number of members than it says", err);
	if (!status && (w->count > PT_ZIP_MEMBERS || w->size > DIRECTORY_MOST))
		status = pt_error(err, PT_DATA, "a zip archive of more than %d members", PT_ZIP_MEMBERS);
out:
	free(tail);
	return status;
}

/* The member's own header; *end: where its data ends. */
static int check_local(int fd, const struct header *c, int64_t limit, int64_t *end, struct pt_error *err)
{
	unsigned char fixed[LOCAL], rest[2 * NAME];
	struct header l = { 0 };
	size_t extra;

	if (limit < LOCAL || c->at > (uint64_t)(limit - LOCAL) || read_at(fd, fixed, sizeof fixed, (int64_t)c->at, err))
		return err->status ? err->status : damaged("a member lies beyond the end", err);
	l.flags = (unsigned)get(fixed + 6, 2);
	l.method = (unsigned)get(fixed + 8, 2);
	l.crc = (uint32_t)get(fixed + 14, 4);
	l.packed = get(fixed + 18, 4);
	l.size = get(fixed + 22, 4);
	l.nname = get(fixed + 26, 2);
	extra = get(fixed + 28, 2);
	if (memcmp(fixed, "PK\3\4", 4))
		return damaged("a member has no header", err);
	if (read_at(fd, rest, l.nname + extra, (int64_t)c->at + LOCAL, err))
		return err->status;
	if (!get_extra(&l, rest + l.nname, extra))
		return damaged("an extra field", err);
	if (l.nname != c->nname || memcmp(rest, c->name, c->nname) || l.method != c->method || l.flags != c->flags)
		return damaged("a member's header differs from the directory", err);
	if (!(l.flags & DESCRIBED) && (l.crc != c->crc || l.packed != c->packed || l.size != c->size))
		return damaged("a member's size differs from the directory", err);
	*end = (int64_t)c->at + LOCAL + (int64_t)(l.nname + extra);
	if (*end > limit || c->packed > (uint64_t)(limit - *end))
		return damaged("a member lies beyond the end", err);
	*end += (int64_t)c->packed;
	return 0;
}

struct extent {
	int64_t from, to;
};

static int by_place(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* By its attributes, of DOS or of Unix. */
static bool is_dir(const unsigned char *entry)
{
	return get(entry + 38, 4) & 0x10 || (get(entry + 40, 2) & S_IFMT) == S_IFDIR;
}

static int check_members(int fd, const unsigned char *dir, const struct where *w, struct extent *part,
			 struct pt_error *err)
{
	const unsigned char *p = dir, *end = dir + w->size;
	int64_t n = 0;

	for (; end - p >= CENTRAL && n < w->count; n++) {
		struct header h = { .flags = (unsigned)get(p + 8, 2), .method = (unsigned)get(p + 10, 2),
				    .crc = (uint32_t)get(p + 16, 4), .packed = get(p + 20, 4), .size = get(p + 24, 4),
				    .at = get(p + 42, 4), .name = p + CENTRAL, .nname = get(p + 28, 2) };
		size_t extra = get(p + 30, 2), all = CENTRAL + h.nname + extra + get(p + 32, 2);

		if (memcmp(p, "PK\1\2", 4) || all > (size_t)(end - p) || !get_extra(&h, h.name + h.nname, extra))
			return damaged("an entry of the directory", err);
		/* A type has no checksum: a file must not turn into what is passed over. */
		if (h.size && is_dir(p))
			return damaged("a directory with contents", err);
		part[n].from = (int64_t)h.at;
		if (check_local(fd, &h, w->at, &part[n].to, err))
			return err->status;
		p += all;
	}
	if (n != w->count || p != end)
		return damaged("the directory has another number of members than it says", err);
	qsort(part, (size_t)n, sizeof *part, by_place);
	for (int64_t i = 1; i < n; i++)
		if (part[i].from < part[i - 1].to)
			return damaged("members overlap", err);
	return 0;
}

int pt_zipdir_check(int fd, int64_t *members, struct pt_error *err)
{
	unsigned char *dir = NULL;
	struct extent *part = NULL;
	struct where w = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return pt_error_errno(err, "cannot read");
	if (find_end(fd, st.st_size, &w, err))
		return err->status;
	/* The bytes are there: the directory lies within the file. */
	dir = pt_malloc((size_t)w.size + 1, 1, err);
	part = dir ? pt_malloc((size_t)w.count + 1, sizeof *part, err) : NULL;
	if (part && !read_at(fd, dir, (size_t)w.size, w.at, err))
		check_members(fd, dir, &w, part, err);
	*members = w.count;
	free(part);
	free(dir);
	return err->status;
}
