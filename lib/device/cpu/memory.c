/* SPDX-License-Identifier: MIT */
/*
 * memory.c - how much memory this process may have: that of the machine, of
 * its control group, of its limits.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "device/cpu/cpu.h"

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* A number from a file of the system; SIZE_MAX where there is none ("max", no file). */
static size_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long long v;
	size_t n = SIZE_MAX;

	if (!f)
		return n;
	if (fscanf(f, "%llu", &v) == 1)
		n = (size_t)v;
	fclose(f);
	return n;
}

size_t pt_cpu_memory(struct pt_device *dev)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	size_t n = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;
	struct rlimit r;

	(void)dev;
	n = smaller(n, number_in("/sys/fs/cgroup/memory.max"));
	n = smaller(n, number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
	if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
		n = smaller(n, (size_t)r.rlim_cur);
	if (getrlimit(RLIMIT_DATA, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
		n = smaller(n, (size_t)r.rlim_cur);
	return n;
}
