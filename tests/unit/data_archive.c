/* SPDX-License-Identifier: MIT */
/*
 * data_archive.c - texts out of archives and compressed files. A file that is
 * cut anywhere, or of which a bit is wrong, gives the same texts or an error:
 * never some of the texts. Archives are written by libarchive.
 */
#include "archive_fix.h"

static void test_formats(void **state)
{
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	for (int how = 0; how < PACKS; how++) {
		const char *name = name_as(suffix[how]);

		pack_to(&b, how, few, NULL);
		put(name, b.data, b.len);
		assert_ok(slurp(name, &whole, &out, &err), &err);
		assert_string_equal(out.data, few_texts);
		unlink(name);
		/* By its bytes, whatever it is called. */
		name = name_as("");
		put(name, b.data, b.len);
		assert_ok(slurp(name, &whole, &out, &err), &err);
		assert_string_equal(out.data, few_texts);
		unlink(name);
	}
	pt_buf_release(&b);
	pt_buf_release(&out);
}

/* In a plain tar archive the bytes of texts, of names in extended headers and of padding have no checksum. */
static bool unguarded(enum pack how, const struct pt_buf *b, size_t at)
{
	return how == TAR && !(at / 512 * 512 + 262 < b->len && !memcmp(b->data + at / 512 * 512 + 257, "ustar", 5));
}

static void compare(const char *name, const char *what, size_t at, bool free, struct pt_buf *out)
{
	struct pt_error err;
	int status = slurp(name, &whole, out, &err);

	if (!status && !free && strcmp(out->len ? out->data : "", few_texts))
		fail_msg("%s, %s %zu: other texts and no error: %s", name, what, at, out->len ? out->data : "");
	if (status && status != PT_DATA)
		fail_msg("%s, %s %zu: status %d: %s", name, what, at, status, err.msg);
}

static void faults(enum pack how)
{
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	const char *name = name_as(suffix[how]);
	bool all = getenv("FAULTS") != NULL;
	struct pt_error err;
	size_t step;
	int fd;

	pack_to(&b, how, few, NULL);
	step = all ? 1 : 1 + b.len / 1000;
	put(name, b.data, b.len);
	fd = open(name, O_RDWR);
	assert_true(fd >= 0);
	for (size_t i = 0; i < b.len; i += step)
		for (size_t bit = all ? 0 : i / step % 8, end = all ? 8 : bit + 1; bit < end; bit++) {
			char wrong = (char)(b.data[i] ^ 1 << bit);

			if (how == TAR && !all && unguarded(how, &b, i))
				continue;
			assert_int_equal(pwrite(fd, &wrong, 1, (off_t)i), 1);
			compare(name, "bit flipped at", i, unguarded(how, &b, i), &out);
			assert_int_equal(pwrite(fd, &b.data[i], 1, (off_t)i), 1);
		}
	for (size_t i = b.len - 1; i > 0; i -= i > step ? step : 1) {
		assert_int_equal(ftruncate(fd, (off_t)i), 0);
		/* What is missing of the file is always noticed. */
		if (!slurp(name, &whole, &out, &err))
			fail_msg("%s cut at %zu of %zu: no error", name, i, b.len);
	}
	close(fd);
	/* Something behind the end. */
	pt_buf_str(&b, "more");
	put(name, b.data, b.len);
	assert_fails(slurp(name, &whole, &out, &err), PT_DATA, name, &err);
	unlink(name);
	pt_buf_release(&b);
	pt_buf_release(&out);
}

#define FAULTS(HOW) static void test_faults_##HOW(void **state) { (void)state; faults(HOW); }
FAULTS(TAR) FAULTS(TAR_GZ) FAULTS(TAR_BZ2) FAULTS(TAR_XZ) FAULTS(TAR_ZST) FAULTS(ZIP)

