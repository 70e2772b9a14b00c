/* SPDX-License-Identifier: MIT */
/*
 * table.c - the table of kernels of one instruction set.
 */
#include "device/cpu/cpu.h"

const struct pt_kernels pt_cpu_table = {
	.abi = PT_DEVICE_ABI,
	.fill = pt_cpu_fill,
	.copy = pt_cpu_copy,
	.axpby = pt_cpu_axpby,
	.affine_fwd = pt_cpu_affine_fwd,
	.affine_bwd = pt_cpu_affine_bwd,
	.gather_fwd = pt_cpu_gather_fwd,
	.gather_bwd = pt_cpu_gather_bwd,
	.mean_fwd = pt_cpu_mean_fwd,
	.mean_bwd = pt_cpu_mean_bwd,
	.convert = pt_cpu_convert,
	.gemm = pt_cpu_gemm,
	.dropout = pt_cpu_dropout,
	.linear_scratch = pt_cpu_linear_scratch,
	.linear_fwd = pt_cpu_linear_fwd,
	.linear_bwd = pt_cpu_linear_bwd,
	.norm_fwd = pt_cpu_norm_fwd,
	.norm_bwd = pt_cpu_norm_bwd,
	.rope = pt_cpu_rope,
	.act_fwd = pt_cpu_act_fwd,
	.act_bwd = pt_cpu_act_bwd,
	.attn_scratch = pt_cpu_attn_scratch,
	.attn_fwd = pt_cpu_attn_fwd,
	.attn_bwd = pt_cpu_attn_bwd,
	.nll_scratch = pt_cpu_nll_scratch,
	.nll_fwd = pt_cpu_nll_fwd,
	.nll_bwd = pt_cpu_nll_bwd,
	.class_fwd = pt_cpu_class_fwd,
	.class_bwd = pt_cpu_class_bwd,
	.embed_fwd = pt_cpu_embed_fwd,
	.embed_bwd = pt_cpu_embed_bwd,
	.adamw = pt_cpu_adamw,
	.sumsq = pt_cpu_sumsq,
	.nonfinite = pt_cpu_nonfinite,
};
