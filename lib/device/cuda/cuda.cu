/* SPDX-License-Identifier: MIT */
/*
 * cuda.cu - the plug-in's entry: opening a GPU, its memory, and the copies
 * between it and the host.
 */
#include "device/cuda/cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_HALF ((size_t)16 << 20)
#define WORK ((size_t)32 << 20)		/* what cublasLt's algorithms for Hopper want */

int pt_cuda_error(struct pt_error *err, int status, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return status;
	va_start(ap, fmt);
	err->status = status;
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	return status;
}

static int failed(struct pt_error *err, cudaError_t e, const char *what)
{
	return pt_cuda_error(err, PT_DEVICE, "CUDA: %s: %s", what, cudaGetErrorString(e));
}

int pt_cuda_launched(struct pt_error *err, const char *what)
{
	cudaError_t e = cudaGetLastError();

	return e ? failed(err, e, what) : 0;
}

static int cuda_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	cudaError_t e = cudaMalloc(out, n ? n : 1);

	if (e) {
		cudaGetLastError();
		*out = NULL;
		if (e != cudaErrorMemoryAllocation)
			return failed(err, e, "memory");
		return pt_cuda_error(err, PT_DEVICE, "no memory for %zu bytes on %s", n, dev->name);
	}
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static void cuda_free(struct pt_device *dev, void *p, size_t n)
{
	if (!p)
		return;
	cudaFree(p);
	dev->used -= n;
}

/* The next piece of pinned memory, at most half of it: waits only for copies of a whole half ago. */
static int staging(struct pt_cuda *c, size_t *n, char **out, struct pt_error *err)
{
	cudaError_t e = cudaSuccess;

	if (c->ring_at == c->ring_half) {
		e = cudaEventRecord(c->ring_done[c->ring_now], c->stream);
		c->ring_now = !c->ring_now;
		c->ring_at = 0;
		if (!e)
			e = cudaEventSynchronize(c->ring_done[c->ring_now]);
		if (e)
			return failed(err, e, "upload");
	}
	if (*n > c->ring_half - c->ring_at)
		*n = c->ring_half - c->ring_at;
	*out = c->ring + (size_t)c->ring_now * c->ring_half + c->ring_at;
	c->ring_at += (*n + 255) & ~(size_t)255;
	if (c->ring_at > c->ring_half)
		c->ring_at = c->ring_half;
	return 0;
}

static int cuda_upload(struct pt_device *dev, void *dst, const void *host, size_t n, struct pt_error *err)
{
	struct pt_cuda *c = pt_cuda_of(dev);

	for (size_t at = 0; at < n;) {
		size_t k = n - at;
		char *pinned = NULL;
		cudaError_t e;

		if (staging(c, &k, &pinned, err))
			return err->status;
		memcpy(pinned, (const char *)host + at, k);
		e = cudaMemcpyAsync((char *)dst + at, pinned, k, cudaMemcpyHostToDevice, c->stream);
		if (e)
			return failed(err, e, "upload");
		at += k;
	}
	return 0;
}

static int cuda_download(struct pt_device *dev, void *host, const void *src, size_t n, struct pt_error *err)
{
	struct pt_cuda *c = pt_cuda_of(dev);
	cudaError_t e = cudaSuccess;

	if (n)
		e = cudaMemcpyAsync(host, src, n, cudaMemcpyDeviceToHost, c->stream);
	if (!e)
		e = cudaStreamSynchronize(c->stream);
	return e ? failed(err, e, "a kernel or the download after it") : 0;
}

static int cuda_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	cudaError_t e = cudaMallocHost(out, n ? n : 1);

	if (!e)
		return 0;
	cudaGetLastError();
	*out = NULL;
	if (e != cudaErrorMemoryAllocation)
		return failed(err, e, "pinned memory");
	return pt_cuda_error(err, PT_DEVICE, "no pinned host memory for %zu bytes for %s", n, dev->name);
}

static void cuda_unpin(struct pt_device *dev, void *p, size_t n)
{
	(void)n;
	if (!p)
		return;
	cudaStreamSynchronize(pt_cuda_of(dev)->copies);
	cudaFreeHost(p);
}