/* Cut where one member ends and the next begins, then compressed: nothing but the marker tells. */
static void test_boundary(void **state)
{
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT, z = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;
	struct pt_zst_writer *w;
	const char *name;

	(void)state;
	pack_to(&b, TAR, few, NULL);
	assert_ok(pt_zst_writer_new(&w, &err), &err);
	for (size_t end = 512; end <= b.len; end += 512) {
		name = name_as(".tar.zst");
		assert_ok(pt_zst_compress(w, b.data, end, &z, &err), &err);
		put(name, z.data, z.len);
		if (end < b.len)
			assert_fails(slurp(name, &whole, &out, &err), PT_DATA, "cut short", &err);
		else
			assert_ok(slurp(name, &whole, &out, &err), &err);
		unlink(name);
	}
	/* A second archive behind the first would go unread. */
	pt_buf_add(&b, b.data, b.len);
	name = name_as(".tar");
	put(name, b.data, b.len);
	assert_fails(slurp(name, &whole, &out, &err), PT_DATA, "stand behind the end", &err);
	/* Padding, as tapes have it, is none. */
	b.len /= 2;
	pt_buf_zero(&b, 10240);
	put(name, b.data, b.len);
	assert_ok(slurp(name, &whole, &out, &err), &err);
	assert_string_equal(out.data, few_texts);
	unlink(name);
	pt_zst_writer_free(w);
	pt_buf_release(&b);
	pt_buf_release(&z);
	pt_buf_release(&out);
}

static void refuses(enum pack how, const char *name, const char *text, const char *options, const char *part)
{
	const struct member m[] = { { "a.txt", "ok" }, { name, text }, { 0 } };
	struct pt_source_options o = whole;
	const char *only = "a.txt", *file = name_as(suffix[how]);
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;

	pack_to(&b, how, m, options);
	file = name_as(suffix[how]);
	put(file, b.data, b.len);
	assert_fails(slurp(file, &whole, &out, &err), PT_DATA, part, &err);
	/* What is not chosen does no harm. */
	err = (struct pt_error)PT_ERROR_INIT;
	assert_ok(pt_patterns_init(&o.path, &only, 1, &err), &err);
	if (!options) {
		assert_ok(slurp(file, &o, &out, &err), &err);
		assert_string_equal(out.data, "0:a.txt=ok|");
	}
	pt_patterns_release(&o.path);
	unlink(file);
	pt_buf_release(&b);
	pt_buf_release(&out);
}

static void test_refused(void **state)
{
	char name[5000];

	(void)state;
	refuses(TAR_GZ, "b.txt", "->a.txt", NULL, "'b.txt' is a symbolic link");
	refuses(TAR, "b.txt", "=>a.txt", NULL, "'b.txt' is a hard link");
	refuses(TAR_BZ2, "b.txt", "|", NULL, "'b.txt' is a device, FIFO or socket");
	refuses(ZIP, "b.txt", "->a.txt", NULL, "a symbolic link");
	refuses(TAR, "/etc/b.txt", "x", NULL, "an absolute path");
	refuses(ZIP, "../b.txt", "x", NULL, "a path with '..'");
	refuses(TAR_ZST, "d/../b.txt", "x", NULL, "a path with '..'");
	refuses(TAR, "d/..", "x", NULL, "a path with '..'");
	refuses(TAR, "b\n.txt", "x", NULL, "'b\\x0A.txt' is of a name with control characters");
	refuses(TAR, "b\xff.txt", "x", NULL, "a name that is not UTF-8");
	memset(name, 'x', sizeof name);
	name[sizeof name - 1] = '\0';
	refuses(TAR_XZ, name, "x", NULL, "of too long a name");
	refuses(ZIP, "b.txt", "secret", "zip:encryption=traditional", "is encrypted");
	refuses(TAR_GZ, "b.bin", "\x7f" "ELF", "hdrcharset=UTF-8", "b.bin: this is an ELF program");
	/* Dots in names are names. */
	const struct member fine[] = { { "./d/..b.txt", "x" }, { "d/b..", "y" }, { "\xc3\xa9.txt", "z" }, { 0 } };
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err;

	for (int how = 0; how < PACKS; how += ZIP) {
		const char *file = name_as(suffix[how]);

		pack_to(&b, how, fine, NULL);
		put(file, b.data, b.len);
		assert_ok(slurp(file, &whole, &out, &err), &err);
		assert_string_equal(out.data, "0:d/..b.txt=x|1:d/b..=y|2:\xc3\xa9.txt=z|");
		unlink(file);
	}
	pt_buf_release(&b);
	pt_buf_release(&out);
}

