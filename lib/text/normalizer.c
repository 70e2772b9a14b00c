/* SPDX-License-Identifier: MIT */
/*
 * normalizer.c - the list of normalizers, parsing and running their steps.
 */
#include "text/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct pt_norm_kind *const kinds[] = {
	&pt_norm_bert, &pt_norm_bytelevel, &pt_norm_lowercase, &pt_norm_nmt, &pt_norm_prepend, &pt_norm_replace,
	&pt_norm_strip, &pt_norm_strip_accents, &pt_norm_NFC, &pt_norm_NFD, &pt_norm_NFKC, &pt_norm_NFKD,
};

static int parse(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err);

static int parse_sequence(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const cJSON *list = pt_json_get(j, "normalizers"), *c;
	int status = 0, i = 0;

	if (!cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "Sequence: \"normalizers\" must be an array");
	cJSON_ArrayForEach(c, list) {
		status = parse(p, c, h, err);
		if (status) {
			pt_error_prefix(err, "normalizers[%d]", i);
			break;
		}
		i++;
	}
	return status;
}

static int parse(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const char *type;
	int status = pt_json_str(j, "type", NULL, &type, err);

	if (status)
		return status;
	if (!cJSON_IsObject(j) || !type)
		return pt_error(err, PT_DATA, "an object with a \"type\" expected");
	if (strcmp(type, "Sequence") == 0)
		return parse_sequence(p, j, h, err);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct pt_norm_step *s;

		if (strcmp(type, kinds[i]->type) != 0)
			continue;
		if (pt_grow(&p->step, &p->cap, p->n + 1, sizeof *p->step, err))
			return PT_FAIL;
		s = &p->step[p->n++];
		*s = (struct pt_norm_step){ .kind = kinds[i] };
		pt_hash_str(h, type);
		status = kinds[i]->parse(s, j, h, err);
		return status ? pt_error_prefix(err, "%s", type) : 0;
	}
	return pt_error(err, PT_DATA, "type \"%s\" is not supported", type);
}

int pt_normalizer_parse(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	int status;

	*p = (struct pt_normalizer){ NULL, 0, 0 };
	if (!j)
		return 0;
	status = parse(p, j, h, err);
	if (status) {
		pt_normalizer_release(p);
		return pt_error_prefix(err, "normalizer");
	}
	return 0;
}

void pt_normalizer_release(struct pt_normalizer *p)
{
	for (size_t i = 0; i < p->n; i++) {
		pt_regex_free(p->step[i].regex);
		free(p->step[i].string);
		free(p->step[i].content);
	}
	free(p->step);
	*p = (struct pt_normalizer){ NULL, 0, 0 };
}

void pt_norm_work_release(struct pt_norm_work *w)
{
	pt_buf_release(&w->buf[0]);
	pt_buf_release(&w->buf[1]);
	pt_buf_release(&w->tmp[0]);
	pt_buf_release(&w->tmp[1]);
	pt_match_release(&w->match);
}

int pt_normalize(const struct pt_normalizer *p, struct pt_norm_work *w, struct pt_stretch *t, struct pt_error *err)
{
	int cur = 0, status;

	for (size_t i = 0; i < p->n && t->n; i++) {
		struct pt_buf *out = &w->buf[cur];
		bool same = false;
		size_t zero = 0;

		pt_buf_clear(out);
		status = p->step[i].kind->run(&p->step[i], w, t, out, &zero, &same, err);
		if (!status)
			status = pt_buf_check(out, err);
		if (status)
			return status;
		if (same)
			continue;
		*t = (struct pt_stretch){ out->data ? out->data : "", out->len, zero };
		cur = !cur;
	}
	return 0;
}
