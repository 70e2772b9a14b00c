/* SPDX-License-Identifier: MIT */
/*
 * archive.c - see archive.h. libarchive knows only the two formats, no
 * filter and no program, and sees the file through functions that count.
 */
#include "io/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "io/zipdir.h"

enum { BUFFER = 1 << 16, BLOCK = 512 };

struct pt_archive {
	struct archive *a;
	struct archive_entry *entry;
	bool zip, end;
	unsigned char *buf;
	struct pt_error err;		/* of what libarchive was given */
	struct pt_unpack_bound bound;
	int64_t got;			/* bytes of this member */
	int64_t members, expected;	/* expected: by the directory of a zip archive */
	struct pt_buf name;
	locale_t utf8;			/* names in headers are UTF-8, whatever the user's locale */

	pt_unpack_read_fn read;		/* tar */
	void *arg;
	int64_t zeros;			/* how many bytes at the end of what was read are 0 */

	int fd;				/* zip */
	int64_t at, size;
};

static int failed(struct pt_archive *r, struct pt_error *err)
{
	const char *why = archive_error_string(r->a);

	if (r->err.status) {
		*err = r->err;
		return err->status;
	}
	if (archive_errno(r->a) == ENOMEM)
		return pt_error(err, PT_FAIL, "out of memory");
	return pt_error(err, PT_DATA, "damaged or cut short%s%s", why ? ": " : "", why ? why : "");
}

/* --- what libarchive reads --- */

static ssize_t tar_fill(struct pt_archive *r)
{
	ssize_t k = r->err.status ? -1 : r->read(r->arg, r->buf, BUFFER, &r->err), i = k;

	while (i > 0 && !r->buf[i - 1])
		i--;
	if (k > 0) {
		r->zeros = i ? k - i : r->zeros + k;
		r->bound.in += k;
	}
	return k;
}

static la_ssize_t tar_give(struct archive *a, void *arg, const void **data)
{
	struct pt_archive *r = arg;
	ssize_t k = tar_fill(r);

	if (k < 0) {
		archive_set_error(a, EIO, "cannot read");
		return ARCHIVE_FATAL;
	}
	*data = r->buf;
	return k;
}

static la_ssize_t zip_give(struct archive *a, void *arg, const void **data)
{
	struct pt_archive *r = arg;
	ssize_t k;

	do
		k = pread(r->fd, r->buf, BUFFER, r->at);
	while (k < 0 && errno == EINTR);
	if (k < 0) {
		pt_error_errno(&r->err, "cannot read");
		archive_set_error(a, EIO, "cannot read");
		return ARCHIVE_FATAL;
	}
	r->at += k;
	*data = r->buf;
	return k;
}

static la_int64_t zip_seek(struct archive *a, void *arg, la_int64_t to, int whence)
{
	struct pt_archive *r = arg;

	(void)a;
	to += whence == SEEK_CUR ? r->at : whence == SEEK_END ? r->size : 0;
	if (to < 0 || to > r->size)
		return ARCHIVE_FATAL;
	return r->at = to;
}

static la_int64_t zip_skip(struct archive *a, void *arg, la_int64_t n)
{
	struct pt_archive *r = arg;

	(void)a;
	if (n > r->size - r->at)
		n = r->size - r->at;
	r->at += n;
	return n;
}

/* --- opening --- */

static struct pt_archive *create(int64_t limit, struct pt_error *err)
{
	struct pt_archive *r = pt_calloc(1, sizeof *r, err);

	if (!r)
		return NULL;
	r->bound.given = limit;
	r->err = (struct pt_error)PT_ERROR_INIT;
	r->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	r->buf = pt_malloc(BUFFER, 1, err);
	r->a = archive_read_new();
	if (!r->a)
		pt_error(err, PT_FAIL, "out of memory");
	return r;
}

int pt_archive_open_tar(struct pt_archive **out, pt_unpack_read_fn read, void *arg, int64_t limit, struct pt_error *err)
{
	struct pt_archive *r = create(limit, err);

	*out = r;
	if (!r || err->status)
		return err->status;
	r->read = read;
	r->arg = arg;
	archive_read_support_format_tar(r->a);
	return archive_read_open(r->a, r, NULL, tar_give, NULL) == ARCHIVE_OK ? 0 : failed(r, err);
}

int pt_archive_open_zip(struct pt_archive **out, int fd, int64_t limit, struct pt_error *err)
{
	struct pt_archive *r = create(limit, err);
	struct stat st;

	*out = r;
	if (!r || err->status)
		return err->status;
	if (fstat(fd, &st))
		return pt_error_errno(err, "cannot read");
	if (!S_ISREG(st.st_mode))
		return pt_error(err, PT_DATA, "a zip archive has its directory at the end: name it as a file, not a pipe");
	r->zip = true;
	r->fd = fd;
	r->size = r->bound.in = st.st_size;
	if (pt_zipdir_check(fd, &r->expected, err))
		return err->status;
	if (!r->expected) {
		r->end = true;
		return 0;
	}
	archive_read_support_format_zip_seekable(r->a);
	archive_read_set_read_callback(r->a, zip_give);
	archive_read_set_seek_callback(r->a, zip_seek);
	archive_read_set_skip_callback(r->a, zip_skip);
	archive_read_set_callback_data(r->a, r);
	return archive_read_open1(r->a) == ARCHIVE_OK ? 0 : failed(r, err);
}

