/* SPDX-License-Identifier: MIT */
/*
 * file.c - reading and mapping files, directories, locks.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static const volatile sig_atomic_t *stop_flag;
static int stop_fd = -1;

void pt_read_interrupt(const volatile sig_atomic_t *flag, int wake_fd)
{
	stop_flag = flag;
	stop_fd = wake_fd;
}

/* -1 with EINTR when a stop was asked for; else fd may be read (or its error seen). */
static int wait_readable(int fd)
{
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { stop_fd, POLLIN, 0 } };

	do {
		if (*stop_flag) {
			errno = EINTR;
			return -1;
		}
	} while (poll(p, 2, -1) < 0 && errno == EINTR);
	if (*stop_flag) {
		errno = EINTR;
		return -1;
	}
	return 0;
}

ssize_t pt_read_full(int fd, void *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k;

		if (stop_flag && wait_readable(fd))
			return -1;
		k = read(fd, (char *)data + done, n - done);
		if (k == 0)
			break;
		if (k > 0)
			done += (size_t)k;
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)done;
}

ssize_t pt_read_some(int fd, void *data, size_t n)
{
	struct pollfd p = { fd, POLLIN, 0 };
	size_t got = 0;

	while (got < n && (!got || poll(&p, 1, 0) > 0)) {
		ssize_t k;

		if (stop_flag && wait_readable(fd))
			return -1;
		k = read(fd, (char *)data + got, n - got);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

int pt_write_full(int fd, const void *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k = write(fd, (const char *)data + done, n - done);

		if (k > 0) {
			done += (size_t)k;
		} else if (k == 0) {
			errno = EIO;
			return -1;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			/* The other end of an inherited descriptor made it non-blocking. */
			struct pollfd p = { fd, POLLOUT, 0 };

			poll(&p, 1, -1);
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

int pt_file_read(const char *path, size_t max, struct pt_buf *out, struct pt_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = 0;
	struct stat st;
	size_t room, total = 0;

	if (fd < 0)
		return pt_error_errno(err, "%s", path);
	if (fstat(fd, &st) || S_ISDIR(st.st_mode)) {
		if (S_ISDIR(st.st_mode))
			errno = EISDIR;
		status = pt_error_errno(err, "%s", path);
		goto out;
	}
	room = S_ISREG(st.st_mode) && (uintmax_t)st.st_size < max ? (size_t)st.st_size + 1 : 65536;
	for (;;) {
		char *p = pt_buf_reserve(out, room);
		ssize_t k;

		if (!p) {
			status = pt_error(err, PT_FAIL, "%s: out of memory", path);
			goto out;
		}
		k = pt_read_full(fd, p, room);
		if (k < 0) {
			*p = '\0';
			status = pt_error_errno(err, "%s", path);
			goto out;
		}
		out->len += (size_t)k;
		out->data[out->len] = '\0';
		total += (size_t)k;
		if (total > max) {
			status = pt_error(err, PT_DATA, "%s: larger than %zu bytes", path, max);
			goto out;
		}
		if ((size_t)k < room)
			break;
		room = total < 65536 ? 65536 : total;
	}
out:
	close(fd);
	return status;
}

int pt_mapping_open(struct pt_mapping *m, const char *path, struct pt_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = 0;
	struct stat st;
	void *p;

	m->data = NULL;
	m->size = 0;
	if (fd < 0)
		return pt_error_errno(err, "%s", path);
	if (fstat(fd, &st)) {
		status = pt_error_errno(err, "%s", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		status = pt_error(err, PT_FAIL, "%s: not a regular file", path);
		goto out;
	}
	if (st.st_size == 0) {
		m->data = "";
		goto out;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED) {
		status = pt_error_errno(err, "%s: mmap", path);
		goto out;
	}
	m->data = p;
	m->size = (size_t)st.st_size;
out:
	close(fd);
	return status;
}

void pt_mapping_close(struct pt_mapping *m)
{
	if (m->size)
		munmap((void *)(uintptr_t)m->data, m->size);
	m->data = NULL;
	m->size = 0;
}

bool pt_file_same(const char *a, const char *b)
{
	struct pt_error ignored = PT_ERROR_INIT;
	struct pt_mapping x, y;
	bool same = false;

	if (!pt_is_file(a) || !pt_is_file(b) || pt_mapping_open(&x, a, &ignored))
		return false;
	if (!pt_mapping_open(&y, b, &ignored)) {
		same = x.size == y.size && (!x.size || !memcmp(x.data, y.data, x.size));
		pt_mapping_close(&y);
	}
	pt_mapping_close(&x);
	return same;
}

void pt_mapping_scattered(const struct pt_mapping *m, bool on)
{
	if (m->size)
		posix_madvise((void *)(uintptr_t)m->data, m->size,
			      on ? POSIX_MADV_RANDOM : POSIX_MADV_NORMAL);
}

int pt_dir_sync(const char *path, struct pt_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0;

	/* One that may be written but not read, and some file systems: nothing that we could do. */
	if (fd < 0 && errno == EACCES)
		return 0;
	if (fd < 0)
		return pt_error_errno(err, "%s", path);
	if (fsync(fd) && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
		status = pt_error_errno(err, "%s: fsync", path);
	close(fd);
	return status;
}

int pt_dir_sync_parent(const char *path, struct pt_error *err)
{
	size_t n = strlen(path);
	int status;
	char *dir;

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n && path[n - 1] != '/')
		n--;
	dir = n ? pt_strndup(path, n, err) : pt_strdup(".", err);
	status = dir ? pt_dir_sync(dir, err) : PT_FAIL;
	free(dir);
	return status;
}

int pt_dir_make(const char *path, struct pt_error *err)
{
	if (mkdir(path, 0777) == 0)
		return 0;
	if (errno == EEXIST && pt_is_dir(path))
		return 0;
	return pt_error_errno(err, "%s: cannot make the directory", path);
}

/* Remove name in the directory at; symbolic links are removed, not followed. */
static int remove_at(int at, const char *name)
{
	struct dirent *e;
	int fd, failed = 0;
	DIR *d;

	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	/* A directory: EISDIR on Linux, EPERM by POSIX. */
	if (errno != EISDIR && errno != EPERM)
		return -1;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -1;
	}
	while (!failed && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			failed = remove_at(fd, e->d_name);
	int saved = errno;

	closedir(d);
	errno = saved;
	return failed ? -1 : unlinkat(at, name, AT_REMOVEDIR);
}

int pt_dir_remove(const char *path, struct pt_error *err)
{
	if (remove_at(AT_FDCWD, path))
		return pt_error_errno(err, "%s: cannot remove", path);
	return 0;
}

bool pt_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pt_is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *pt_path_join(const char *dir, const char *name, struct pt_error *err)
{
	size_t n = strlen(dir);

	return pt_format(err, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

/* Whether path is still the name of what is open. */
static bool is_at(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int pt_lock_open(int *fd, const char *dir, const char *name, struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	int status = 0;

	*fd = -1;
	if (!path)
		return PT_FAIL;
	do {
		pt_lock_close(fd);
		*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
		if (*fd < 0)
			status = pt_error_errno(err, "%s", path);
		else if (flock(*fd, LOCK_EX | LOCK_NB))
			status = errno == EWOULDBLOCK ? pt_error(err, PT_FAIL, "%s: in use by another process", dir)
						      : pt_error_errno(err, "%s: cannot lock", path);
		/* Who had it may have removed it in between: a lock on what has no name keeps nobody out. */
	} while (!status && !is_at(*fd, path));
	if (status)
		pt_lock_close(fd);
	free(path);
	return status;
}

void pt_lock_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
