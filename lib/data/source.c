/* SPDX-License-Identifier: MIT */
/*
 * source.c - see source.h. Where blocks end depends on how the bytes come;
 * nothing that is made of the lines may depend on it.
 */
#include "data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/sniff.h"

enum { BLOCK = 1 << 20, SNIFF = 512 };
#define LINE_MAX_BYTES ((size_t)1 << 30)

static const char *const standard_input[] = { "-" };

int pt_source_open(struct pt_source *s, const char *const *paths, int npaths, enum pt_source_format format,
		   struct pt_error *err)
{
	memset(s, 0, sizeof *s);
	s->path = npaths ? paths : standard_input;
	s->npaths = npaths ? npaths : 1;
	s->format = format;
	s->fd = -1;
	s->digest = pt_malloc((size_t)s->npaths, sizeof *s->digest, err);
	if (!s->digest)
		return err->status;
	/* Say now what would only be found after an hour of reading those before it. */
	for (int i = 0; i < s->npaths; i++) {
		if (strcmp(s->path[i], "-") && access(s->path[i], R_OK))
			return pt_error_errno(err, "%s", s->path[i]);
		if (pt_is_dir(s->path[i]))
			return pt_error(err, PT_FAIL, "%s: is a directory", s->path[i]);
	}
	return 0;
}

static void close_file(struct pt_source *s)
{
	if (s->fd > STDIN_FILENO)
		close(s->fd);
	s->fd = -1;
}

void pt_source_close(struct pt_source *s)
{
	close_file(s);
	pt_buf_release(&s->buf);
	free(s->line);
	free(s->digest);
	memset(s, 0, sizeof *s);
	s->fd = -1;
}

bool pt_source_regular(const char *const *paths, int npaths)
{
	for (int i = 0; i < npaths; i++)
		if (!pt_is_file(paths[i]))
			return false;
	return npaths > 0;
}

static const char *name_of(const struct pt_source *s)
{
	const char *p = s->path[s->cur];

	return strcmp(p, "-") ? p : "standard input";
}

static int open_file(struct pt_source *s, struct pt_error *err)
{
	const char *path = s->path[s->cur];

	s->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (s->fd < 0)
		return pt_error_errno(err, "%s", path);
	s->opened = true;
	s->begun = s->eof = false;
	pt_buf_clear(&s->buf);
	s->done = s->seen = 0;
	s->row = 0;
	pt_hash_init(&s->hash);
	return 0;
}

static int read_more(struct pt_source *s, struct pt_error *err)
{
	char *p;
	ssize_t k;

	if (s->done) {
		memmove(s->buf.data, s->buf.data + s->done, s->buf.len - s->done);
		s->buf.len -= s->done;
		s->seen -= s->done < s->seen ? s->done : s->seen;
		s->done = 0;
	}
	if (s->buf.len > LINE_MAX_BYTES)
		return pt_error(err, PT_DATA, "%s:%lld: a line of more than 1 GiB", name_of(s), (long long)s->row + 1);
	p = pt_buf_reserve(&s->buf, BLOCK);
	if (!p)
		return pt_buf_check(&s->buf, err);
	k = pt_read_some(s->fd, p, BLOCK);
	if (k < 0 && errno == EINTR)
		return pt_error(err, PT_STOPPED, "stopped while reading");
	if (k < 0)
		return pt_error_errno(err, "%s", name_of(s));
	pt_hash_add(&s->hash, p, (size_t)k);
	s->buf.len += (size_t)k;
	s->eof = k == 0;
	return 0;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && !strcmp(s + n - k, end);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first bytes of a file: what is it? */
static int begin(struct pt_source *s, struct pt_error *err)
{
	const char *path = s->path[s->cur], *what, *hint;
	bool named_json = ends_in(path, ".jsonl") || ends_in(path, ".ndjson") || ends_in(path, ".json");
	size_t i = 0;

	while (!s->eof && s->buf.len < SNIFF && !memchr(s->buf.data ? s->buf.data : "", '\n', s->buf.len))
		if (read_more(s, err))
			return err->status;
	s->begun = true;
	what = pt_sniff(s->buf.data, s->buf.len < SNIFF ? s->buf.len : SNIFF, &hint);
	if (strcmp(what, "text") && strcmp(what, "JSON") && strcmp(what, "unknown data") && s->buf.len)
		return pt_error(err, PT_DATA, "%s: this is %s, not text", name_of(s), what);
	if (s->buf.len >= 3 && !memcmp(s->buf.data, "\xef\xbb\xbf", 3))
		s->done = 3;
	for (i = s->done; i < s->buf.len && is_space(s->buf.data[i]); i++)
		;
	s->json = s->format == PT_SOURCE_JSONL;
	if (s->format == PT_SOURCE_AUTO || s->format == PT_SOURCE_WHOLE)
		s->json = named_json || (!ends_in(path, ".txt") && i < s->buf.len && s->buf.data[i] == '{');
	if (s->json && i < s->buf.len && s->buf.data[i] == '[')
		return pt_error(err, PT_DATA, "%s: this is a JSON array, not one object a line: jq -c '.[]' makes lines of it",
				name_of(s));
	s->whole = s->format == PT_SOURCE_WHOLE && !s->json;
	return 0;
}

static int add_line(struct pt_source *s, struct pt_block *b, const char *text, size_t n, struct pt_error *err)
{
	size_t i = 0;

	s->row++;
	if (n && text[n - 1] == '\r' && !s->whole)
		n--;
	while (s->json && i < n && is_space(text[i]))
		i++;
	if (i == n)
		return 0;
	if (pt_grow(&s->line, &s->cap, b->n + 1, sizeof *s->line, err))
		return err->status;
	s->line[b->n++] = (struct pt_line){ text, n, s->row };
	return 0;
}

/* The complete lines of buf; at the end of the file what is left, too. */
static int split(struct pt_source *s, struct pt_block *b, struct pt_error *err)
{
	const char *p = s->buf.data + s->done, *end = s->buf.data + s->buf.len, *newline;
	const char *from = s->buf.data + (s->seen > s->done ? s->seen : s->done);

	while (from < end && !s->whole && (newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
		if (add_line(s, b, p, (size_t)(newline - p), err))
			return err->status;
		from = p = newline + 1;
	}
	s->seen = s->buf.len;
	if (p < end && s->eof) {
		if (add_line(s, b, p, (size_t)(end - p), err))
			return err->status;
		p = end;
	}
	s->done = (size_t)(p - s->buf.data);
	return 0;
}

int pt_source_block(struct pt_source *s, struct pt_block *b, struct pt_error *err)
{
	b->n = 0;
	while (!b->n && s->cur < s->npaths) {
		if (!s->opened && open_file(s, err))
			return err->status;
		if (s->begun && s->eof) {
			s->digest[s->cur++] = pt_hash_value(&s->hash);
			close_file(s);
			s->opened = false;
			continue;
		}
		if ((s->begun ? read_more(s, err) : begin(s, err)))
			return err->status;
		b->name = name_of(s);
		b->source = s->cur;
		b->json = s->json;
		b->live = isatty(s->fd);
		if (s->buf.len && split(s, b, err))
			return err->status;
	}
	b->line = s->line;
	return 0;
}
