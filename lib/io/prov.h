/* SPDX-License-Identifier: MIT */
/*
 * prov.h - provenance: a set of nodes that name their parents, with ids
 * derived from their content (formats/stream.md, section 5). Joining two
 * histories is a union of sets.
 */
#ifndef PT_IO_PROV_H
#define PT_IO_PROV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "io/safetensors.h"

struct pt_prov_node {
	uint64_t id;
	char *text;			/* the JSON object */
};

struct pt_prov {
	struct pt_prov_node *node;	/* sorted by id */
	size_t n, cap;
};

#define PT_PROV_INIT { NULL, 0, 0 }
#define PT_PROV_FILE "provenance.json"	/* in the directory of an adapter or model */
#define PT_PROV_MAX 65536		/* nodes; more are refused */

/* What one step says of itself. Strings may be NULL. */
struct pt_prov_step {
	const char *tool, *version, *kind, *options;
	const char *source;		/* instead of a tool: "model", "file" */
	const uint64_t *parent;
	size_t nparents;
	const char *counts;		/* a JSON object, or NULL */
	uint64_t digest;
	bool has_digest;
	bool limited;
};

void pt_prov_release(struct pt_prov *p);

/* Add a step; its id. */
int pt_prov_add(struct pt_prov *p, const struct pt_prov_step *step, uint64_t *id, struct pt_error *err);

/* Add the "prov.ID" entries of a record's metadata; PT_DATA where an id is not that of its text. */
int pt_prov_add_record(struct pt_prov *p, const struct pt_st *st, struct pt_error *err);
int pt_prov_union(struct pt_prov *p, const struct pt_prov *other, struct pt_error *err);

/* As metadata of a record. */
void pt_prov_put(const struct pt_prov *p, struct pt_st_build *b);

/* provenance.json of an adapter or model: {"id": "...", "nodes": {id: node, ...}}, pretty. */
int pt_prov_json(const struct pt_prov *p, uint64_t id, struct pt_buf *out, struct pt_error *err);
/* That as PT_PROV_FILE in dir; nothing where id is 0. */
int pt_prov_write(const struct pt_prov *p, uint64_t id, const char *dir, struct pt_error *err);
/* The reverse. An absent file gives an empty set and id 0. */
int pt_prov_read(struct pt_prov *p, const char *path, uint64_t *id, struct pt_error *err);

/*
 * The history of a node as an indented tree, a line each; a node that was
 * shown before is named by its id only.
 */
int pt_prov_tree(const struct pt_prov *p, uint64_t id, struct pt_buf *out, struct pt_error *err);

#endif
