/* SPDX-License-Identifier: MIT */
/*
 * out.c - output files that appear whole or not at all (pt_out of file.h).
 *
 * The temporary file stands beside its target, since rename() works within
 * one file system only, and is called .NAME.tmp.PID, so that a leftover of a
 * killed process is seen for what it is; who writes one has it locked. Names of open ones are kept in a
 * fixed table that a signal handler can walk. The handler may run on another
 * thread: a name is freed only when it is out of the table and nobody reads.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { MAX_OPEN = 256, MAX_LINKS = 40 };

static _Atomic(char *) open_tmp[MAX_OPEN];
static atomic_int readers;	/* walks over open_tmp[] that look into names */

static bool tmp_register(char *tmp)
{
	for (int i = 0; i < MAX_OPEN; i++) {
		char *empty = NULL;

		if (atomic_compare_exchange_strong(&open_tmp[i], &empty, tmp))
			return true;
	}
	return false;
}

/* On return no reader has the name any more. */
static void tmp_unregister(char *tmp)
{
	for (int i = 0; i < MAX_OPEN; i++) {
		char *mine = tmp;

		if (atomic_compare_exchange_strong(&open_tmp[i], &mine, NULL))
			break;
	}
	/* Readers never wait: a handler on this very thread has returned by now. */
	while (atomic_load(&readers))
		sched_yield();
}

void pt_out_unlink_all(void)
{
	atomic_fetch_add(&readers, 1);
	for (int i = 0; i < MAX_OPEN; i++) {
		const char *p = atomic_load(&open_tmp[i]);

		if (p)
			unlink(p);
	}
	atomic_fetch_sub(&readers, 1);
}

/* The text of a symbolic link on the heap. */
static char *read_link(const char *path, struct pt_error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof target - 1);

	if (n < 0) {
		pt_error_errno(err, "%s", path);
		return NULL;
	}
	target[n] = '\0';
	return pt_strdup(target, err);
}

/* The directory part, with its slash; "" where there is none. */
static size_t dir_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) + 1 : 0;
}

/*
 * Follow symbolic links by hand: realpath() wants a target that exists, and
 * a dangling link is as good a name for a new file.
 */
static char *resolve(const char *path, struct pt_error *err)
{
	char *p = pt_strdup(path, err), *target, *next;
	struct stat st;

	for (int i = 0; p && lstat(p, &st) == 0 && S_ISLNK(st.st_mode); i++) {
		if (i == MAX_LINKS) {
			errno = ELOOP;
			pt_error_errno(err, "%s", path);
			free(p);
			return NULL;
		}
		target = read_link(p, err);
		if (!target)
			next = NULL;
		else if (target[0] == '/')
			next = pt_strdup(target, err);
		else
			next = pt_format(err, "%.*s%s", (int)dir_length(p), p, target);
		free(target);
		free(p);
		p = next;
	}
	return p;
}

/* A descriptor this process already has: its /dev name is to be written, never replaced. */
static int named_fd(const char *path)
{
	char *end;
	long fd;

	if (strcmp(path, "/dev/stdout") == 0)
		return STDOUT_FILENO;
	if (strcmp(path, "/dev/stderr") == 0)
		return STDERR_FILENO;
	if (strncmp(path, "/dev/fd/", 8) != 0 && strncmp(path, "/proc/self/fd/", 14) != 0)
		return -1;
	path = strrchr(path, '/') + 1;
	fd = strtol(path, &end, 10);
	return *path && !*end && fd >= 0 && fd <= INT_MAX ? (int)fd : -1;
}

/*
 * Whether the name is free: nothing can be seen there (what else is wrong, create() says), or the leftover of a killed process,
 * which nobody has locked, and which goes. Numbers of processes repeat: each
 * container counts from 1.
 */
static bool is_free(const char *tmp)
{
	struct stat st;
	bool gone;
	int fd;

	if (lstat(tmp, &st))
		return true;
	fd = open(tmp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	gone = fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB) && !unlink(tmp);
	if (fd >= 0)
		close(fd);
	return gone;
}

/* A new file under a name that was free; *raced: it is somebody else's by now. */
static int create(struct pt_out *o, bool *raced, struct pt_error *err)
{
	struct stat st;
	int status = 0;

	*raced = false;
	if (!tmp_register(o->tmp))
		return pt_error(err, PT_FAIL, "%s: more than %d output files are open", o->path, MAX_OPEN);
	o->fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	*raced = o->fd < 0 && errno == EEXIST;
	if (o->fd >= 0) {
		/* Where there are no locks nobody takes it for a leftover either. */
		(void)flock(o->fd, LOCK_EX);
		*raced = !fstat(o->fd, &st) && !st.st_nlink;
	}
	if (o->fd >= 0 && !*raced)
		return 0;
	if (!*raced)
		status = pt_error_errno(err, "%s: cannot create", o->path);
	tmp_unregister(o->tmp);
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	return status;
}

/* Create o->tmp beside o->path. */
static int open_tmp_file(struct pt_out *o, mode_t mode, bool exists, struct pt_error *err)
{
	size_t dir = dir_length(o->path);
	bool raced = true;
	int status = 0;

	for (int serial = 0; raced && !status; serial++) {
		char more[16] = "";

		if (serial)
			snprintf(more, sizeof more, ".%d", serial);
		/* Names end at 255 bytes. */
		o->tmp = pt_format(err, "%.*s.%.200s.tmp.%ld%s", (int)dir, o->path, o->path + dir,
				   (long)getpid(), more);
		if (!o->tmp)
			return PT_FAIL;
		if (is_free(o->tmp))
			status = create(o, &raced, err);
		if (raced || status) {
			free(o->tmp);
			o->tmp = NULL;
		}
	}
	if (!status && exists && fchmod(o->fd, mode & 07777) && errno != EPERM)
		return pt_error_errno(err, "%s: cannot set the mode", o->path);
	return status;
}

