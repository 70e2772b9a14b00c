/* SPDX-License-Identifier: MIT */
/*
 * table.c - the table of kernels of one instruction set.
 */
#include "device/cpu/cpu.h"

#define ENTRY(name, params, args) .name = pt_cpu_##name,

const struct pt_kernels pt_cpu_table = {
	PT_KERNELS(ENTRY)
	PT_KERNEL_SCRATCH(ENTRY)
};
