/* SPDX-License-Identifier: MIT */
/*
 * safetensors.h - read and write the safetensors format: u64 header length,
 * JSON header, tensor bytes (https://github.com/huggingface/safetensors).
 *
 * The reader refuses what the reference refuses (holes, overlaps, sizes that
 * do not match, headers beyond the limit) and duplicate keys. Before any
 * tensor is handed out every offset is known to lie in the file.
 */
#ifndef PT_IO_SAFETENSORS_H
#define PT_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

#define PT_ST_MAX_DIMS 8
#define PT_ST_MAX_HEADER 100000000u	/* as the reference */
#define PT_ST_MAX_TENSORS (1u << 24)
#define PT_ST_MAX_NAME 65536u

struct pt_st_tensor {
	const char *name;		/* owned by the struct pt_st */
	enum pt_dtype dtype;
	int ndim;
	int64_t shape[PT_ST_MAX_DIMS];
	size_t count;			/* elements */
	size_t bytes;
	const void *data;		/* little-endian, row-major; may be unaligned in foreign files */
};

/*
 * Its elements as f32 into out[count]; out NULL: only whether they can be read.
 * PT_DATA where it is none of F32, F16, BF16, F64. Every reader of values asks this.
 */
int pt_st_floats(const struct pt_st_tensor *t, float *out, struct pt_error *err);

struct pt_st_meta {
	const char *key;
	const char *value;
};

struct pt_st {
	struct pt_st_tensor *tensor;	/* in the order of their offsets */
	size_t ntensors;
	struct pt_st_meta *meta;	/* __metadata__, in the order of the file */
	size_t nmeta;
	size_t size;			/* bytes of the whole file */
	size_t header_size;		/* 8 + length of the JSON */
	struct pt_mapping map;		/* of pt_st_open(); else empty */
	void *priv;			/* name index, strings */
};

/*
 * Length of the file that starts with these bytes: needs 8 to learn the
 * header's length, then the header. *need is how many bytes are required for
 * the next answer; when *total != 0 it is the size of the whole file.
 */
int pt_st_extent(const void *data, size_t have, size_t *need, size_t *total, struct pt_error *err);

/* Parse a whole file in memory; size must be exact. Borrows data until release. */
int pt_st_parse(struct pt_st *st, const void *data, size_t size, struct pt_error *err);

/*
 * The two halves of pt_st_parse(), for those who have the header first.
 * data holds the first header_size bytes, 8 + N; afterwards st->size is the
 * size of the whole file and no tensor has data. Nothing of data is borrowed
 * (names are copied), so that it may move until pt_st_bind() sets the pointers.
 */
int pt_st_parse_header(struct pt_st *st, const void *data, size_t header_size, struct pt_error *err);
void pt_st_bind(struct pt_st *st, const void *data);

/* Map and parse a file; wrong input is named for what it is (see sniff.h). */
int pt_st_open(struct pt_st *st, const char *path, struct pt_error *err);
void pt_st_release(struct pt_st *st);

const struct pt_st_tensor *pt_st_find(const struct pt_st *st, const char *name);
const char *pt_st_meta(const struct pt_st *st, const char *key);	/* NULL: absent */
/* A whole number in decimal digits, as the metadata has it under key; PT_DATA names it. text NULL: def. */
int pt_meta_int(const char *text, const char *key, int64_t min, int64_t def, int64_t *out, struct pt_error *err);

/* Appends "F32[2,3]". */
void pt_st_shape_text(const struct pt_st_tensor *t, struct pt_buf *out);

/* Find name and require dtype and shape (a negative extent matches any). PT_DATA names it. */
int pt_st_require(const struct pt_st *st, const char *name, enum pt_dtype dtype, int ndim,
		  const int64_t *shape, const struct pt_st_tensor **out, struct pt_error *err);

/*
 * Writer. Tensors are laid out as the reference does it: widest type first,
 * then by name; metadata sorted by key, except that keys added with
 * pt_st_build_meta_first() lead. Data is borrowed until the file is written.
 */
struct pt_st_build {
	struct pt_st_item *item;
	size_t nitems, cap_items;
	struct pt_st_pair *pair;
	size_t npairs, cap_pairs;
	struct pt_error err;		/* first failure; reported when written */
};

void pt_st_build_init(struct pt_st_build *b);
void pt_st_build_release(struct pt_st_build *b);
void pt_st_build_clear(struct pt_st_build *b);		/* keeps the memory */
void pt_st_build_meta(struct pt_st_build *b, const char *key, const char *value);
void pt_st_build_meta_int(struct pt_st_build *b, const char *key, int64_t value);
void pt_st_build_meta_first(struct pt_st_build *b, const char *key, const char *value);
const char *pt_st_build_get_meta(const struct pt_st_build *b, const char *key);	/* NULL: absent */
void pt_st_build_tensor(struct pt_st_build *b, const char *name, enum pt_dtype dtype, int ndim,
			const int64_t *shape, const void *data);
/* As above with 1-D shape. */
void pt_st_build_array(struct pt_st_build *b, const char *name, enum pt_dtype dtype, int64_t n,
		       const void *data);

size_t pt_st_build_bytes(const struct pt_st_build *b);		/* of all tensors, no padding */
void pt_st_build_drop(struct pt_st_build *b, const char *name);	/* forget a tensor */
void pt_st_build_drop_meta(struct pt_st_build *b, const char *key);

/* The header alone (8 bytes + JSON padded to a multiple of align), and the sum of the tensors' bytes. */
int pt_st_build_header(struct pt_st_build *b, size_t align, struct pt_buf *out, size_t *data_bytes,
		       struct pt_error *err);
/* The i-th tensor in file order, after pt_st_build_header(). */
const struct pt_st_tensor *pt_st_build_item(const struct pt_st_build *b, size_t i);

/* Some tensors come from elsewhere when the file is written: their data is NULL in the build and asked of
 * this function, in file order, for as many bytes as the tensor has. It writes by pt_out_write() itself. */
typedef int (*pt_st_fill_fn)(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err);
int pt_st_build_write_fill(struct pt_st_build *b, const char *path, pt_st_fill_fn fill, void *arg,
			   struct pt_error *err);

/* A complete file, to appear whole; metadata {"format":"pt"} is added when there is none. */
int pt_st_build_write(struct pt_st_build *b, const char *path, struct pt_error *err);

#endif