int pt_out_open(struct pt_out *o, const char *path, struct pt_error *err)
{
	struct stat st;
	int fd, status = 0;
	bool exists;

	*o = (struct pt_out){ -1, NULL, NULL };
	if (strcmp(path, "-") == 0) {
		o->fd = STDOUT_FILENO;
		return 0;
	}
	fd = named_fd(path);
	if (fd >= 0) {
		o->path = pt_strdup(path, err);
		if (!o->path)
			return PT_FAIL;
		o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (o->fd < 0)
			status = pt_error_errno(err, "%s", path);
		goto out;
	}
	o->path = resolve(path, err);
	if (!o->path)
		return PT_FAIL;
	exists = stat(o->path, &st) == 0;
	if (!exists && errno != ENOENT) {
		status = pt_error_errno(err, "%s", path);
	} else if (!exists || S_ISREG(st.st_mode)) {
		if (!exists && (!o->path[0] || o->path[strlen(o->path) - 1] == '/')) {
			errno = o->path[0] ? EISDIR : ENOENT;
			status = pt_error_errno(err, "'%s'", path);
		} else if (exists && access(o->path, W_OK)) {
			/* rename() would not mind that it is read-only; its owner would. */
			status = pt_error_errno(err, "%s", path);
		} else {
			status = open_tmp_file(o, exists ? st.st_mode : 0, exists, err);
		}
	} else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
		o->fd = open(o->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		if (o->fd < 0)
			status = pt_error_errno(err, "%s", path);
	} else {
		status = pt_error(err, PT_FAIL, "%s: %s, not a file that can be written", path,
				  S_ISDIR(st.st_mode) ? "a directory" : "a socket");
	}
out:
	if (status)
		pt_out_abort(o);
	return status;
}

static const char *name_of(const struct pt_out *o)
{
	return o->path ? o->path : "standard output";
}

int pt_out_write(struct pt_out *o, const void *data, size_t n, struct pt_error *err)
{
	if (pt_write_full(o->fd, data, n))
		return pt_error_errno(err, "%s: cannot write", name_of(o));
	return 0;
}

/* Closed standard output is replaced by /dev/null, so that no file opened later takes its number. */
static int close_fd(int fd)
{
	int null, failed;

	if (fd != STDOUT_FILENO)
		return close(fd);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	failed = close(fd);
	if (null >= 0) {
		int saved = errno;

		dup2(null, fd);
		close(null);
		errno = saved;
	}
	return failed;
}

static void forget(struct pt_out *o)
{
	if (o->tmp)
		tmp_unregister(o->tmp);
	free(o->tmp);
	free(o->path);
	*o = (struct pt_out){ -1, NULL, NULL };
}

int pt_out_commit(struct pt_out *o, struct pt_error *err)
{
	int status = 0, fd = o->fd;

	if (o->tmp && fsync(fd))
		status = pt_error_errno(err, "%s: cannot write", name_of(o));
	/* Its lock is held until it has its name. */
	if (o->tmp && !status && rename(o->tmp, o->path))
		status = pt_error_errno(err, "%s: cannot rename", name_of(o));
	o->fd = -1;
	if (close_fd(fd) && !status && !o->tmp)
		status = pt_error_errno(err, "%s: cannot write", name_of(o));
	if (o->tmp && !status) {
		status = pt_dir_sync_parent(o->path, err);
		/* The file has its name: there is nothing left to unlink. */
		forget(o);
		return status;
	}
	pt_out_abort(o);
	return status;
}

void pt_out_abort(struct pt_out *o)
{
	if (o->tmp)
		unlink(o->tmp);
	if (o->fd >= 0)
		close_fd(o->fd);
	forget(o);
}

int pt_file_write(const char *path, const void *data, size_t n, struct pt_error *err)
{
	struct pt_out o;
	int status = pt_out_open(&o, path, err);

	if (status)
		return status;
	status = pt_out_write(&o, data, n, err);
	if (status) {
		pt_out_abort(&o);
		return status;
	}
	return pt_out_commit(&o, err);
}

int pt_file_write_in(const char *dir, const char *name, const struct pt_buf *text, struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	int status = path ? pt_buf_check(text, err) : err->status;

	if (!status)
		status = pt_file_write(path, text->data, text->len, err);
	free(path);
	return status;
}

int pt_file_copy(const char *src, const char *dst, struct pt_error *err)
{
	int fd = open(src, O_RDONLY | O_CLOEXEC), status;
	enum { CHUNK = 1 << 20 };
	struct pt_out o;
	struct stat st;
	char *chunk;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st)) {
		status = pt_error_errno(err, "%s", src);
		goto out_fd;
	}
	if (!S_ISREG(st.st_mode)) {
		status = pt_error(err, PT_FAIL, "%s: not a regular file", src);
		goto out_fd;
	}
	chunk = pt_malloc(CHUNK, 1, err);
	status = chunk ? pt_out_open(&o, dst, err) : PT_FAIL;
	if (status)
		goto out;
	while ((n = pt_read_full(fd, chunk, CHUNK)) > 0) {
		status = pt_out_write(&o, chunk, (size_t)n, err);
		if (status)
			break;
	}
	if (n < 0)
		status = pt_error_errno(err, "%s", src);
	if (status)
		pt_out_abort(&o);
	else
		status = pt_out_commit(&o, err);
out:
	free(chunk);
out_fd:
	if (fd >= 0)
		close(fd);
	return status;
}
