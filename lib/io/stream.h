/* SPDX-License-Identifier: MIT */
/*
 * stream.h - the tensor stream (formats/stream.md): segments HEAD DATA* END,
 * every record a complete safetensors file that ends in the checksummed
 * tensor "_tail".
 *
 * The reader verifies a record before anything in it is used, and follows
 * the state machine: END missing, FAIL, a flipped bit, trailing bytes are
 * PT_DATA. The writer writes END only through pt_writer_end(), which asks
 * for the readers whose END must have been read: truncation travels down a
 * pipe in-band.
 */
#ifndef PT_IO_STREAM_H
#define PT_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "io/prov.h"
#include "io/safetensors.h"

enum pt_record_type { PT_HEAD, PT_RECORD, PT_END, PT_FAILED };

struct pt_record {
	enum pt_record_type type;
	struct pt_st st;		/* tensors and metadata; "_tail" is not listed */
	const void *bytes;		/* the record as it stands (uncompressed) */
	size_t size;
	uint64_t ordinal;		/* of this record in the input, from 0 */
};

/* A reader over one input or several, one after the other ("-" is standard input). */
struct pt_reader;

enum {
	PT_READ_BARE = 1,	/* a bare safetensors regular file counts as one record (peft-view, peft-cmp) */
	PT_READ_ANY_KIND = 2,	/* a second segment of another kind is not refused */
};

/* kind: the kind of stream that is wanted ("examples", "batch", ...), or NULL for any. */
int pt_reader_open(struct pt_reader **r, const char *const *paths, int npaths, const char *kind,
		   int flags, struct pt_error *err);
/* Over memory, for tests. */
int pt_reader_open_memory(struct pt_reader **r, const void *data, size_t size, const char *kind,
			  int flags, struct pt_error *err);
void pt_reader_close(struct pt_reader *r);

/*
 * The next record, HEAD and END included; *rec is NULL at the complete end
 * (all segments ended, physical end reached). The record is valid until the
 * next call. A FAIL record is PT_DATA "upstream PROGRAM failed: ...". After
 * a failure every further call fails the same way.
 */
int pt_reader_next(struct pt_reader *r, const struct pt_record **rec, struct pt_error *err);

/* The next DATA record, HEADs and ENDs passed over; NULL at the end. */
int pt_reader_data(struct pt_reader *r, const struct pt_record **rec, struct pt_error *err);

/* The first HEAD; read at pt_reader_open() or here if not yet. Valid until close. */
int pt_reader_head(struct pt_reader *r, const struct pt_record **head, struct pt_error *err);

bool pt_reader_ended(const struct pt_reader *r);	/* END of all segments and the physical end were read */
bool pt_reader_limited(const struct pt_reader *r);	/* some END said "limited" */
const char *pt_reader_name(const struct pt_reader *r);	/* current input, for messages */
bool pt_reader_failed(const struct pt_reader *r);	/* a FAIL record was read */
const char *pt_reader_fail_signal(const struct pt_reader *r);	/* that it names: "TERM", "INT", ... or NULL */
/* Sum of what was read so far: the running digest of the canonical form (formats/stream.md). */
uint64_t pt_reader_digest(const struct pt_reader *r);

/*
 * What was read so far as provenance: nodes are added to *into, the ids of the
 * segments (complete where END was read, else preliminary) to *ids (heap, *n of them).
 */
int pt_reader_prov(const struct pt_reader *r, struct pt_prov *into, uint64_t **ids, size_t *n,
		   struct pt_error *err);

/*
 * After an early stop: read on for at most one second or 64 MiB, then close
 * the input, so that producers finish or die of SIGPIPE.
 */
void pt_reader_drain(struct pt_reader *r);

/* A writer to a path (atomically), or "-" for standard output. */
struct pt_writer;

struct pt_writer_options {
	const char *path;	/* NULL or "-": standard output */
	const char *tool;	/* "peft-batch" */
	const char *kind;
	bool zstd;		/* one frame with checksum per record */
};

int pt_writer_open(struct pt_writer **w, const struct pt_writer_options *o, struct pt_error *err);

/* For tools that learn the kind from their input: set it before HEAD (open with kind NULL). */
int pt_writer_kind(struct pt_writer *w, const char *kind, struct pt_error *err);

/*
 * HEAD: the metadata and tensors of b, plus what the format asks for (pts,
 * kind, versions) and the provenance: parents' entries are passed on and
 * this step is added (io/prov.h). parents may be NULL (a source).
 * options: a canonical text of the options that change the result; a key
 * "options" that b holds already (peft-cat) stays in HEAD as it is.
 */
int pt_writer_head(struct pt_writer *w, struct pt_st_build *b, const struct pt_record *const *parents,
		   int nparents, const char *options, struct pt_error *err);
int pt_writer_data(struct pt_writer *w, struct pt_st_build *b, struct pt_error *err);
/* A DATA record as it stands (peft-head, peft-cat). */
int pt_writer_copy(struct pt_writer *w, const struct pt_record *rec, struct pt_error *err);

/* Something that no tool here wrote was read to its end (source: "file", "model"): a parent, named at END. */
int pt_writer_source(struct pt_writer *w, const char *source, uint64_t digest, struct pt_error *err);

/*
 * END, then the file is published. Refused unless each reader of inputs has
 * read END everywhere (pt_reader_ended), or limited is set: told to stop
 * early. b adds metadata and tensors (counts, what was learned); NULL: none.
 */
int pt_writer_end(struct pt_writer *w, struct pt_st_build *b, struct pt_reader *const *inputs,
		  int ninputs, bool limited, struct pt_error *err);

/*
 * FAIL in place of END, if it can be written within a second; nothing is
 * published. Names the first cause: that of a FAIL which one of the inputs
 * read, else cause; signal ("TERM") may be NULL. Errors are ignored.
 */
void pt_writer_fail(struct pt_writer *w, const struct pt_error *cause, const char *signal);
void pt_writer_fail_from(struct pt_writer *w, struct pt_reader *const *inputs, int ninputs,
			 const struct pt_error *cause, const char *signal);
/* Closes and frees; without an END before it the output is removed. */
void pt_writer_close(struct pt_writer *w);

/*
 * Into a HEAD to be written: what describes the data and is inherited from an
 * input's HEAD (tokenizer, vocab_size, task, labels, bounds, unknown keys,
 * tensors), not what describes its writer (tool, version, kind, options, id,
 * provenance).
 */
void pt_head_inherit(struct pt_st_build *b, const struct pt_record *head);

#endif
