/* SPDX-License-Identifier: MIT */
/*
 * tokfile.h - tokenizer.json taken apart: vocabulary and merges, nearly all of
 * the file, stay text and are read by their own fast reader (pt_span_*);
 * everything else becomes a cJSON tree.
 */
#ifndef PT_TEXT_TOKFILE_H
#define PT_TEXT_TOKFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

/* The text of one JSON value. */
struct pt_span {
	const char *s;
	size_t n;
};

struct pt_tokfile {
	struct pt_buf text;	/* the file */
	cJSON *root;		/* the file with null for the two spans below */
	const cJSON *model;	/* root's "model", an object */
	struct pt_span vocab;	/* s NULL: absent */
	struct pt_span merges;
	const char *const *names;	/* of a recipe, by enum pt_token_name: tokens with a name; NULL */
	bool surrounds;		/* add_bos_token and add_eos_token count: no post-processor contradicts them */
};

int pt_tokfile_read(struct pt_tokfile *f, const char *path, struct pt_error *err);
void pt_tokfile_release(struct pt_tokfile *f);

/*
 * Walks over the elements of a span that is an object or an array. After
 * pt_span_open() (kind '{' or '['), pt_span_next() says whether there is
 * another element; then the pt_span_ functions below take it. Errors are
 * PT_DATA and say where in the span.
 */
struct pt_walk {
	const char *start, *p, *end;
	char close;		/* of the list being walked */
	bool first;
	const char *what;	/* "vocab", for messages */
};

int pt_span_open(struct pt_walk *w, struct pt_span span, const char *what, char kind, struct pt_error *err);
int pt_span_next(struct pt_walk *w, bool *more, struct pt_error *err);
bool pt_span_at(const struct pt_walk *w, char c);	/* the next byte */
/* A string, decoded and appended to out, its NULs counted in the length. */
int pt_span_string(struct pt_walk *w, struct pt_buf *out, struct pt_error *err);
int pt_span_colon(struct pt_walk *w, struct pt_error *err);
/* An integer from 0 to 2^32-1, written without fraction or exponent. */
int pt_span_id(struct pt_walk *w, uint32_t *id, struct pt_error *err);
/* A number, as the package's own parser (serde_json) reads it: not always the nearest double. */
int pt_span_number(struct pt_walk *w, double *v, struct pt_error *err);
/* An array within: afterwards its elements are walked, until pt_span_leave(). */
int pt_span_enter(struct pt_walk *w, struct pt_walk *outer, struct pt_error *err);
void pt_span_leave(struct pt_walk *w, const struct pt_walk *outer);

#endif