static void test_bounds(void **state)
{
	const struct pt_unpack_bound small = { 0, 100, 256 << 20 }, large = { 0, 2 << 20, (int64_t)400 << 20 };
	struct pt_unpack_bound more;
	struct pt_source_options o = whole;
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	assert_ok(pt_unpack_bound_check(&small, &err), &err);
	more = small;
	more.out++;
	assert_fails(pt_unpack_bound_check(&more, &err), PT_DATA, "--unpacked", &err);
	assert_ok(pt_unpack_bound_check(&large, &err), &err);
	more = large;
	more.out += 1 << 20;
	assert_fails(pt_unpack_bound_check(&more, &err), PT_DATA, "--unpacked", &err);
	more.given = INT64_MAX;
	assert_ok(pt_unpack_bound_check(&more, &err), &err);
	for (int how = 0; how < PACKS; how++) {
		const char *name = name_as(suffix[how]);

		pack_to(&b, how, few, NULL);
		put(name, b.data, b.len);
		o.unpacked = 100;
		assert_fails(slurp(name, &o, &out, &err), PT_DATA, "unpack to more than 100", &err);
		o.unpacked = 100000;
		assert_ok(slurp(name, &o, &out, &err), &err);
		unlink(name);
	}
	pt_buf_release(&b);
	pt_buf_release(&out);
}

static void test_single(void **state)
{
	static const char text[] = "{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
	struct pt_buf z = PT_BUF_INIT, out = PT_BUF_INIT;
	const struct pt_source_options o = { 0 };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_zst_writer *w;
	const char *name = name_as(".jsonl.zst");

	(void)state;
	assert_ok(pt_zst_writer_new(&w, &err), &err);
	assert_ok(pt_zst_compress(w, text, sizeof text - 1, &z, &err), &err);
	put(name, z.data, z.len);
	assert_ok(slurp(name, &o, &out, &err), &err);
	assert_string_equal(out.data, "0:={\"text\":\"a\"}|0:={\"text\":\"b\"}|");
	/* Frames one behind the other are one; an empty one is nothing. */
	pt_buf_add(&z, z.data, z.len);
	put(name, z.data, z.len);
	assert_ok(slurp(name, &o, &out, &err), &err);
	assert_int_equal(out.len, 2 * strlen("0:={\"text\":\"a\"}|0:={\"text\":\"b\"}|"));
	assert_ok(pt_zst_compress(w, "", 0, &z, &err), &err);
	put(name, z.data, z.len);
	assert_ok(slurp(name, &o, &out, &err), &err);
	assert_int_equal(out.len, 0);
	unlink(name);
	/* Its name promises an archive. */
	name = name_as(".tzst");
	assert_ok(pt_zst_compress(w, text, sizeof text - 1, &z, &err), &err);
	put(name, z.data, z.len);
	assert_fails(slurp(name, &o, &out, &err), PT_DATA, "no tar archive", &err);
	unlink(name);
	pt_zst_writer_free(w);
	pt_buf_release(&z);
	pt_buf_release(&out);
}

