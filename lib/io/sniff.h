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

#endif
