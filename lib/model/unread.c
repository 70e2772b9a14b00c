/* SPDX-License-Identifier: MIT */
/*
 * unread.c - tensors of a checkpoint that the model has no place for. More
 * blocks or experts than config.json names contradict it and are refused;
 * heads and stacks of other tasks, and what older files hold of values that
 * are computed, are passed over; of the rest there is a warning, as
 * transformers gives one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/body.h"

/* Whether a name is the module of a pattern, or of its parameters; *layer and *expert are the numbers in it, or -1. */
static bool is_of(const char *name, const char *pattern, long *layer, long *expert)
{
	*layer = *expert = -1;
	for (; *pattern && *pattern != ','; pattern++) {
		char *end;

		if (strchr("#^@", *pattern)) {
			if (*name < '0' || *name > '9')
				return false;
			*(*pattern == '@' ? expert : layer) = strtol(name, &end, 10);
			name = end;
		} else if (*name++ != (*pattern == ':' ? '.' : *pattern)) {
			return false;
		}
	}
	return !*name || *name == '.';
}

static bool is_module(const char *name, const char *path)
{
	long layer, expert;

	return path && is_of(name, path, &layer, &expert);
}

static int contradicts(const struct pt_model *m, const char *name, const char *what, long number, int count,
		       struct pt_error *err)
{
	return pt_error(err, PT_DATA, "%s: the checkpoint has %s, of %s %ld counted from 0, but the number of %ss in config.json is %d",
			m->dir->given, name, what, number, what, count);
}

/* A module of a body's table: its numbers must be config.json's. *passed: of a stack that this task has no use for. */
static int check_parts(const struct pt_model *m, const char *name, const char *rest, bool *passed, struct pt_error *err)
{
	const struct pt_config *c = &m->cfg;
	long layer, expert;

	for (int i = 0; i < c->nstacks; i++) {
		for (const struct pt_part *p = c->stack[i].part; p->path; p++) {
			if (!is_of(rest, p->path, &layer, &expert))
				continue;
			if (layer >= c->stack[i].layers)
				return contradicts(m, name, "layer", layer, c->stack[i].layers, err);
			if (expert >= c->experts)
				return contradicts(m, name, "expert", expert, c->experts, err);
			*passed |= i >= m->body->nstacks;
		}
	}
	return 0;
}

/* Of another task's head, a buffer, or what the family's files are known to hold for nothing. */
static bool is_idle(const struct pt_model *m, const char *rest)
{
	static const char *const buffer[] = { "position_ids", "token_type_ids", "rotary_emb.inv_freq" };
	const struct pt_family *f = m->cfg.family;
	size_t n = strlen(rest);

	for (size_t i = 0; i < sizeof buffer / sizeof *buffer; i++) {
		size_t k = strlen(buffer[i]);

		if (n >= k && !strcmp(rest + n - k, buffer[i]) && (n == k || rest[n - k - 1] == '.'))
			return true;
	}
	for (const struct pt_head *h = f->head; h->task != PT_TASK_NONE; h++) {
		if (h->task != m->task && (is_module(rest, h->dense) || is_module(rest, h->norm) ||
					   is_module(rest, h->out) || is_module(rest, h->file) ||
					   is_module(rest, h->bias_path)))
			return true;
	}
	for (const char *p = f->idle; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (is_module(rest, p))
			return true;
	}
	return false;
}

static const char *without(const char *name, const char *prefix)
{
	size_t n = prefix ? strlen(prefix) : 0;

	return n && !strncmp(name, prefix, n) && name[n] == '.' ? name + n + 1 : NULL;
}

/* The name as it stands, then without each prefix that files have before the body. */
static const char *next_rest(const struct pt_model *m, const char *name, int *i)
{
	const struct pt_family *f = m->cfg.family;
	const char *rest = NULL;

	while (!rest && *i >= 0) {
		int k = (*i)++;

		if (k < 2)
			rest = k == 0 ? name : without(name, f->prefix);
		else if (f->head[k - 2].task != PT_TASK_NONE)
			rest = without(name, f->head[k - 2].prefix);
		else
			*i = -1;
	}
	return rest;
}

int pt_weights_unread(const struct pt_model *m, const struct pt_map *read, struct pt_error *err)
{
	const struct pt_st_tensor *t;
	const char *first = NULL, *rest;
	long long n = 0;

	for (size_t k = 0; (t = pt_modeldir_tensor(m->dir, k)); k++) {
		bool idle = pt_map_get(read, t->name, strlen(t->name)) >= 0;

		for (int i = 0; !idle && (rest = next_rest(m, t->name, &i)); ) {
			if (check_parts(m, t->name, rest, &idle, err))
				return err->status;
			idle |= is_idle(m, rest);
		}
		if (!idle && n++ == 0)
			first = t->name;
	}
	if (n == 1)
		pt_log(PT_WARN, "%s: the model has no place for %s of the checkpoint, which is left out", m->dir->given, first);
	else if (n)
		pt_log(PT_WARN, "%s: the model has no place for %lld tensors of the checkpoint, which are left out; the first is %s",
		       m->dir->given, n, first);
	return 0;
}