static void test_chosen(void **state)
{
	static const char *const by[] = { "set/{label:pos}/*.txt", "set/{label}/1_*.txt" }, *const none = "train/{label}/*";
	struct pt_source_options o = whole;
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;
	const char *name = name_as(".zip");

	(void)state;
	pack_to(&b, ZIP, few, NULL);
	put(name, b.data, b.len);
	assert_ok(pt_patterns_init(&o.path, by, 2, &err), &err);
	assert_ok(slurp(name, &o, &out, &err), &err);
	assert_string_equal(out.data, "0:set/pos/0_9.txt[pos]=Good,\nand long.\n|1:set/neg/1_2.txt[neg]=Bad|");
	pt_patterns_release(&o.path);
	assert_ok(pt_patterns_init(&o.path, &none, 1, &err), &err);
	assert_fails(slurp(name, &o, &out, &err), PT_DATA, "no member matches --path; the first is set/README", &err);
	pt_patterns_release(&o.path);
	unlink(name);
	pt_buf_release(&b);
	pt_buf_release(&out);
}

/* tar needs no file. */
/* A member whose own header reaches into the directory: what is left for its data is less than nothing. */
static void test_zip_overlap(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf out = PT_BUF_INIT;
	unsigned char z[31 + 47 + 22] = { 0 }, *dir = z + 31, *end = dir + 47;
	const char *name = name_as(".zip");

	(void)state;
	memcpy(z, "PK\3\4", 4);
	z[6] = 8;			/* sizes come later */
	z[26] = 1;			/* length of the name */
	z[28] = 2;			/* of the extra field: two bytes of the directory */
	z[30] = 'a';
	memcpy(dir, "PK\1\2", 4);
	dir[8] = 8;
	memset(dir + 20, 0xfe, 8);	/* packed and plain size */
	dir[28] = 1;
	dir[46] = 'a';
	memcpy(end, "PK\5\6", 4);
	end[8] = end[10] = 1;
	end[12] = 47;
	end[16] = 31;
	put(name, z, sizeof z);
	assert_fails(slurp(name, &whole, &out, &err), PT_DATA, "a member lies beyond the end", &err);
	pt_buf_clear(&out);
	/* More members than the directory has room for. */
	end[8] = end[10] = 200;
	put(name, z, sizeof z);
	assert_fails(slurp(name, &whole, &out, &err), PT_DATA, "another number of members", &err);
	pt_buf_release(&out);
}

static void test_pipe(void **state)
{
	struct pt_buf b = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	for (int how = 0; how < PACKS; how++) {
		const char *name = name_as(".fifo");
		pid_t pid;

		pack_to(&b, how, few, NULL);
		assert_int_equal(mkfifo(name, 0600), 0);
		pid = fork();
		if (!pid) {
			int fd = open(name, O_WRONLY);

			signal(SIGPIPE, SIG_IGN);
			for (size_t at = 0; at < b.len && write(fd, b.data + at, 1) == 1; at++)
				;
			_exit(0);
		}
		if (how == ZIP) {
			assert_fails(slurp(name, &whole, &out, &err), PT_DATA, "name it as a file", &err);
		} else {
			assert_ok(slurp(name, &whole, &out, &err), &err);
			assert_string_equal(out.data, few_texts);
		}
		waitpid(pid, NULL, 0);
		unlink(name);
	}
	pt_buf_release(&b);
	pt_buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats), cmocka_unit_test(test_faults_TAR), cmocka_unit_test(test_faults_TAR_GZ),
		cmocka_unit_test(test_faults_TAR_BZ2), cmocka_unit_test(test_faults_TAR_XZ),
		cmocka_unit_test(test_faults_TAR_ZST), cmocka_unit_test(test_faults_ZIP),
		cmocka_unit_test(test_boundary), cmocka_unit_test(test_refused), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_single), cmocka_unit_test(test_chosen),
		cmocka_unit_test(test_zip_overlap),
		cmocka_unit_test(test_pipe),
	};

	snprintf(path, sizeof path, "/tmp/peft-archive.%ld", (long)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
