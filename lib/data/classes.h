/* SPDX-License-Identifier: MIT */
/*
 * classes.h - the classes of a task by name; a class's number is its place.
 */
#ifndef PT_DATA_CLASSES_H
#define PT_DATA_CLASSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

struct pt_classes {
	char **name;
	size_t n, cap;
	struct pt_map map;
};

void pt_classes_init(struct pt_classes *l);
void pt_classes_release(struct pt_classes *l);

/* The name's number; -1: unknown. */
int32_t pt_classes_find(const struct pt_classes *l, const char *name);
/* Added where it is new. PT_DATA: a control character, with which no table could show it. */
int pt_classes_add(struct pt_classes *l, const char *name, struct pt_error *err);
/* Those found in data get an order: where all are numbers by value, else by bytes. */
int pt_classes_sort(struct pt_classes *l, struct pt_error *err);
/* As in HEAD: a JSON array. */
void pt_classes_json(const struct pt_classes *l, struct pt_buf *out);

/*
 * The name that a JSON value stands for: a string itself, a number as it is spelled, true and false.
 * Borrowed from v or scratch; NULL: no label.
 */
const char *pt_classes_name(const cJSON *v, struct pt_buf *scratch);

#endif
