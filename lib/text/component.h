/* SPDX-License-Identifier: MIT */
/*
 * component.h - what normalizers, pre-tokenizers, post-processors and
 * decoders of a tokenizer.json have in common: an object with a "type", or a
 * Sequence of them in any nesting.
 */
#ifndef PT_TEXT_COMPONENT_H
#define PT_TEXT_COMPONENT_H

#include "base/error.h"
#include "base/json.h"

/* Takes one component; PT_UNKNOWN: its type is not known. */
enum { PT_UNKNOWN = -1 };
typedef int (*pt_component_fn)(void *arg, const char *type, const cJSON *j, struct pt_error *err);

/* Call take for j, or for all components of the Sequence that it is, in order; list: the key of a Sequence. */
int pt_components(const cJSON *j, const char *list, pt_component_fn take, void *arg, struct pt_error *err);

#endif
