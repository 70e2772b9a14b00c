/* SPDX-License-Identifier: MIT */
/*
 * source.c - see source.h. Where blocks end depends on how the bytes come;
 * nothing that is made of the lines may depend on it. A block may hold many
 * small files, so that threads have enough to do.
 */
#include "data/source.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "data/fields.h"
#include "io/sniff.h"

enum { BLOCK = 1 << 20, SNIFF = 512 };
#define LINE_MAX_BYTES ((size_t)1 << 30)

static const char *const standard_input[] = { "-" };

int pt_source_open(struct pt_source *s, const char *const *paths, int npaths, const struct pt_source_options *o,
		   struct pt_error *err)
{
	memset(s, 0, sizeof *s);
	s->o = o;
	s->path = npaths ? paths : standard_input;
	s->npaths = npaths ? npaths : 1;
	s->late = (struct pt_error)PT_ERROR_INIT;
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

static void free_origins(struct pt_text_file *f)
{
	for (struct pt_text_file *next; f; f = next) {
		next = f->next;
		for (char **c = f->column; c && *c; c++)
			free(*c);
		free(f->column);
		free(f->name);
		free(f->label);
		free(f);
	}
}

void pt_source_close(struct pt_source *s)
{
	if (s->opened)
		pt_files_close(&s->in);
	free_origins(s->file);
	pt_buf_release(&s->buf);
	free(s->line);
	free(s->at);
	free(s->digest);
	memset(s, 0, sizeof *s);
}

int pt_source_none(const char *const *paths, int npaths, const char *what, struct pt_error *err)
{
	const char *name = npaths && strcmp(paths[0], "-") ? paths[0] : "standard input";

	if (npaths > 1)
		return pt_error(err, PT_DATA, "%s and %d more: %s", name, npaths - 1, what);
	return pt_error(err, PT_DATA, "%s: %s", name, what);
}

bool pt_source_regular(const char *const *paths, int npaths)
{
	for (int i = 0; i < npaths; i++)
		if (!pt_is_file(paths[i]))
			return false;
	return npaths > 0;
}

/* --- files --- */

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && !strcmp(s + n - k, end);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int read_more(struct pt_source *s, struct pt_error *err)
{
	char *p;
	ssize_t k;

	if (s->buf.len - s->done > LINE_MAX_BYTES)
		return pt_error(err, PT_DATA, "%s:%lld: a line of more than 1 GiB", s->file->name,
				(long long)s->row + 1);
	p = pt_buf_reserve(&s->buf, BLOCK);
	if (!p)
		return pt_buf_check(&s->buf, err);
	k = pt_files_read(&s->in, p, BLOCK, err);
	if (k < 0)
		return err->status;
	s->buf.len += (size_t)k;
	s->eof = k == 0;
	return 0;
}

/* By its name and its first bytes. */
static int find_format(struct pt_source *s, struct pt_error *err)
{
	const char *name = s->in.plain.data, *start = s->buf.data + s->done, *what, *hint;
	size_t n = s->buf.len - s->done, i = 0;
	enum pt_source_format format = s->o->format;
	bool json = ends_in(name, ".jsonl") || ends_in(name, ".ndjson") || ends_in(name, ".json");

	what = pt_sniff(start, n < SNIFF ? n : SNIFF, &hint);
	if (n && strcmp(what, "text") && strcmp(what, "JSON") &&
	    (strcmp(what, "unknown data") || memchr(start, '\0', n < SNIFF ? n : SNIFF)))
		return pt_error(err, PT_DATA, "%s: this is %s, not text%s%s", s->file->name, what, hint ? "; " : "",
				hint ? hint : "");
	if (n >= 3 && !memcmp(start, "\xef\xbb\xbf", 3))
		i = 3;
	s->done += i;
	while (i < n && is_space(start[i]))
		i++;
	if (format == PT_SOURCE_AUTO || format == PT_SOURCE_WHOLE) {
		if (json || (!ends_in(name, ".txt") && !ends_in(name, ".tsv") && !ends_in(name, ".csv") && i < n && start[i] == '{'))
			format = PT_SOURCE_JSONL;
		else if (ends_in(name, ".tsv"))
			format = PT_SOURCE_TSV;
		else if (ends_in(name, ".csv"))
			format = PT_SOURCE_CSV;
		else if (format == PT_SOURCE_AUTO)
			format = PT_SOURCE_TEXT;
	}
	if (format == PT_SOURCE_JSONL && i < n && start[i] == '[')
		return pt_error(err, PT_DATA, "%s: this is a JSON array, not one object a line: jq -c '.[]' makes lines of it",
				s->file->name);
	if (s->o->columns && format != PT_SOURCE_TSV && format != PT_SOURCE_CSV)
		return pt_error(err, PT_USAGE, "%s: --columns names those of TSV and CSV, and this is %s", s->file->name,
				format == PT_SOURCE_JSONL ? "JSON lines" : "text");
	s->file->format = format;
	return 0;
}

static int begin(struct pt_source *s, struct pt_error *err)
{
	while (!s->eof && s->buf.len - s->done < SNIFF &&
	       (s->buf.len == s->done || !memchr(s->buf.data + s->done, '\n', s->buf.len - s->done)))
		if (read_more(s, err))
			return err->status;
	s->begun = true;
	s->seen = s->done;
	return s->buf.len == s->done ? 0 : find_format(s, err);
}

/* The next file of the operand, or none: then the operand is done. */
static int next_file(struct pt_source *s, struct pt_error *err)
{
	struct pt_text_file *f;
	bool more;

	if (!s->opened) {
		s->opened = true;
		if (pt_files_open(&s->in, s->path[s->cur], &s->o->path, s->o->unpacked, err))
			return err->status;
	}
	if (pt_files_next(&s->in, &more, err))
		return err->status;
	if (!more) {
		s->digest[s->cur++] = pt_hash_value(&s->in.hash);
		pt_files_close(&s->in);
		s->opened = false;
		return 0;
	}
	f = pt_calloc(1, sizeof *f, err);
	if (!f)
		return err->status;
	f->next = s->file;
	s->file = f;
	f->name = pt_strdup(s->in.name.data, err);
	f->label = s->in.label;
	s->in.label = NULL;
	f->source = s->files++;
	s->in_file = true;
	s->begun = s->eof = false;
	s->row = 0;
	return err->status;
}

/* --- lines --- */

static int add_column(struct pt_source *s, size_t *n, size_t *cap, const char *name, size_t len, struct pt_error *err)
{
	if (pt_grow(&s->file->column, cap, *n + 2, sizeof *s->file->column, err))
		return err->status;
	s->file->column[*n] = pt_strndup(name, len, err);
	s->file->column[++*n] = NULL;
	return err->status;
}

/* The fields of the header. */
static int read_columns(struct pt_source *s, const char *text, size_t n, struct pt_error *err)
{
	size_t count = 0, cap = 0, len;
	struct pt_fields f;
	const char *name;
	bool more = true;

	pt_fields_init(&f, text, n, s->file->format == PT_SOURCE_CSV);
	while (more && !pt_fields_next(&f, &name, &len, &more, err))
		if (more && add_column(s, &count, &cap, name, len, err))
			break;
	pt_fields_release(&f);
	return err->status ? pt_error_prefix(err, "%s:%lld", s->file->name, (long long)s->row) : 0;
}

/* Names between commas. */
static int set_columns(struct pt_source *s, const char *names, struct pt_error *err)
{
	size_t count = 0, cap = 0;

	for (const char *p = names, *next; p; p = next) {
		size_t n = strcspn(p, ",");

		next = p[n] ? p + n + 1 : NULL;
		if (add_column(s, &count, &cap, p, n, err))
			return err->status;
	}
	return 0;
}

/* "text=question1,label=is_duplicate": names in place of those of the header. */
static int rename_columns(struct pt_source *s, struct pt_error *err)
{
	for (const char *p = s->o->columns, *next; p; p = next) {
		const char *old = strchr(p, '='), *end = strchr(p, ',');
		size_t n = end ? (size_t)(end - p) : strlen(p), k;
		char **c = s->file->column;

		next = end ? end + 1 : NULL;
		if (!old || old >= p + n)
			return pt_error(err, PT_USAGE, "--columns %s: all are NEW=OLD, or none", s->o->columns);
		k = n - (size_t)(++old - p);
		while (*c && (strlen(*c) != k || memcmp(*c, old, k)))
			c++;
		if (!*c)
			return pt_error(err, PT_DATA, "%s: no column '%.*s'", s->file->name, (int)k, old);
		char *name = pt_strndup(p, (size_t)(old - 1 - p), err);

		if (!name)
			return err->status;
		free(*c);
		*c = name;
	}
	return 0;
}

static int header(struct pt_source *s, const char *text, size_t n, struct pt_error *err)
{
	size_t bad = pt_utf8_valid(text, n);

	/* --replace is for texts: a name that is not read as it is would be a column that nobody misses. */
	if (bad < n || memchr(text, '\0', n))
		return pt_error(err, PT_DATA, "%s:%lld: names of columns with %s", s->file->name, (long long)s->row,
				bad < n ? "invalid UTF-8" : "NUL");
	return read_columns(s, text, n, err) ? err->status : rename_columns(s, err);
}

static int add_line(struct pt_source *s, size_t at, size_t n, struct pt_error *err)
{
	const char *text = s->buf.data + at;
	enum pt_source_format format = s->file->format;
	size_t i = 0;

	s->row++;
	if (n && text[n - 1] == '\r' && format != PT_SOURCE_WHOLE)
		n--;
	while (format == PT_SOURCE_JSONL && i < n && is_space(text[i]))
		i++;
	if (i == n)
		return 0;
	if ((format == PT_SOURCE_TSV || format == PT_SOURCE_CSV) && !s->file->column) {
		const char *given = s->o->columns;

		if (!given || strchr(given, '='))
			return header(s, text, n, err);
		if (set_columns(s, given, err))
			return err->status;
	}
	if (pt_grow(&s->line, &s->cap, s->n + 1, sizeof *s->line, err) ||
	    pt_grow(&s->at, &s->cap_at, s->n + 1, sizeof *s->at, err))
		return err->status;
	s->line[s->n] = (struct pt_line){ NULL, n, s->row, s->file };
	s->at[s->n++] = at;
	return 0;
}

/* Bytes of the line, or record, that begins at s->done; from s->seen on no line break was seen. 0: it goes on. */
static size_t line_length(const struct pt_source *s, size_t from)
{
	const char *newline;

	if (s->file->format == PT_SOURCE_WHOLE || from >= s->buf.len)
		return 0;
	if (s->file->format == PT_SOURCE_CSV)
		return pt_fields_record(s->buf.data + s->done, s->buf.len - s->done);
	newline = memchr(s->buf.data + from, '\n', s->buf.len - from);
	return newline ? (size_t)(newline - s->buf.data) + 1 - s->done : 0;
}

static void count_rows(struct pt_source *s, size_t n)
{
	const char *p = s->buf.data + s->done, *end = p + n;

	/* Those within a record; its last is counted. */
	while (s->file->format == PT_SOURCE_CSV && (p = memchr(p, '\n', (size_t)(end - p))) != NULL && ++p < end)
		s->row++;
}

/* The complete lines of buf; at the end of the file what is left, too. */
static int split(struct pt_source *s, struct pt_error *err)
{
	size_t from = s->seen, n;

	while ((n = line_length(s, from)) > 0) {
		if (add_line(s, s->done, n - 1, err))
			return err->status;
		count_rows(s, n);
		from = s->done += n;
	}
	if (s->eof && s->done < s->buf.len) {
		if (add_line(s, s->done, s->buf.len - s->done, err))
			return err->status;
		s->done = s->buf.len;
	}
	s->seen = s->buf.len;
	return 0;
}

/* The lines of the last block are gone, and the files but for one that goes on. */
static void forget(struct pt_source *s)
{
	if (s->file) {
		free_origins(s->file->next);
		s->file->next = NULL;
	}
	if (s->done) {
		memmove(s->buf.data, s->buf.data + s->done, s->buf.len - s->done);
		s->buf.len -= s->done;
		s->seen -= s->done < s->seen ? s->done : s->seen;
		s->done = 0;
	}
	s->n = 0;
}

/* One step on the way to lines. */
static int advance(struct pt_source *s, struct pt_error *err)
{
	if (!s->in_file)
		return next_file(s, err);
	if (s->begun && s->eof) {
		s->in_file = false;
		return 0;
	}
	if (s->begun ? read_more(s, err) : begin(s, err))
		return err->status;
	return split(s, err);
}

/* With lines in hand, only what comes at once is read. */
static bool comes_at_once(const struct pt_source *s)
{
	return s->opened ? s->in.regular : pt_is_file(s->path[s->cur]);
}

int pt_source_block(struct pt_source *s, struct pt_block *b, struct pt_error *err)
{
	forget(s);
	while (s->cur < s->npaths && !s->late.status && (!s->n || (s->buf.len < BLOCK && comes_at_once(s))))
		advance(s, &s->late);
	for (size_t i = 0; i < s->n; i++)
		s->line[i].text = s->buf.data + s->at[i];
	*b = (struct pt_block){ .live = s->opened && s->in.live, .line = s->line, .n = s->n };
	/* What is wrong behind these lines is told when they have been used. */
	if (s->n || !s->late.status)
		return 0;
	*err = s->late;
	return err->status;
}
