/* SPDX-License-Identifier: MIT */
/*
 * table.cu - the table of kernels.
 */
#include "device/cuda/cuda.h"

#define ENTRY(name, params, args) .name = pt_cuda_##name,

const struct pt_kernels pt_cuda_kernels = {
	PT_KERNELS(ENTRY)
	PT_KERNEL_SCRATCH(ENTRY)
};
