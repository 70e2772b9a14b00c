/* SPDX-License-Identifier: MIT */
/*
 * sniff.h - say what some bytes are, so that a message can name what was
 * found: "gzip data", "a Python pickle", "a zip archive (perhaps a PyTorch
 * .bin)", "GGUF", "text", "JSON", "a safetensors file without stream records".
 */
#ifndef PT_IO_SNIFF_H
#define PT_IO_SNIFF_H

#include <stddef.h>

#define PT_SNIFF_SAFETENSORS "a safetensors file without stream records"

/* Never NULL: "unknown data" when nothing fits. *hint is what to run or NULL. */
const char *pt_sniff(const void *data, size_t n, const char **hint);

/* What must be unpacked before there is text (unpack.h, archive.h). */
enum pt_packed { PT_PACKED_NOT, PT_PACKED_GZIP, PT_PACKED_BZIP2, PT_PACKED_XZ, PT_PACKED_ZSTD, PT_PACKED_ZIP, PT_PACKED_TAR };
enum { PT_PACKED_SNIFF = 512 };		/* bytes that tell for certain */
enum pt_packed pt_sniff_packed(const void *data, size_t n);

#endif