/* On a stream of its own, which waits for the kernels called so far. */
static int copy(struct pt_device *dev, void *dst, const void *src, size_t n, enum cudaMemcpyKind kind,
		uint64_t *ticket, struct pt_error *err)
{
	struct pt_cuda *c = pt_cuda_of(dev);
	cudaError_t e = cudaEventRecord(c->ready, c->stream);

	if (!e)
		e = cudaStreamWaitEvent(c->copies, c->ready, 0);
	if (!e && n)
		e = cudaMemcpyAsync(dst, src, n, kind, c->copies);
	*ticket = ++c->ticket;
	if (!e)
		e = cudaEventRecord(c->copied[*ticket % PT_CUDA_COPIES], c->copies);
	return e ? failed(err, e, "copy") : 0;
}

static int cuda_fetch(struct pt_device *dev, void *dst, const void *pinned, size_t n, uint64_t *ticket,
		      struct pt_error *err)
{
	return copy(dev, dst, pinned, n, cudaMemcpyHostToDevice, ticket, err);
}

static int cuda_store(struct pt_device *dev, void *pinned, const void *src, size_t n, uint64_t *ticket,
		      struct pt_error *err)
{
	return copy(dev, pinned, src, n, cudaMemcpyDeviceToHost, ticket, err);
}

static int cuda_wait(struct pt_device *dev, uint64_t ticket, struct pt_error *err)
{
	struct pt_cuda *c = pt_cuda_of(dev);
	cudaError_t e = cudaStreamWaitEvent(c->stream, c->copied[ticket % PT_CUDA_COPIES], 0);

	return e ? failed(err, e, "copy") : 0;
}

static size_t cuda_memory(struct pt_device *dev)
{
	size_t free_now = 0, total = 0;

	if (cudaMemGetInfo(&free_now, &total))
		return dev->used;
	return free_now + dev->used;
}

static void cuda_close(struct pt_device *dev)
{
	struct pt_cuda *c = pt_cuda_of(dev);

	if (c->stream)
		cudaStreamSynchronize(c->stream);
	if (c->copies)
		cudaStreamSynchronize(c->copies);
	pt_cuda_products_close(c);
	if (c->lt)
		cublasLtDestroy(c->lt);
	cudaFree(c->work);
	cudaFree(c->part);
	cudaFreeHost(c->ring);
	for (int i = 0; i < 2; i++)
		if (c->ring_done[i])
			cudaEventDestroy(c->ring_done[i]);
	for (int i = 0; i < PT_CUDA_COPIES; i++)
		if (c->copied[i])
			cudaEventDestroy(c->copied[i]);
	if (c->ready)
		cudaEventDestroy(c->ready);
	if (c->copies)
		cudaStreamDestroy(c->copies);
	if (c->stream)
		cudaStreamDestroy(c->stream);
	free(c);
	free(dev);
}

/* Whether this plug-in has code for the GPU. */
__global__ static void probe(int *p)
{
	if (p)
		*p = 1;
}

static int find(int index, struct cudaDeviceProp *prop, struct pt_error *err)
{
	struct cudaFuncAttributes a;
	cudaError_t e;
	int n = 0;

	e = cudaGetDeviceCount(&n);
	if (e)
		return failed(err, e, "no device");
	if (index >= n)
		return pt_cuda_error(err, PT_DEVICE, "no device cuda:%d: there are %d", index, n);
	e = cudaSetDevice(index);
	if (!e)
		e = cudaGetDeviceProperties(prop, index);
	if (e)
		return failed(err, e, "device");
	if (prop->major < 8)
		return pt_cuda_error(err, PT_DEVICE, "cuda:%d: %s has compute capability %d.%d, 8.0 is needed", index,
				     prop->name, prop->major, prop->minor);
	e = cudaFuncGetAttributes(&a, probe);
	if (e)
		return pt_cuda_error(err, PT_DEVICE, "cuda:%d: the plug-in has no code for %s (%d.%d): %s", index,
				     prop->name, prop->major, prop->minor, cudaGetErrorString(e));
	return 0;
}

