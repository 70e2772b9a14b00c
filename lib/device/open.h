/* SPDX-License-Identifier: MIT */
/*
 * open.h - how each device is opened; inside of lib/device only.
 */
#ifndef PT_DEVICE_OPEN_H
#define PT_DEVICE_OPEN_H

#include "device/device.h"

int pt_cpu_open(struct pt_device **dev, const struct pt_device_options *o, struct pt_error *err);
int pt_plan_open(struct pt_device **dev, const struct pt_device_options *o, struct pt_error *err);
int pt_guard_open(struct pt_device **dev, const struct pt_device_options *o, struct pt_error *err);

/*
 * What a plug-in exports, once, under the name PT_PLUGIN_SYMBOL. PT_DEVICE_ABI
 * is of the text of the headers that both sides read: the Makefile has it.
 */
#define PT_PLUGIN_SYMBOL "pt_plugin_entry"

struct pt_plugin {
	uint32_t abi;			/* PT_DEVICE_ABI */
	const char *name;		/* "cuda" */
	int (*open)(struct pt_device **dev, int index, const struct pt_device_options *o,
		    struct pt_error *err);
};

/*
 * The plug-in peft-NAME.so from $PEFT_PLUGIN_DIR, ../lib/peft of the
 * executable or the installed directory; it stays loaded. PT_DEVICE where
 * there is none, or one of another ABI number, or it does not load.
 */
int pt_plugin_load(const char *name, const struct pt_plugin **out, struct pt_error *err);

/* Whether the file is there, without loading anything. */
bool pt_plugin_exists(const char *name);

#endif
