/* SPDX-License-Identifier: MIT */
/*
 * todo.c - kernels that are not there yet. A file that brings one takes its
 * line away here; the file goes with the last.
 */
#include "device/cpu/cpu.h"

int pt_cpu_gemm(struct pt_device *dev, const struct pt_k_gemm *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "gemm: not built yet");
}

int pt_cpu_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "dropout: not built yet");
}

size_t pt_cpu_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool
	backward)
{
	(void)dev, (void)g, (void)backward;
	return 0;
}

int pt_cpu_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error
	*err)
{
	(void)dev, (void)g;
	return pt_error(err, PT_DEVICE, "linear_fwd: not built yet");
}

int pt_cpu_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error
	*err)
{
	(void)dev, (void)g;
	return pt_error(err, PT_DEVICE, "linear_bwd: not built yet");
}

size_t pt_cpu_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	(void)dev, (void)k, (void)backward;
	return 0;
}

int pt_cpu_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "nll_fwd: not built yet");
}

int pt_cpu_nll_bwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "nll_bwd: not built yet");
}
