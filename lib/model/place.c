/* SPDX-License-Identifier: MIT */
/*
 * place.c - mapped weights on the device, within what it has; see
 * device/parts.h.
 */
#include "base/log.h"
#include "model/body.h"

int pt_model_place(struct pt_model *m, int turns, struct pt_error *err)
{
	int st;

	if (m->body->parts.placed && m->body->parts.turns == turns)
		return 0;
	st = pt_parts_place(&m->body->parts, turns, err);
	/* A twin has no bytes of its own. */
	for (int i = 0; i < m->nweights; i++)
		if (m->weight[i].tied)
			m->weight[i].t.data = m->weight[i].tied->t.data;
	return st;
}

void pt_model_spare(struct pt_model *m, struct pt_weight *w, bool spare)
{
	struct pt_weight *of = w->tied ? w->tied : w;

	if (w->spare == spare)
		return;
	w->spare = spare;
	of->readers += spare ? -1 : 1;
	if (of->mapped >= 0)
		pt_parts_spare(&m->body->parts, (size_t)of->mapped, !of->readers);
}

size_t pt_model_place_held(const struct pt_model *m)
{
	return pt_parts_held(&m->body->parts);
}

size_t pt_model_place_bytes(const struct pt_model *m, int turns)
{
	return pt_parts_bytes(&m->body->parts, turns);
}

int pt_model_place_turns(const struct pt_model *m, size_t room)
{
	return pt_parts_turns(&m->body->parts, room);
}

static int no_room(const struct pt_model *m, size_t bytes, size_t room, struct pt_error *err)
{
	if (!m->dev->copies)
		return pt_error(err, PT_USAGE, "the work needs %zu bytes, %zu are left", bytes, room);
	return pt_error(err, PT_USAGE, "the work needs %zu bytes on %s and the weights at least %zu, %zu are left", bytes,
			m->dev->name, pt_model_place_bytes(m, pt_model_blocks(m)), room);
}

static int place_beside(struct pt_model *m, size_t bytes, size_t limit, struct pt_error *err)
{
	const struct pt_parts *p = &m->body->parts;
	size_t all = m->dev->memory(m->dev), held = m->dev->used - pt_model_place_held(m), room;
	int turns;

	all = limit && limit < all ? limit : all;
	room = all > held ? all - held : 0;
	if (bytes > room)
		return no_room(m, bytes, room, err);
	if (p->placed && pt_model_place_held(m) <= room - bytes)
		return 0;
	turns = pt_model_place_turns(m, room - bytes);
	if (turns < 0)
		return no_room(m, bytes, room, err);
	if (turns)
		pt_log(PT_FACT, "the weights of %d of %d blocks take turns on %s", turns, pt_model_blocks(m), m->dev->name);
	return pt_model_place(m, turns, err);
}

int pt_model_run(struct pt_model *m, struct pt_run *run, size_t bytes, size_t limit, bool bf16, struct pt_error *err)
{
	if (run->dev)
		pt_run_release(run);
	/* First fit may place a smaller micro-batch a little worse. */
	bytes += bytes / 16 + 4096;
	if (place_beside(m, bytes, limit, err) || pt_run_init(run, m->dev, bytes, err))
		return err->status;
	pt_run_compute(run, bf16);
	return 0;
}
