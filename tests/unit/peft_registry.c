/* SPDX-License-Identifier: MIT */
/*
 * What peft-methods(7) says of each method is what the registry says: an
 * entry with its paper, and a row of the table.
 */
#include "test.h"

#include "base/file.h"
#include "peft/combine.h"
#include "peft/method.h"

static struct pt_buf page;

/* The rows: what it acts on; the kind of its file, what tells it from others of that kind, and what can be done with it. */
static void rows_of(const struct pt_method *m, char acts[200], char begin[200], char end[30])
{
	static const struct {
		unsigned kind;
		const char *word;
	} words[] = {
		{ PT_SITE_LINEAR, "linear" }, { PT_SITE_EMBEDDING, "embedding" }, { PT_SITE_NORM, "norm" },
		{ PT_SITE_PARAM, "parameter" }, { PT_SITE_KV, "keys and values" }, { PT_SITE_BLOCK, "block" },
		{ PT_SITE_INPUT, "input" }, { PT_SITE_STREAM, "stream" },
	};
	int n = snprintf(acts, 200, "\n.It %s Ta ", m->name), at = n;

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (m->kinds & 1u << words[i].kind)
			n += snprintf(acts + n, 200 - (size_t)n, "%s%s", n > at ? ", " : "", words[i].word);
	}
	snprintf(acts + n, 200 - (size_t)n, " Ta ");
	snprintf(begin, 200, "\n.It %s Ta %s", m->name, m->peft_type);
	snprintf(end, 30, " Ta %s Ta %s Ta ", m->merges ? "yes" : "no", m->combiner ? "yes" : "no");
}

static void table(void **state)
{
	const struct pt_method *m;
	char acts[200], begin[200], end[30], entry[100], paper[200] = "";

	(void)state;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		const char *at, *in;

		rows_of(m, acts, begin, end);
		if (!strstr(page.data, acts))
			fail_msg("peft-methods(7) lacks the row%s", acts);
		at = strstr(page.data, begin);
		in = at ? strstr(at, end) : NULL;
		if (!in || memchr(at + 1, '\n', (size_t)(in - at - 1)))
			fail_msg("peft-methods(7) lacks the row%s ...%s", begin, end);
		snprintf(entry, sizeof entry, "\n.It Cm %s\n", m->name);
		if (!strstr(page.data, entry))
			fail_msg("peft-methods(7) has no entry for %s", m->name);
		if (m->paper)
			snprintf(paper, sizeof paper, "%.*s", (int)strcspn(m->paper, ","), m->paper);
		if (!strstr(page.data, paper))
			fail_msg("peft-methods(7) does not name %s", paper);
	}
}

/* Of the methods of one peft_type one needs no further keys, and comes last: whatever comes behind it is not found. */
static void order(void **state)
{
	const struct pt_method *m, *o;

	(void)state;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		bool last = true;

		for (int k = i + 1; (o = pt_method_at(k)); k++)
			last &= strcmp(o->peft_type, m->peft_type) != 0;
		if (last != !m->sets)
			fail_msg("%s %s", m->name, last ? "is the last of its peft_type, and needs keys" : "needs no keys, and is not the last of its peft_type");
	}
}

/* peft-init parses an option before it knows the method: its name means one thing in all of them. */
static void options(void **state)
{
	const struct pt_method *m, *n;

	(void)state;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		for (int k = i + 1; (n = pt_method_at(k)); k++) {
			for (const struct pt_option *o = m->options; o && o->key; o++) {
				for (const struct pt_option *p = n->options; p && p->key; p++) {
					if (o->name && p->name && !strcmp(o->name, p->name) &&
					    (o->kind != p->kind || o->letter != p->letter || strcmp(o->arg ? o->arg : "", p->arg ? p->arg : "")))
						fail_msg("--%s means one thing for %s and another for %s", o->name, m->name, n->name);
				}
			}
		}
	}
}

static void kinds(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf merge = PT_BUF_INIT;
	const struct pt_combine_kind *k;

	(void)state;
	assert_ok(pt_file_read("man/peft-merge.1", 1 << 20, &merge, &err), &err);
	for (int i = 0; (k = pt_combine_kind_at(i)); i++) {
		if (!strstr(merge.data, k->name))
			fail_msg("peft-merge(1) does not name %s", k->name);
	}
	pt_buf_release(&merge);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(table), cmocka_unit_test(order), cmocka_unit_test(options),
					    cmocka_unit_test(kinds) };
	struct pt_error err = PT_ERROR_INIT;
	int failed;

	if (pt_file_read("man/peft-methods.7", 1 << 20, &page, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	pt_buf_release(&page);
	return failed;
}
