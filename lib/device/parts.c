/* SPDX-License-Identifier: MIT */
/*
 * parts.c - weights that stay on the device, and parts that take turns there;
 * see parts.h.
 *
 * The k-th part in turns has place k % 2. Going forward the place of k is free
 * for k + 2 once k is done with, going backward for k - 2; at either end both
 * places hold what the way back begins with. So addresses never change, and a
 * copy has the time of all parts between two in turns.
 */
#include "device/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ALIGN 256

static size_t aligned(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Number of parts in turns before part, and whether it is one. */
static int before(int part, int parts, int turns)
{
	return (int)((int64_t)part * turns / parts);
}

static bool in_turns(int part, int parts, int turns)
{
	return part >= 0 && turns > 0 && before(part + 1, parts, turns) > before(part, parts, turns);
}

/* The k-th of them. */
static int nth(const struct pt_parts *p, int k)
{
	for (int i = 0; i < p->parts; i++)
		if (in_turns(i, p->parts, p->turns) && before(i, p->parts, p->turns) == k)
			return i;
	return -1;
}

int pt_parts_init(struct pt_parts *p, struct pt_device *dev, int parts, struct pt_error *err)
{
	*p = (struct pt_parts){ .dev = dev, .parts = parts, .place = { { .holds = -1 }, { .holds = -1 } } };
	p->bytes = pt_calloc((size_t)parts + 1, sizeof *p->bytes, err);
	return p->bytes ? 0 : err->status;
}

int pt_parts_add(struct pt_parts *p, int part, const void *host, size_t n, void **use, struct pt_error *err)
{
	if (pt_grow(&p->span, &p->cap, p->n + 1, sizeof *p->span, err))
		return err->status;
	p->span[p->n++] = (struct pt_span){ .part = part, .host = host, .n = n, .use = use };
	p->bytes[1 + part] += aligned(n);
	*use = (void *)(uintptr_t)host;
	return 0;
}

void pt_parts_spare(struct pt_parts *p, size_t i, bool spare)
{
	struct pt_span *s = &p->span[i];

	if (s->spare == spare)
		return;
	s->spare = spare;
	if (spare)
		p->bytes[1 + s->part] -= aligned(s->n);
	else
		p->bytes[1 + s->part] += aligned(s->n);
	p->placed = false;
}

/* Bytes of what stays, and of the largest part in turns. */
static void measure(const struct pt_parts *p, int turns, size_t *kept, size_t *largest)
{
	*kept = *largest = 0;
	for (int i = -1; i < p->parts; i++) {
		size_t n = p->bytes[1 + i];

		if (!in_turns(i, p->parts, turns))
			*kept += n;
		else if (n > *largest)
			*largest = n;
	}
}

size_t pt_parts_bytes(const struct pt_parts *p, int turns)
{
	size_t kept, largest;

	if (!p->dev->copies)
		return 0;
	measure(p, turns, &kept, &largest);
	return kept + 2 * largest;
}

size_t pt_parts_held(const struct pt_parts *p)
{
	size_t n = p->kept ? p->kept_bytes : 0;

	for (int i = 0; i < 2; i++)
		n += p->place[i].mem ? p->place_bytes : 0;
	return n;
}

int pt_parts_turns(const struct pt_parts *p, size_t room)
{
	if (pt_parts_bytes(p, 0) <= room)
		return 0;
	/* Two in two places gain nothing. */
	for (int k = 3; k <= p->parts; k++)
		if (pt_parts_bytes(p, k) <= room)
			return k;
	return -1;
}

/* Take back all that was placed. */
static void unplace(struct pt_parts *p)
{
	for (int i = 0; i < 2; i++) {
		if (p->place[i].mem)
			p->dev->free(p->dev, p->place[i].mem, p->place_bytes);
		p->place[i] = (struct pt_parts_place){ .holds = -1 };
	}
	for (int i = 0; p->pinned && i < p->parts; i++)
		if (p->pinned[i])
			p->dev->unpin(p->dev, p->pinned[i], p->place_bytes);
	free(p->pinned);
	p->pinned = NULL;
	if (p->kept)
		p->dev->free(p->dev, p->kept, p->kept_bytes);
	p->kept = NULL;
	for (size_t i = 0; i < p->n; i++)
		*p->span[i].use = (void *)(uintptr_t)p->span[i].host;
	p->placed = false;
	p->turns = 0;
}

void pt_parts_release(struct pt_parts *p)
{
	if (p->dev)
		unplace(p);
	free(p->span);
	free(p->bytes);
	memset(p, 0, sizeof *p);
}

/* The host's copy of a part, as its place holds it. */
static int pin(struct pt_parts *p, int part, struct pt_error *err)
{
	if (p->dev->pin(p->dev, p->place_bytes, &p->pinned[part], err))
		return err->status;
	for (size_t i = 0; i < p->n; i++) {
		struct pt_span *s = &p->span[i];

		if (s->part != part || s->spare)
			continue;
		memcpy((char *)p->pinned[part] + s->at, s->host, s->n);
		*s->use = NULL;
	}
	return 0;
}

/* A part that stays, or what is of none. */
static int upload(struct pt_parts *p, int part, char *to, struct pt_error *err)
{
	for (size_t i = 0; i < p->n; i++) {
		struct pt_span *s = &p->span[i];

		if (s->part != part || s->spare)
			continue;
		if (p->dev->upload(p->dev, to + s->at, s->host, s->n, err))
			return err->status;
		*s->use = to + s->at;
	}
	return 0;
}

/* Begin to copy the part to its place. */
static int fetch(struct pt_parts *p, int part, struct pt_error *err)
{
	struct pt_parts_place *to = &p->place[before(part, p->parts, p->turns) % 2];

	to->holds = -1;
	if (p->dev->fetch(p->dev, to->mem, p->pinned[part], p->place_bytes, &to->ticket, err))
		return err->status;
	to->holds = part;
	return 0;
}

/* Where each stands in its part. */
static void lay(struct pt_parts *p)
{
	memset(p->bytes, 0, ((size_t)p->parts + 1) * sizeof *p->bytes);
	for (size_t i = 0; i < p->n; i++) {
		struct pt_span *s = &p->span[i];

		/* What nobody reads is nowhere. */
		if (s->spare) {
			*s->use = NULL;
			continue;
		}
		s->at = p->bytes[1 + s->part];
		p->bytes[1 + s->part] += aligned(s->n);
	}
}

static int place(struct pt_parts *p, struct pt_error *err)
{
	char *to;

	lay(p);
	measure(p, p->turns, &p->kept_bytes, &p->place_bytes);
	p->pinned = pt_calloc((size_t)p->parts + 1, sizeof *p->pinned, err);
	if (!p->pinned || (p->kept_bytes && p->dev->alloc(p->dev, p->kept_bytes, &p->kept, err)))
		return err->status;
	for (int i = 0; i < 2 && p->turns; i++)
		if (p->dev->alloc(p->dev, p->place_bytes, &p->place[i].mem, err))
			return err->status;
	to = p->kept;
	for (int i = -1; i < p->parts; i++) {
		bool turns = in_turns(i, p->parts, p->turns);

		if (turns ? pin(p, i, err) : upload(p, i, to, err))
			return err->status;
		if (!turns)
			to += p->bytes[1 + i];
	}
	for (int k = 0; k < 2 && k < p->turns; k++)
		if (fetch(p, nth(p, k), err))
			return err->status;
	return 0;
}

int pt_parts_place(struct pt_parts *p, int turns, struct pt_error *err)
{
	if (p->placed && p->turns == turns)
		return 0;
	unplace(p);
	if (!p->dev->copies) {
		p->placed = true;
		return 0;
	}
	p->turns = turns;
	if (place(p, err)) {
		unplace(p);
		return pt_error_prefix(err, "weights");
	}
	p->placed = true;
	return 0;
}

bool pt_parts_in_turns(const struct pt_parts *p, int part)
{
	return in_turns(part, p->parts, p->turns);
}

static void point(struct pt_parts *p, int part, char *mem)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->span[i].part == part && !p->span[i].spare)
			*p->span[i].use = mem ? mem + p->span[i].at : NULL;
}

