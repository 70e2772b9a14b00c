/* SPDX-License-Identifier: MIT */
/*
 * spool.c - see spool.h. What is in memory is a prefix of the whole; the file
 * holds the rest, written in large pieces.
 */
#include "data/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { PIECE = 1 << 20 };

void pt_spool_init(struct pt_spool *s, size_t bound)
{
	memset(s, 0, sizeof *s);
	s->bound = bound;
	s->fd = -1;
}

void pt_spool_release(struct pt_spool *s)
{
	if (s->fd >= 0)
		close(s->fd);
	pt_buf_release(&s->mem);
	pt_buf_release(&s->pending);
	pt_spool_init(s, 0);
}

static const char *directory(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/tmp";
}

static int make_file(struct pt_spool *s, struct pt_error *err)
{
	char *path = pt_path_join(directory(), "peft-spool.XXXXXX", err);

	if (!path)
		return err->status;
	s->fd = mkstemp(path);
	if (s->fd < 0)
		pt_error_errno(err, "%s: cannot make a temporary file (TMPDIR names another directory)", path);
	else
		unlink(path);
	free(path);
	return s->fd < 0 ? err->status : 0;
}

static int flush(struct pt_spool *s, struct pt_error *err)
{
	if (s->fd < 0 && make_file(s, err))
		return err->status;
	if (pt_write_full(s->fd, s->pending.data, s->pending.len))
		return pt_error_errno(err, "%s: cannot write what exceeds the memory bound (TMPDIR names another "
				      "directory)", directory());
	s->flushed += s->pending.len;
	pt_buf_clear(&s->pending);
	return 0;
}

int pt_spool_add(struct pt_spool *s, const void *data, size_t n, uint64_t *at, struct pt_error *err)
{
	bool memory = s->size == s->mem.len && n <= s->bound && s->mem.len <= s->bound - n;
	struct pt_buf *b = memory ? &s->mem : &s->pending;

	*at = s->size;
	if (!memory && s->pending.len + n > PIECE && s->pending.len && flush(s, err))
		return err->status;
	pt_buf_add(b, data, n);
	s->size += n;
	return pt_buf_check(b, err);
}

int pt_spool_get(struct pt_spool *s, uint64_t at, size_t n, const void **data, struct pt_buf *scratch,
		 struct pt_error *err)
{
	uint64_t in_file = at - s->mem.len;
	size_t got = 0;
	char *p;

	if (at < s->mem.len) {
		*data = s->mem.data + at;
		return 0;
	}
	if (in_file >= s->flushed) {
		*data = s->pending.data + (in_file - s->flushed);
		return 0;
	}
	pt_buf_clear(scratch);
	p = pt_buf_reserve(scratch, n);
	if (!p)
		return pt_buf_check(scratch, err);
	while (got < n) {
		ssize_t k = pread(s->fd, p + got, n - got, (off_t)(in_file + got));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return pt_error_errno(err, "%s: cannot read the temporary file", directory());
		got += (size_t)k;
	}
	*data = p;
	return 0;
}
