/* SPDX-License-Identifier: MIT */
/*
 * files.c - see files.h.
 *
 *     fd -> raw() -> [unpack -> unpacked()] -> [archive] -> pt_files_read()
 */
#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/sniff.h"

enum { BUFFER = 1 << 16 };

static const char *shown(const struct pt_files *in)
{
	return strcmp(in->path, "-") ? in->path : "standard input";
}

/* --- bytes --- */

static ssize_t from_fd(struct pt_files *in, void *data, size_t n, struct pt_error *err)
{
	ssize_t k = pt_read_some(in->fd, data, n);

	if (k < 0 && errno == EINTR)
		pt_error(err, PT_STOPPED, "stopped while reading");
	else if (k < 0)
		pt_error_errno(err, "cannot read");
	else
		pt_hash_add(&in->hash, data, (size_t)k);
	return k;
}

/* What was read to see what it is, then the rest. */
static size_t from_buf(const struct pt_buf *b, size_t *at, void *data, size_t n)
{
	if (n > b->len - *at)
		n = b->len - *at;
	if (n)
		memcpy(data, b->data + *at, n);
	*at += n;
	return n;
}

static ssize_t raw(void *arg, void *data, size_t n, struct pt_error *err)
{
	struct pt_files *in = arg;
	size_t k = from_buf(&in->head, &in->head_at, data, n);

	return k ? (ssize_t)k : from_fd(in, data, n, err);
}

static ssize_t unpacked(void *arg, void *data, size_t n, struct pt_error *err)
{
	struct pt_files *in = arg;
	size_t k = from_buf(&in->packed, &in->packed_at, data, n);

	return k ? (ssize_t)k : pt_unpack_read(in->unpack, data, n, err);
}

/* --- what is it? --- */

/* Up to a newline, since somebody may be typing; no archive has one that early. */
static int read_head(struct pt_files *in, struct pt_error *err)
{
	ssize_t k = 1;

	while (k > 0 && in->head.len < PT_PACKED_SNIFF &&
	       !memchr(in->head.len ? in->head.data : "", '\n', in->head.len)) {
		char *p = pt_buf_reserve(&in->head, BUFFER);

		if (!p)
			return pt_buf_check(&in->head, err);
		k = from_fd(in, p, BUFFER, err);
		if (k > 0)
			in->head.len += (size_t)k;
	}
	return err->status;
}

static int read_packed(struct pt_files *in, struct pt_error *err)
{
	ssize_t k = 1;

	while (k > 0 && in->packed.len < PT_PACKED_SNIFF) {
		char *p = pt_buf_reserve(&in->packed, BUFFER);

		if (!p)
			return pt_buf_check(&in->packed, err);
		k = pt_unpack_read(in->unpack, p, BUFFER, err);
		if (k > 0)
			in->packed.len += (size_t)k;
	}
	return err->status;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && !strcmp(s + n - k, end);
}

/* What a name promises. A compressor's suffix is taken off where the file is compressed. */
enum promise { PROMISE_NONE, PROMISE_PACKED, PROMISE_TAR };

static enum promise promised(struct pt_buf *name, bool compressed)
{
	static const char *const packed[] = { ".gz", ".bz2", ".xz", ".zst", ".zip" };
	static const char *const tar[] = { ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst" };

	for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
		if (!ends_in(name->data, packed[i]))
			continue;
		if (!compressed)
			return PROMISE_PACKED;
		name->len -= strlen(packed[i]);
		name->data[name->len] = '\0';
		break;
	}
	for (size_t i = 0; i < sizeof tar / sizeof *tar; i++)
		if (ends_in(name->data, tar[i]))
			return PROMISE_TAR;
	return PROMISE_NONE;
}

static int look(struct pt_files *in, struct pt_error *err)
{
	enum pt_packed how;
	enum promise promise;

	if (read_head(in, err))
		return err->status;
	how = pt_sniff_packed(in->head.data, in->head.len);
	if (how == PT_PACKED_ZIP)
		return pt_archive_open_zip(&in->archive, in->fd, in->limit, err);
	pt_buf_str(&in->plain, in->path);
	if (pt_buf_check(&in->plain, err))
		return err->status;
	promise = promised(&in->plain, how != PT_PACKED_NOT);
	if (how == PT_PACKED_TAR)
		return pt_archive_open_tar(&in->archive, raw, in, in->limit, err);
	if (how != PT_PACKED_NOT) {
		if (pt_unpack_open(&in->unpack, how, raw, in, in->limit, err) || read_packed(in, err))
			return err->status;
		if (pt_sniff_packed(in->packed.data, in->packed.len) == PT_PACKED_TAR)
			return pt_archive_open_tar(&in->archive, unpacked, in, in->limit, err);
	}
	if (promise != PROMISE_NONE && !in->head.len)
		return pt_error(err, PT_DATA, "is empty");
	/* What is left when the first bytes are damaged is no text. */
	if (promise == PROMISE_TAR)
		return pt_error(err, PT_DATA, "no tar archive, which its name promises");
	if (promise == PROMISE_PACKED)
		return pt_error(err, PT_DATA, "not compressed, which its name promises");
	return 0;
}

