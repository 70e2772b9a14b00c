/* SPDX-License-Identifier: MIT */
/*
 * file.h - files that are read whole or mapped, and files and directories
 * that appear whole or not at all.
 */
#ifndef PT_BASE_FILE_H
#define PT_BASE_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* All of a file, NUL-terminated beyond len; refused above max bytes. */
int pt_file_read(const char *path, size_t max, struct pt_buf *out, struct pt_error *err);

/* read()/write() until n bytes or end, EINTR and short counts handled. -1 with errno on failure. */
ssize_t pt_read_full(int fd, void *data, size_t n);
int pt_write_full(int fd, const void *data, size_t n);
/* What is there now, at most n bytes: waits for the first one. 0 at the end; otherwise as pt_read_full(). */
ssize_t pt_read_some(int fd, void *data, size_t n);

/*
 * From now on pt_read_full() and pt_read_some() fail with EINTR when *flag is not 0, also while
 * they wait: wake_fd becomes readable when the flag is set (the reading end of
 * a pipe that the signal handler writes to). NULL, -1 undoes it.
 */
void pt_read_interrupt(const volatile sig_atomic_t *flag, int wake_fd);

/* A regular file mapped read-only. */
struct pt_mapping {
	const void *data;
	size_t size;
};

int pt_mapping_open(struct pt_mapping *m, const char *path, struct pt_error *err);
void pt_mapping_close(struct pt_mapping *m);
/* Whether both are files with the same bytes. */
bool pt_file_same(const char *a, const char *b);
/* What comes next are single places far apart (true): nothing is read ahead, until false. A hint. */
void pt_mapping_scattered(const struct pt_mapping *m, bool on);

/*
 * An output file. A path whose target is absent or a regular file (symbolic
 * links are followed) is written beside the target and renamed over it by
 * pt_out_commit(), after fsync. FIFOs and devices are written through; "-"
 * is standard output. Anything else is refused at open.
 */
struct pt_out {
	int fd;
	char *path;		/* final path (resolved), NULL for "-" */
	char *tmp;		/* file being written, NULL when written through */
};

int pt_out_open(struct pt_out *o, const char *path, struct pt_error *err);
int pt_out_write(struct pt_out *o, const void *data, size_t n, struct pt_error *err);
int pt_out_commit(struct pt_out *o, struct pt_error *err);	/* closes o, also on failure */
void pt_out_abort(struct pt_out *o);				/* no trace is left */

/* A small file in one call, as pt_out does it. */
int pt_file_write(const char *path, const void *data, size_t n, struct pt_error *err);
/* dir/name from a text that was put together; fails, too, where that failed. */
int pt_file_write_in(const char *dir, const char *name, const struct pt_buf *text, struct pt_error *err);

/* Copy a regular file byte for byte, to appear whole. */
int pt_file_copy(const char *src, const char *dst, struct pt_error *err);

int pt_dir_sync(const char *path, struct pt_error *err);	/* fsync of a directory */
int pt_dir_sync_parent(const char *path, struct pt_error *err);	/* of the one that path stands in */
int pt_dir_make(const char *path, struct pt_error *err);	/* mkdir; an existing directory is fine */
int pt_dir_remove(const char *path, struct pt_error *err);	/* with all that is in it; absent is fine */
bool pt_is_dir(const char *path);
bool pt_is_file(const char *path);
/* dir + "/" + name on the heap. */
char *pt_path_join(const char *dir, const char *name, struct pt_error *err);

/* Advisory lock on dir/name (created); PT_FAIL naming the directory when another process holds it. */
int pt_lock_open(int *fd, const char *dir, const char *name, struct pt_error *err);
void pt_lock_close(int *fd);

/* Unlinks the temporary files of every open pt_out; async-signal-safe. */
void pt_out_unlink_all(void);

#endif