void pt_archive_close(struct pt_archive *r)
{
	if (!r)
		return;
	archive_read_free(r->a);
	if (r->utf8)
		freelocale(r->utf8);
	pt_buf_release(&r->name);
	free(r->buf);
	free(r);
}

/* --- members --- */

/* Behind the last member, which ended at last. */
static int check_end(struct pt_archive *r, int64_t last, struct pt_error *err)
{
	int64_t at = archive_filter_bytes(r->a, 0);
	ssize_t k;

	r->end = true;
	if (r->zip)
		return r->members == r->expected ? 0
			: pt_error(err, PT_DATA, "damaged zip archive: %lld members, its directory says %lld",
				   (long long)r->members, (long long)r->expected);
	while ((k = tar_fill(r)) > 0)
		;
	if (k < 0)
		return failed(r, err);
	if (at - last < 2 * BLOCK)
		return pt_error(err, PT_DATA, "the tar archive is cut short: it does not end in two blocks of zeros");
	if (r->zeros < r->bound.in - last)
		return pt_error(err, PT_DATA, "other bytes stand behind the end of the tar archive");
	return 0;
}

static bool has_dots(const char *name)
{
	for (const char *p = name; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/'))
			return true;
	}
	return false;
}

static const char *refusal(const struct pt_archive *r, const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (archive_entry_hardlink(r->entry))
		return "a hard link";
	if (archive_entry_filetype(r->entry) == AE_IFLNK)
		return "a symbolic link";
	if (archive_entry_filetype(r->entry) != AE_IFREG && archive_entry_filetype(r->entry) != AE_IFDIR)
		return "a device, FIFO or socket";
	if (archive_entry_is_encrypted(r->entry))
		return "encrypted";
	if (!n)
		return "without a name";
	if (n > PT_MEMBER_NAME)
		return "of too long a name";
	if (pt_utf8_valid(name, n) < n)
		return "of a name that is not UTF-8";
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return "of a name with control characters";
	if (name[0] == '/')
		return "of an absolute path";
	return has_dots(name) ? "of a path with '..'" : NULL;
}

static int describe(struct pt_archive *r, struct pt_member *m, struct pt_error *err)
{
	const char *name = archive_entry_pathname(r->entry);

	m->dir = archive_entry_filetype(r->entry) == AE_IFDIR;
	m->refused = refusal(r, name);
	while (name && name[0] == '.' && name[1] == '/')
		for (name += 2; *name == '/'; name++)
			;
	pt_buf_clear(&r->name);
	pt_buf_printable(&r->name, name ? name : "", name ? strnlen(name, PT_MEMBER_NAME) : 0);
	m->name = r->name.data ? r->name.data : "";
	return pt_buf_check(&r->name, err);
}

static int next_header(struct pt_archive *r)
{
	locale_t before = r->utf8 ? uselocale(r->utf8) : (locale_t)0;
	int status = archive_read_next_header(r->a, &r->entry);

	if (before)
		uselocale(before);
	return status;
}

int pt_archive_next(struct pt_archive *r, struct pt_member *m, bool *more, struct pt_error *err)
{
	int64_t last;
	int status;

	*more = false;
	if (r->end)
		return 0;
	if (r->members && archive_read_data_skip(r->a) != ARCHIVE_OK)
		return failed(r, err);
	last = archive_filter_bytes(r->a, 0);
	status = next_header(r);
	if (status == ARCHIVE_EOF)
		return check_end(r, last, err);
	/* Of tar a warning is about names that are no UTF-8; of zip about sizes. */
	if (status != ARCHIVE_OK && (r->zip || status != ARCHIVE_WARN))
		return failed(r, err);
	if (++r->members > PT_MEMBERS)
		return pt_error(err, PT_DATA, "more than %d members", PT_MEMBERS);
	*more = true;
	r->got = 0;
	return describe(r, m, err);
}

ssize_t pt_archive_read(struct pt_archive *r, void *data, size_t n, struct pt_error *err)
{
	la_ssize_t k = archive_read_data(r->a, data, n);

	if (k < 0) {
		failed(r, err);
		return -1;
	}
	r->got += k;
	if (!k && archive_entry_size_is_set(r->entry) && archive_entry_size(r->entry) != r->got) {
		pt_error(err, PT_DATA, "damaged: a member of another size than it says");
		return -1;
	}
	r->bound.out += k;
	return pt_unpack_bound_check(&r->bound, err) ? -1 : (ssize_t)k;
}
