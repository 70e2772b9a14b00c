/* SPDX-License-Identifier: MIT */
/*
 * fields.h - the fields of a line: between tabs, where quotes mean nothing, or
 * between commas as RFC 4180 has it, where a field in quotes may hold commas,
 * line breaks and quotes, each written twice.
 */
#ifndef PT_DATA_FIELDS_H
#define PT_DATA_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

struct pt_fields {
	const char *at, *end;	/* at NULL: there is no further one */
	bool quotes;		/* CSV */
	struct pt_buf own;	/* of a field with quotes in it */
};

void pt_fields_init(struct pt_fields *f, const char *line, size_t n, bool csv);
void pt_fields_release(struct pt_fields *f);

/* The next field, valid until the one after it; false at the end. PT_DATA: quotes that are not closed, or stray. */
int pt_fields_next(struct pt_fields *f, const char **text, size_t *n, bool *more, struct pt_error *err);

/* Bytes of the first record of CSV text, its line break included; 0: no line break outside of quotes ends it. */
size_t pt_fields_record(const char *s, size_t n);

#endif
