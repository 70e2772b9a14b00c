/* SPDX-License-Identifier: MIT */
/*
 * parts.h - frozen weights, where kernels read them.
 *
 * A device that reads them in place (the CPU) leaves them where they are
 * mapped. Any other has a copy of all, in one piece of its memory; or, where
 * that is too large, of those that are always needed, while some of the parts
 * (the blocks of a model) take turns in two places: a part is copied from
 * pinned host memory beside the kernels, ahead of the one that reads it,
 * forward and backward. What kernels read is the same bytes in any case.
 */
#ifndef PT_DEVICE_PARTS_H
#define PT_DEVICE_PARTS_H

#include "device/device.h"

/* The bytes of one weight. */
struct pt_span {
	int part;			/* -1: of none, always needed */
	const void *host;
	size_t n;
	void **use;			/* what kernels read: NULL while a part in turns is not there */
	size_t at;			/* offset in the part, once it is placed */
	bool spare;			/* no kernel reads it: it is not placed */
};

struct pt_parts_place {
	void *mem;			/* device */
	int holds;			/* part whose bytes are there, or on their way; -1: none */
	uint64_t ticket;		/* of its copy */
};

struct pt_parts {
	struct pt_device *dev;
	struct pt_span *span;		/* in the order of pt_parts_add() */
	size_t n, cap;
	int parts;
	size_t *bytes;			/* [1 + parts] of what is of no part, and of each */
	bool placed;
	int turns;			/* so many parts, evenly spaced, take turns; 0: all stay */
	void *kept;			/* device: those that stay */
	size_t kept_bytes;
	void **pinned;			/* [parts] those in turns, as their place holds them; else NULL */
	struct pt_parts_place place[2];
	size_t place_bytes;		/* of each */
};

/* What comes after a part: how the one that takes its place is known. */
enum pt_parts_next {
	PT_PARTS_FORWARD,		/* the parts behind, then all of them backward */
	PT_PARTS_BACKWARD,		/* the parts before, then all of them forward */
	PT_PARTS_AGAIN,			/* the parts behind, then those from another one on */
};

int pt_parts_init(struct pt_parts *p, struct pt_device *dev, int parts, struct pt_error *err);
void pt_parts_release(struct pt_parts *p);

/* n bytes at host, which stay there; *use is host until pt_parts_place(). Its number is p->n - 1. */
int pt_parts_add(struct pt_parts *p, int part, const void *host, size_t n, void **use, struct pt_error *err);
/* No kernel reads number i, or (false) one does again: from the next pt_parts_place() on. */
void pt_parts_spare(struct pt_parts *p, size_t i, bool spare);

/* Device memory that weights take when so many parts take turns: none where they are read in place. */
size_t pt_parts_bytes(const struct pt_parts *p, int turns);
/* What they take as they are placed now. */
size_t pt_parts_held(const struct pt_parts *p);
/* The fewest that must, so that weights are within room; -1: all of them in turns are too large. */
int pt_parts_turns(const struct pt_parts *p, size_t room);

/* Bring them to the device; anew where another number took turns. PT_DEVICE with the bytes: there is no memory. */
int pt_parts_place(struct pt_parts *p, int turns, struct pt_error *err);

/* Whether the part takes turns: it must be asked for. */
bool pt_parts_in_turns(const struct pt_parts *p, int part);
/*
 * Kernels called on dev, which is that of the parts or its plan, read the
 * part from now on; or they do no more, and next says what its place may be
 * used for; of PT_PARTS_AGAIN, from is the part that those behind are followed by.
 */
int pt_parts_need(struct pt_parts *p, struct pt_device *dev, int part, struct pt_error *err);
int pt_parts_done(struct pt_parts *p, struct pt_device *dev, int part, enum pt_parts_next next, int from,
		  struct pt_error *err);

#endif
