/* SPDX-License-Identifier: MIT */
/*
 * Files that appear whole or not at all, directories, locks, mappings.
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char dir[200];

static const char *at(const char *name)
{
	static char path[4][500];
	static int k;

	k = (k + 1) % 4;
	snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
	return path[k];
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/peft-file.XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	return pt_dir_remove(dir, &err);
}

static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 2;
}

static void put(const char *path, const char *text)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(pt_file_write(path, text, strlen(text), &err), &err);
}

static void holds(const char *path, const char *text)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;

	assert_ok(pt_file_read(path, 1 << 20, &b, &err), &err);
	assert_string_equal(b.data, text);
	assert_int_equal(b.len, strlen(text));
	pt_buf_release(&b);
}

static void appears_at_commit(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_out o;
	char tmp[64];

	(void)state;
	assert_ok(pt_out_open(&o, at("new"), &err), &err);
	assert_ok(pt_out_write(&o, "abc", 3, &err), &err);
	assert_false(pt_is_file(at("new")));
	snprintf(tmp, sizeof tmp, ".new.tmp.%ld", (long)getpid());
	assert_true(pt_is_file(at(tmp)));
	assert_ok(pt_out_commit(&o, &err), &err);
	holds(at("new"), "abc");
	assert_int_equal(entries(dir), 1);

	/* The old content stands until the new one is complete; its mode stays. */
	assert_int_equal(chmod(at("new"), 0640), 0);
	assert_ok(pt_out_open(&o, at("new"), &err), &err);
	assert_ok(pt_out_write(&o, "x", 1, &err), &err);
	holds(at("new"), "abc");
	assert_ok(pt_out_commit(&o, &err), &err);
	holds(at("new"), "x");
	struct stat st;

	assert_int_equal(stat(at("new"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	unlink(at("new"));
}

static void abort_leaves_nothing(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_out o, p;

	(void)state;
	put(at("kept"), "old");
	assert_ok(pt_out_open(&o, at("kept"), &err), &err);
	assert_ok(pt_out_open(&p, at("kept"), &err), &err);	/* twice the same: two temporary files */
	assert_string_not_equal(o.tmp, p.tmp);
	assert_ok(pt_out_write(&o, "new", 3, &err), &err);
	pt_out_abort(&o);
	pt_out_abort(&p);
	pt_out_abort(&p);	/* once more does no harm */
	holds(at("kept"), "old");
	assert_int_equal(entries(dir), 1);

	assert_ok(pt_out_open(&o, at("a"), &err), &err);
	assert_ok(pt_out_open(&p, at("b"), &err), &err);
	assert_int_equal(entries(dir), 3);
	pt_out_unlink_all();
	assert_int_equal(entries(dir), 1);
	/* What was unlinked under it cannot be committed, and says so. */
	assert_fails(pt_out_commit(&o, &err), PT_FAIL, "rename", &err);
	pt_out_abort(&p);
	unlink(at("kept"));
}

/* Of a path that is just short enough the temporary file's is not: that is said. */
static void too_long(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	char path[PATH_MAX];
	size_t n = strlen(dir);

	(void)state;
	memcpy(path, dir, n);
	while (n + 4 < sizeof path) {
		memcpy(path + n, "/.", 2);
		n += 2;
	}
	memcpy(path + n, "/f", 3);
	assert_fails(pt_file_write(path, "x", 1, &err), PT_FAIL, dir, &err);
	assert_int_equal(entries(dir), 0);
}

/* What nobody has locked is a leftover; what somebody has is in the making, in a container with equal numbers say. */
static void leftover_is_replaced(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	char tmp[64];

	(void)state;
	snprintf(tmp, sizeof tmp, ".f.tmp.%ld", (long)getpid());
	int fd = open(at(tmp), O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0 && write(fd, "leftover", 8) == 8);
	close(fd);
	assert_ok(pt_file_write(at("f"), "ok", 2, &err), &err);
	holds(at("f"), "ok");
	assert_int_equal(entries(dir), 1);

	fd = open(at(tmp), O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0 && !flock(fd, LOCK_EX) && write(fd, "another's", 9) == 9);
	assert_ok(pt_file_write(at("f"), "mine", 4, &err), &err);
	holds(at("f"), "mine");
	holds(at(tmp), "another's");
	close(fd);
	unlink(at(tmp));
	unlink(at("f"));
}

static void symlinks_are_followed(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(at("sub"), 0777), 0);
	put(at("sub/target"), "old");
	assert_int_equal(symlink("sub/target", at("link")), 0);
	assert_int_equal(symlink("link", at("link2")), 0);
	put(at("link2"), "new");
	holds(at("sub/target"), "new");
	assert_int_equal(lstat(at("link"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	/* A link to nothing yet names the new file. */
	assert_int_equal(symlink("sub/later", at("dangling")), 0);
	put(at("dangling"), "now");
	holds(at("sub/later"), "now");
	assert_int_equal(symlink("loop", at("loop")), 0);
	assert_fails(pt_file_write(at("loop"), "", 0, &err), PT_FAIL, "loop", &err);
	assert_ok(pt_dir_remove(at("sub"), &err), &err);
	unlink(at("link"));
	unlink(at("link2"));
	unlink(at("dangling"));
	unlink(at("loop"));
	assert_int_equal(entries(dir), 0);
}

static void fifo_is_written_through(void **state)
{
	struct stat st;
	char got[16] = "";
	int fd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct pt_error err = PT_ERROR_INIT;

		_exit(pt_file_write(at("fifo"), "through", 7, &err));
	}
	fd = open(at("fifo"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(pt_read_full(fd, got, sizeof got), 7);
	close(fd);
	assert_string_equal(got, "through");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(lstat(at("fifo"), &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	unlink(at("fifo"));
	assert_int_equal(entries(dir), 0);
}

static void failures(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct rlimit old, small;
	struct pt_out o;
	char big[8192] = "";

	(void)state;
	assert_fails(pt_file_write("/dev/full", "x", 1, &err), PT_FAIL, "/dev/full", &err);
	put("/dev/null", "x");
	assert_fails(pt_file_write(dir, "x", 1, &err), PT_FAIL, "directory", &err);
	assert_fails(pt_file_write(at("no/such"), "x", 1, &err), PT_FAIL, "no/such", &err);
	assert_fails(pt_file_write(at("slash/"), "x", 1, &err), PT_FAIL, "slash/", &err);
	assert_fails(pt_file_write("", "x", 1, &err), PT_FAIL, "", &err);
	/* A file size limit stands in for a full disk: the error is reported, nothing is left. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 4096;
	setrlimit(RLIMIT_FSIZE, &small);
	assert_fails(pt_file_write(at("large"), big, sizeof big, &err), PT_FAIL, "File too large", &err);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(entries(dir), 0);

	put(at("readonly"), "x");
	chmod(at("readonly"), 0400);
	if (access(at("readonly"), W_OK)) {	/* root may write everything */
		assert_fails(pt_out_open(&o, at("readonly"), &err), PT_FAIL, "readonly", &err);
	}
	unlink(at("readonly"));
	assert_int_equal(entries(dir), 0);
}

static void long_names(void **state)
{
	char name[256];

	(void)state;
	memset(name, 'n', 255);
	name[255] = '\0';
	put(at(name), "fits");
	holds(at(name), "fits");
	unlink(at(name));
}

/* Standard output: committed, it is at its end for the reader, and its number is not given away. */
static void standard_output(void **state)
{
	int fds[2], status, fd;
	char got[16] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct pt_error err = PT_ERROR_INIT;
		struct pt_out o;

		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		status = pt_out_open(&o, "-", &err) || pt_out_write(&o, "out", 3, &err) ||
			 pt_out_commit(&o, &err);
		fd = open("/dev/null", O_RDONLY);
		if (fd == 1)
			status = 99;
		/* Open until we are killed: the reader's end must come from the commit. */
		if (!status)
			pause();
		_exit(status);
	}
	close(fds[1]);
	assert_int_equal(pt_read_full(fds[0], got, sizeof got), 3);
	assert_string_equal(got, "out");
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void reads_and_copies(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;
	struct pt_mapping m;

	(void)state;
	put(at("f"), "0123456789");
	assert_ok(pt_file_read(at("f"), 10, &b, &err), &err);
	assert_int_equal(b.len, 10);
	pt_buf_clear(&b);
	assert_fails(pt_file_read(at("f"), 9, &b, &err), PT_DATA, "larger than 9", &err);
	assert_fails(pt_file_read(at("g"), 9, &b, &err), PT_FAIL, "No such file", &err);
	assert_fails(pt_file_read(dir, 9, &b, &err), PT_FAIL, "directory", &err);
	pt_buf_clear(&b);
	put(at("empty"), "");
	assert_ok(pt_file_read(at("empty"), 10, &b, &err), &err);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.data[0], 0);
	pt_buf_release(&b);

	assert_ok(pt_mapping_open(&m, at("f"), &err), &err);
	assert_int_equal(m.size, 10);
	assert_memory_equal(m.data, "0123456789", 10);
	pt_mapping_close(&m);
	pt_mapping_close(&m);
	assert_ok(pt_mapping_open(&m, at("empty"), &err), &err);
	assert_non_null(m.data);
	assert_int_equal(m.size, 0);
	pt_mapping_close(&m);
	assert_fails(pt_mapping_open(&m, "/dev/null", &err), PT_FAIL, "regular", &err);
	assert_fails(pt_mapping_open(&m, dir, &err), PT_FAIL, "regular", &err);
	assert_fails(pt_mapping_open(&m, at("g"), &err), PT_FAIL, "No such file", &err);

	assert_ok(pt_file_copy(at("f"), at("copy"), &err), &err);
	holds(at("copy"), "0123456789");
	assert_ok(pt_file_copy(at("empty"), at("copy"), &err), &err);
	holds(at("copy"), "");
	assert_fails(pt_file_copy(at("g"), at("copy"), &err), PT_FAIL, "No such file", &err);
	assert_fails(pt_file_copy("/dev/zero", at("copy"), &err), PT_FAIL, "regular", &err);
	unlink(at("f"));
	unlink(at("empty"));
	unlink(at("copy"));
}

static void directories(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	char *p;

	(void)state;
	assert_ok(pt_dir_make(at("d"), &err), &err);
	assert_ok(pt_dir_make(at("d"), &err), &err);
	assert_fails(pt_dir_make(at("x/y"), &err), PT_FAIL, "x/y", &err);
	put(at("outside"), "stays");
	assert_fails(pt_dir_make(at("outside"), &err), PT_FAIL, "exists", &err);
	assert_ok(pt_dir_make(at("d/e"), &err), &err);
	put(at("d/e/f"), "x");
	assert_int_equal(symlink("../outside", at("d/file-link")), 0);
	assert_int_equal(symlink("../..", at("d/e/dir-link")), 0);
	assert_ok(pt_dir_sync(at("d"), &err), &err);
	assert_ok(pt_dir_remove(at("d"), &err), &err);
	assert_ok(pt_dir_remove(at("d"), &err), &err);
	assert_false(pt_is_dir(at("d")));
	holds(at("outside"), "stays");
	unlink(at("outside"));
	p = pt_path_join("a", "b", &err);
	assert_string_equal(p, "a/b");
	free(p);
	p = pt_path_join("a/", "b", &err);
	assert_string_equal(p, "a/b");
	free(p);
	assert_true(pt_is_dir(dir));
	assert_false(pt_is_file(dir));
}

static void locks(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	int a, b, status;
	pid_t pid;

	(void)state;
	assert_ok(pt_lock_open(&a, dir, ".lock", &err), &err);
	assert_fails(pt_lock_open(&b, dir, ".lock", &err), PT_FAIL, dir, &err);
	assert_int_equal(b, -1);
	pid = fork();
	if (pid == 0) {
		int fd;

		_exit(pt_lock_open(&fd, dir, ".lock", &err) == PT_FAIL ? 7 : 0);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 7);
	pt_lock_close(&a);
	assert_ok(pt_lock_open(&b, dir, ".lock", &err), &err);
	pt_lock_close(&b);
	unlink(at(".lock"));
}

static volatile sig_atomic_t stop;
static int wake[2];

static void on_alarm(int sig)
{
	(void)sig;
	stop = 1;
	if (write(wake[1], "", 1) < 0)
		stop = 2;
}

/* A signal ends a read that waits, once a flag is watched; else reads go on after it. */
static void interrupted_read(void **state)
{
	int fds[2], data[2];
	char c;
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pipe(data), 0);
	assert_int_equal(pipe(wake), 0);
	sigaction(SIGALRM, &sa, NULL);
	pt_read_interrupt(&stop, wake[0]);
	assert_int_equal(write(data[1], "x", 1), 1);
	assert_int_equal(pt_read_full(data[0], &c, 1), 1);
	ualarm(20000, 0);
	errno = 0;
	assert_int_equal(pt_read_full(fds[0], &c, 1), -1);
	assert_int_equal(errno, EINTR);
	/* Set before the read is as good. */
	assert_int_equal(pt_read_full(fds[0], &c, 1), -1);
	pt_read_interrupt(NULL, -1);
	assert_int_equal(write(fds[1], "y", 1), 1);
	assert_int_equal(pt_read_full(fds[0], &c, 1), 1);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(data[i]);
		close(wake[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appears_at_commit),
		cmocka_unit_test(abort_leaves_nothing),
		cmocka_unit_test(too_long), cmocka_unit_test(leftover_is_replaced),
		cmocka_unit_test(symlinks_are_followed),
		cmocka_unit_test(fifo_is_written_through),
		cmocka_unit_test(failures),
		cmocka_unit_test(long_names),
		cmocka_unit_test(standard_output),
		cmocka_unit_test(reads_and_copies),
		cmocka_unit_test(directories),
		cmocka_unit_test(locks),
		cmocka_unit_test(interrupted_read),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
