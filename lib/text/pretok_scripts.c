/* SPDX-License-Identifier: MIT */
/*
 * pretok_scripts.c - UnicodeScripts: a new word where the script changes; and
 * FixedLength: a new word every few characters.
 */
#include "text/pretok.h"
#include "text/script_table.h"
#include "text/utf8.h"

static int parse_scripts(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	(void)s;
	(void)j;
	(void)h;
	(void)err;
	return 0;
}

/* The script of c; 0: it belongs to any. */
static unsigned script(uint32_t c)
{
	size_t lo = 0, hi = PT_SCRIPT_RUNS;

	while (hi - lo > 1) {
		size_t mid = (lo + hi) / 2;

		if (pt_script_runs[mid] >> 8 <= c)
			lo = mid;
		else
			hi = mid;
	}
	return pt_script_runs[lo] & 0xff;
}

static int run_scripts(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	int status = 0;

	(void)s;
	(void)text;
	for (size_t k = 0; k < w->n && !status; k++) {
		const struct pt_piece p = w->piece[k];
		const char *t = w->base + p.off;
		unsigned last = 0, len;
		size_t from = 0;

		for (size_t i = 0; i < p.n && !status; i += len) {
			unsigned now = script(pt_utf8_get(t + i, &len));

			if (!now || now == last)
				continue;
			/* What stands before the first script is lost, as in the package. */
			if (last)
				status = pt_work_part(w, &p, from, i, err);
			from = i;
			last = now;
		}
		if (!status && last)
			status = pt_work_part(w, &p, from, p.n, err);
	}
	return status;
}

const struct pt_pretok_kind pt_pretok_scripts = { "UnicodeScripts", parse_scripts, run_scripts };

static int parse_length(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	int64_t length;
	int status = pt_json_int(j, "length", 1, INT64_C(1) << 53, 5, &length, err);

	s->length = (size_t)length;
	pt_hash_u64(h, (uint64_t)length);
	return status;
}

static int run_length(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	int status = 0;

	(void)text;
	for (size_t k = 0; k < w->n && !status; k++) {
		const struct pt_piece p = w->piece[k];

		for (size_t i = 0; i < p.n && !status;) {
			size_t from = i;

			for (size_t c = 0; c < s->length && i < p.n; c++)
				i += pt_utf8_len(w->base[p.off + i]);
			status = pt_work_part(w, &p, from, i, err);
		}
	}
	return status;
}

const struct pt_pretok_kind pt_pretok_length = { "FixedLength", parse_length, run_length };
