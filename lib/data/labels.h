/* SPDX-License-Identifier: MIT */
/*
 * labels.h - the classes of a task by name; a class's number is its place.
 */
#ifndef PT_DATA_LABELS_H
#define PT_DATA_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

struct pt_labels {
	char **name;
	size_t n, cap;
	struct pt_map map;
};

void pt_labels_init(struct pt_labels *l);
void pt_labels_release(struct pt_labels *l);

/* The name's number; -1: unknown. */
int32_t pt_labels_find(const struct pt_labels *l, const char *name);
/* Added where it is new. */
int pt_labels_add(struct pt_labels *l, const char *name, struct pt_error *err);
/* What a user gives: a file with a name a line, else names between commas. PT_USAGE: one twice, or none. */
int pt_labels_parse(struct pt_labels *l, const char *given, struct pt_error *err);
/* Those found in data get an order: where all are numbers by value, else by bytes. */
int pt_labels_sort(struct pt_labels *l, struct pt_error *err);
/* As in HEAD: a JSON array. */
void pt_labels_json(const struct pt_labels *l, struct pt_buf *out);

/*
 * The name that a JSON value stands for: a string itself, a number as it is spelled, true and false.
 * Borrowed from v or scratch; NULL: no label.
 */
const char *pt_labels_name(const cJSON *v, struct pt_buf *scratch);

#endif