/* What PEFT_CUDA takes away, for tests: words with commas between them. */
static int restrict_to(struct pt_cuda *c, struct pt_error *err)
{
	const char *word = getenv("PEFT_CUDA");

	for (size_t n; word && *word; word += n + (word[n] == ',')) {
		int sms = 0, end = 0;

		n = strcspn(word, ",");
		sscanf(word, "sms=%d%n", &sms, &end);
		if (n == 5 && !strncmp(word, "plain", n))
			c->plain = true;
		else if (n == 4 && !strncmp(word, "sm80", n))
			c->hopper = false;
		else if (sms > 0 && (size_t)end == n)
			c->sms = sms < c->sms ? sms : c->sms;
		else
			return pt_cuda_error(err, PT_USAGE, "PEFT_CUDA=%.100s: plain, sm80, sms=N", word);
	}
	return 0;
}

static int prepare(struct pt_cuda *c, struct pt_error *err)
{
	cudaError_t e = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);

	if (!e)
		e = cudaStreamCreateWithFlags(&c->copies, cudaStreamNonBlocking);
	if (!e)
		e = cudaEventCreateWithFlags(&c->ready, cudaEventDisableTiming);
	for (int i = 0; i < PT_CUDA_COPIES && !e; i++)
		e = cudaEventCreateWithFlags(&c->copied[i], cudaEventDisableTiming);
	c->ring_half = RING_HALF;
	c->work_size = WORK;
	if (!e)
		e = cudaMallocHost((void **)&c->ring, 2 * RING_HALF);
	for (int i = 0; i < 2 && !e; i++)
		e = cudaEventCreateWithFlags(&c->ring_done[i], cudaEventDisableTiming);
	if (!e)
		e = cudaMalloc(&c->work, WORK);
	if (!e)
		e = cudaMalloc((void **)&c->part, PT_CUDA_PARTS * sizeof *c->part);
	if (e)
		return failed(err, e, "memory");
	if (cublasLtCreate(&c->lt))
		return pt_cuda_error(err, PT_DEVICE, "cublasLt cannot be opened");
	c->hopper = pt_cuda_hopper(c);
	return restrict_to(c, err);
}

static int cuda_open(struct pt_device **out, int index, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *dev;
	struct cudaDeviceProp prop;
	struct pt_cuda *c;

	(void)o;
	*out = NULL;
	if (find(index, &prop, err))
		return err->status;
	dev = (struct pt_device *)calloc(1, sizeof *dev);
	c = (struct pt_cuda *)calloc(1, sizeof *c);
	if (!dev || !c) {
		free(dev);
		free(c);
		return pt_cuda_error(err, PT_FAIL, "out of memory");
	}
	snprintf(dev->name, sizeof dev->name, "cuda:%d", index);
	c->index = index;
	c->sms = prop.multiProcessorCount;
	c->shared = prop.sharedMemPerBlockOptin;
	dev->bf16 = dev->bf16_act = dev->copies = true;
	dev->k = &pt_cuda_kernels;
	dev->self = c;
	dev->alloc = cuda_alloc;
	dev->free = cuda_free;
	dev->memory = cuda_memory;
	dev->upload = cuda_upload;
	dev->download = cuda_download;
	dev->pin = cuda_pin;
	dev->unpin = cuda_unpin;
	dev->fetch = cuda_fetch;
	dev->store = cuda_store;
	dev->wait = cuda_wait;
	dev->close = cuda_close;
	if (prepare(c, err)) {
		cuda_close(dev);
		return err->status;
	}
	snprintf(dev->path, sizeof dev->path, "%.100s, cublasLt %zu%s", prop.name, cublasLtGetVersion(),
		 c->hopper ? ", code for Hopper" : "");
	*out = dev;
	return 0;
}

extern "C" __attribute__((visibility("default"))) const struct pt_plugin pt_plugin_entry = {
	PT_DEVICE_ABI, "cuda", cuda_open
};
