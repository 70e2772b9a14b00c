/* SPDX-License-Identifier: MIT */
/*
 * checkpoint_priv.h - names that the writer and the reader of checkpoints share.
 */
#ifndef PT_TRAIN_CHECKPOINT_PRIV_H
#define PT_TRAIN_CHECKPOINT_PRIV_H

#include "train/checkpoint.h"

#define PT_CHECKPOINTS "checkpoints"
#define PT_STATE_TENSORS "training_state.safetensors"
#define PT_STATE_JSON "training_state.json"
#define PT_STATE_METRICS "metrics.pts"

/* Numbers of all step-N directories under out, ascending; *steps is freed by free(). */
int pt_checkpoint_steps(const char *out, int64_t **steps, size_t *n, struct pt_error *err);

/* Whether a file of a checkpoint is the run's own: what is published is the others. */
bool pt_checkpoint_is_state(const char *name);
int pt_checkpoint_file_digest(const char *dir, const char *name, uint64_t *out, struct pt_error *err);

#endif