int pt_parts_need(struct pt_parts *p, struct pt_device *dev, int part, struct pt_error *err)
{
	struct pt_parts_place *at;

	if (!pt_parts_in_turns(p, part))
		return 0;
	at = &p->place[before(part, p->parts, p->turns) % 2];
	if (!dev->plan && at->holds != part && fetch(p, part, err))
		return err->status;
	if (!dev->plan && dev->wait(dev, at->ticket, err))
		return err->status;
	point(p, part, at->mem);
	return 0;
}

/* Of the two parts in turns from one on, the one that has the place of the k-th; -1: there is none. */
static int again(const struct pt_parts *p, int k, int from)
{
	int first = before(from, p->parts, p->turns);

	first += (k - first) % 2 != 0;
	return first < p->turns ? first : -1;
}

int pt_parts_done(struct pt_parts *p, struct pt_device *dev, int part, enum pt_parts_next next, int from,
		  struct pt_error *err)
{
	int k;

	if (!pt_parts_in_turns(p, part))
		return 0;
	point(p, part, NULL);
	if (dev->plan)
		return 0;
	k = before(part, p->parts, p->turns);
	if (next == PT_PARTS_BACKWARD)
		k -= 2;
	else if (k + 2 < p->turns)
		k += 2;
	else
		k = next == PT_PARTS_AGAIN ? again(p, k, from) : -1;
	return k < 0 || nth(p, k) == part ? 0 : fetch(p, nth(p, k), err);
}
