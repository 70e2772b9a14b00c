/* SPDX-License-Identifier: MIT */
/*
 * archive_fix.h - for data_archive.c: archives and compressed files as
 * libarchive and zstd write them, and the texts that a source reads of them.
 */
#ifndef ARCHIVE_FIX_H
#define ARCHIVE_FIX_H

#include "test.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "data/source.h"
#include "io/zst.h"

static char path[64];

struct member {
	const char *name, *text;	/* text NULL: a directory; "->X": a link to X; "=>X": a hard link */
};

static const struct member few[] = {
	{ "set", NULL },
	{ "set/README", "What this is.\n" },
	{ "set/pos/0_9.txt", "Good,\nand long.\n" },
	{ "set/neg/1_2.txt", "Bad" },
	{ "set/neg/._1_2.txt", "\0Mac" },
	{ "set/neg/empty.txt", "" },
	{ "set/neg/2_3.txt", "no no no no no no no no no no no no no no no no no no no no no no no no no no no no\n" },
	{ 0 },
};
static const char few_texts[] = "0:set/README=What this is.\n|1:set/pos/0_9.txt=Good,\nand long.\n|2:set/neg/1_2.txt=Bad|"
	"4:set/neg/2_3.txt=no no no no no no no no no no no no no no no no no no no no no no no no no no no no\n|";

enum pack { TAR, TAR_GZ, TAR_BZ2, TAR_XZ, TAR_ZST, ZIP, PACKS };
static const char *const suffix[PACKS] = { ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip" };

static void add_member(struct archive *a, const struct member *m)
{
	struct archive_entry *e = archive_entry_new();
	size_t n = m->text ? strlen(m->text) : 0;

	archive_entry_set_pathname(e, m->name);
	archive_entry_set_mtime(e, 1000000000, 0);
	archive_entry_set_mode(e, m->text ? S_IFREG | 0644 : S_IFDIR | 0755);
	if (m->text && !strncmp(m->text, "->", 2)) {
		archive_entry_set_mode(e, S_IFLNK | 0777);
		archive_entry_set_symlink(e, m->text + 2);
		n = 0;
	} else if (m->text && !strncmp(m->text, "=>", 2)) {
		archive_entry_set_hardlink(e, m->text + 2);
		n = 0;
	} else if (m->text && !strcmp(m->text, "|")) {
		archive_entry_set_mode(e, S_IFIFO | 0600);
		n = 0;
	}
	archive_entry_set_size(e, (la_int64_t)n);
	assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);		/* it warns of names that are not UTF-8 */
	if (n)
		assert_int_equal(archive_write_data(a, m->text, n), n);
	archive_entry_free(e);
}

static void pack_to(struct pt_buf *out, enum pack how, const struct member *m, const char *options)
{
	struct archive *a = archive_write_new();
	struct pt_error err = PT_ERROR_INIT;
	struct pt_zst_writer *w;
	struct pt_buf plain = PT_BUF_INIT;
	size_t used = 0;
	char *to;

	pt_buf_clear(out);
	to = pt_buf_reserve(out, 1 << 20);
	if (how == ZIP)
		archive_write_set_format_zip(a);
	else
		archive_write_set_format_pax_restricted(a);
	if (how == TAR_GZ)
		archive_write_add_filter_gzip(a);
	if (how == TAR_BZ2)
		archive_write_add_filter_bzip2(a);
	if (how == TAR_XZ)
		archive_write_add_filter_xz(a);
	if (how == TAR_XZ)
		assert_int_equal(archive_write_set_options(a, "compression-level=0"), ARCHIVE_OK);
	archive_write_set_bytes_per_block(a, how == TAR ? 512 : 0);
	archive_write_set_bytes_in_last_block(a, 1);
	if (options)
		assert_int_equal(archive_write_set_options(a, options), ARCHIVE_OK);
	if (options && strstr(options, "encryption"))
		archive_write_set_passphrase(a, "secret");
	assert_int_equal(archive_write_open_memory(a, to, 1 << 20, &used), ARCHIVE_OK);
	for (; m->name; m++)
		add_member(a, m);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	out->len = used;
	if (how != TAR_ZST)
		return;
	pt_buf_add(&plain, out->data, out->len);
	assert_ok(pt_zst_writer_new(&w, &err), &err);
	assert_ok(pt_zst_compress(w, plain.data, plain.len, out, &err), &err);
	pt_zst_writer_free(w);
	pt_buf_release(&plain);
}

static const char *name_as(const char *ending)
{
	static char name[96];

	snprintf(name, sizeof name, "%s%s", path, ending);
	return name;
}

static void put(const char *name, const void *data, size_t n)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(pt_file_write(name, data, n, &err), &err);
}

/* All texts as "source:member=text|"; with labels "source:member[label]=text|". */
static int slurp(const char *name, const struct pt_source_options *o, struct pt_buf *out, struct pt_error *err)
{
	struct pt_source s;
	struct pt_block b;

	*err = (struct pt_error)PT_ERROR_INIT;
	pt_buf_clear(out);
	if (!pt_source_open(&s, &name, 1, o, err))
		while (!pt_source_block(&s, &b, err) && b.n)
			for (size_t i = 0; i < b.n; i++) {
				const char *member = strchr(b.line[i].of->name, ':');

				pt_buf_printf(out, "%lld:%s", (long long)b.line[i].of->source, member ? member + 1 : "");
				if (b.line[i].of->label)
					pt_buf_printf(out, "[%s]", b.line[i].of->label);
				pt_buf_char(out, '=');
				pt_buf_add(out, b.line[i].text, b.line[i].n);
				pt_buf_char(out, '|');
			}
	pt_source_close(&s);
	return err->status;
}

static const struct pt_source_options whole = { .format = PT_SOURCE_WHOLE };

#endif
