/* SPDX-License-Identifier: MIT */
/*
 * post.h - post-processors: what stands around the ids of one text or of a
 * pair, and the type of each.
 */
#ifndef PT_TEXT_POST_H
#define PT_TEXT_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

/* A template is a list of these. */
struct pt_post_part {
	enum { PT_POST_A, PT_POST_B, PT_POST_ID } what;
	int32_t id;
	int32_t type;
};

enum { PT_POST_TRIMS = 4 };

struct pt_post {
	struct pt_post_part *part[2];	/* of one text, of a pair */
	size_t n[2], cap[2];
	int32_t cls, sep;		/* of BertProcessing and RobertaProcessing; -1 */
	bool adds;			/* one that adds tokens was there */
	int ntrim;			/* how often spaces are taken out of the places of tokens, ... */
	bool keeps_prefix[PT_POST_TRIMS];	/* ... and each time, whether one in front of the text stays */
};

/* Parse a tokenizer's "post_processor" (NULL: none). */
int pt_post_parse(struct pt_post *p, const cJSON *j, struct pt_hash *h, struct pt_error *err);
/* Instead: bos in front of each text and eos behind it (-1: not), those of the second of a pair of type 1. */
int pt_post_surround(struct pt_post *p, int32_t bos, int32_t eos, struct pt_hash *h, struct pt_error *err);
void pt_post_release(struct pt_post *p);

#endif