int pt_files_open(struct pt_files *in, const char *path, const struct pt_patterns *choose, int64_t limit,
		  struct pt_error *err)
{
	struct stat st;

	*in = (struct pt_files){ .path = path, .choose = choose, .limit = limit };
	pt_hash_init(&in->hash);
	in->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (in->fd < 0 || fstat(in->fd, &st))
		return pt_error_errno(err, "%s", path);
	in->regular = S_ISREG(st.st_mode);
	in->live = isatty(in->fd);
	return look(in, err) ? pt_error_prefix(err, "%s", shown(in)) : 0;
}

void pt_files_close(struct pt_files *in)
{
	pt_archive_close(in->archive);
	pt_unpack_close(in->unpack);
	if (in->fd > STDIN_FILENO)
		close(in->fd);
	pt_buf_release(&in->head);
	pt_buf_release(&in->packed);
	pt_buf_release(&in->first);
	pt_buf_release(&in->name);
	pt_buf_release(&in->plain);
	free(in->label);
	*in = (struct pt_files){ .fd = -1 };
}

/* --- files --- */

static bool is_junk(const char *name)
{
	const char *base = strrchr(name, '/');

	base = base ? base + 1 : name;
	return !strncmp(base, "._", 2) || !strcmp(base, ".DS_Store") || !strncmp(name, "__MACOSX/", 9);
}

/* Is the file of this path to be read? Then its label is set. */
static bool choose(struct pt_files *in, const char *path, struct pt_error *err)
{
	const char *label = NULL;
	size_t n = 0;

	free(in->label);
	in->label = NULL;
	if (in->choose && !pt_patterns_match(in->choose, path, &label, &n))
		return false;
	if (label)
		in->label = pt_strndup(label, n, err);
	return true;
}

static int set_names(struct pt_files *in, const char *member, struct pt_error *err)
{
	pt_buf_clear(&in->name);
	pt_buf_str(&in->name, shown(in));
	if (member) {
		pt_buf_printf(&in->name, ":%s", member);
		pt_buf_clear(&in->plain);
		pt_buf_str(&in->plain, member);
	}
	if (pt_buf_check(&in->plain, err))
		return err->status;
	return pt_buf_check(&in->name, err);
}

/* zip was read by its directory, not from the first byte to the last. */
static int hash_all(struct pt_files *in, struct pt_error *err)
{
	char *buf = pt_malloc(BUFFER, 1, err);
	int64_t at = 0;
	ssize_t k;

	if (!buf)
		return err->status;
	pt_hash_init(&in->hash);
	while ((k = pread(in->fd, buf, BUFFER, at)) > 0 || (k < 0 && errno == EINTR)) {
		if (k < 0)
			continue;
		pt_hash_add(&in->hash, buf, (size_t)k);
		at += k;
	}
	free(buf);
	return k < 0 ? pt_error_errno(err, "cannot read") : 0;
}

static int end_archive(struct pt_files *in, struct pt_error *err)
{
	bool zip = pt_sniff_packed(in->head.data, in->head.len) == PT_PACKED_ZIP;

	if (zip && hash_all(in, err))
		return err->status;
	if (in->chosen || !in->choose || !in->choose->n)
		return 0;
	return pt_error(err, PT_DATA, "no member matches --path%s%s", in->first.len ? "; the first is " : "",
			in->first.len ? in->first.data : "");
}

static int next_member(struct pt_files *in, bool *more, struct pt_error *err)
{
	struct pt_member m;

	for (;;) {
		if (pt_archive_next(in->archive, &m, more, err))
			return err->status;
		if (!*more)
			return end_archive(in, err);
		if (m.dir || is_junk(m.name))
			continue;
		if (!in->first.len)
			pt_buf_str(&in->first, m.name);
		if (choose(in, m.name, err))
			break;
	}
	in->chosen++;
	if (m.refused)
		return pt_error(err, PT_DATA, "'%.200s' is %s, which is not read (--path chooses members)", m.name, m.refused);
	return err->status ? err->status : set_names(in, m.name, err);
}

int pt_files_next(struct pt_files *in, bool *more, struct pt_error *err)
{
	*more = false;
	if (in->archive) {
		next_member(in, more, err);
	} else if (!in->begun) {
		*more = true;
		if (!choose(in, in->plain.data, err))
			pt_error(err, PT_USAGE, "does not match --path");
		if (!err->status)
			set_names(in, NULL, err);
	}
	in->begun = true;
	return err->status ? pt_error_prefix(err, "%s", shown(in)) : 0;
}

ssize_t pt_files_read(struct pt_files *in, void *data, size_t n, struct pt_error *err)
{
	ssize_t k;

	if (in->archive)
		k = pt_archive_read(in->archive, data, n, err);
	else
		k = in->unpack ? unpacked(in, data, n, err) : raw(in, data, n, err);
	if (k < 0)
		pt_error_prefix(err, "%s", in->name.data);
	return k;
}
