/* SPDX-License-Identifier: MIT */
/*
 * hopper.cu - whether the plug-in's code for Hopper runs, and tensor maps.
 */
#include "device/cuda/hopper.h"

__global__ static void probe(int *has)
{
#ifdef PT_HOPPER
	*has = 1;
#else
	*has = 0;
#endif
}

/* The driver's function is asked for by name, so that nothing is linked with the driver. */
bool pt_cuda_hopper(struct pt_cuda *c)
{
	enum cudaDriverEntryPointQueryResult found;
	int has = 0, *at = (int *)c->part;

	probe<<<1, 1, 0, c->stream>>>(at);
	if (cudaMemcpyAsync(&has, at, sizeof has, cudaMemcpyDeviceToHost, c->stream) || cudaStreamSynchronize(c->stream))
		return false;
	return has && !cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &c->encode, 12000, cudaEnableDefault,
							&found) && found == cudaDriverEntryPointSuccess;
}

bool pt_tiles(struct pt_device *dev, CUtensorMap *map, const void *p, int64_t rows, int64_t cols, int64_t ld,
	      int box_rows)
{
	auto encode = (decltype(&cuTensorMapEncodeTiled))pt_cuda_of(dev)->encode;
	cuuint64_t size[2] = { (cuuint64_t)cols, (cuuint64_t)rows }, stride[1] = { (cuuint64_t)ld * 2 };
	cuuint32_t box[2] = { 64, (cuuint32_t)box_rows }, step[2] = { 1, 1 };

	return (uintptr_t)p % 16 == 0 && ld % 8 == 0 && rows > 0 && rows < (int64_t)1 << 31 &&
	       !encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)p, size, stride, box, step,
		       CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
		       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
