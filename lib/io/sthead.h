/* SPDX-License-Identifier: MIT */
/*
 * sthead.h - what sthead.c and safetensors.c share.
 */
#ifndef PT_IO_STHEAD_H
#define PT_IO_STHEAD_H

#include "base/hash.h"
#include "io/safetensors.h"

struct pt_st_priv {
	char *strings;			/* names, keys, values */
	struct pt_map index;		/* name -> tensor */
};

#endif
