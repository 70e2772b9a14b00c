/* SPDX-License-Identifier: MIT */
/*
 * config_rope.h - the rotary part of config.json.
 */
#ifndef PT_MODEL_CONFIG_ROPE_H
#define PT_MODEL_CONFIG_ROPE_H

#include "model/config.h"

/* Reads c->rope[0]; c->positions and c->head_dim are known. */
int pt_config_rope(struct pt_config *c, const cJSON *json, struct pt_error *err);

#endif
