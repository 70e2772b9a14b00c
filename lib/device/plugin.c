/* SPDX-License-Identifier: MIT */
/*
 * plugin.c - finding and loading a device's shared object.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/open.h"

/* The i-th place to look, false after the last; an empty path: nothing there. */
static bool candidate(int i, const char *name, char *path, size_t n)
{
	const char *dir = getenv("PEFT_PLUGIN_DIR");
	char exe[PATH_MAX];
	ssize_t len;
	char *slash;

	path[0] = '\0';
	switch (i) {
	case 0:
		if (dir && *dir)
			snprintf(path, n, "%s/peft-%s.so", dir, name);
		return true;
	case 1:
		len = readlink("/proc/self/exe", exe, sizeof exe - 1);
		if (len < 0)
			return true;
		exe[len] = '\0';
		slash = strrchr(exe, '/');
		if (slash)
			snprintf(path, n, "%.*s/../lib/peft/peft-%s.so", (int)(slash - exe), exe, name);
		return true;
	case 2:
		snprintf(path, n, "%s/peft/peft-%s.so", PT_LIBDIR, name);
		return true;
	default:
		return false;
	}
}

static bool find(const char *name, char *path, size_t n)
{
	for (int i = 0; candidate(i, name, path, n); i++)
		if (path[0] && access(path, R_OK) == 0)
			return true;
	return false;
}

bool pt_plugin_exists(const char *name)
{
	char path[PATH_MAX + 64];

	return find(name, path, sizeof path);
}

int pt_plugin_load(const char *name, const struct pt_plugin **out, struct pt_error *err)
{
	char path[PATH_MAX + 64];
	const struct pt_plugin *p;
	void *so;

	if (!find(name, path, sizeof path))
		return pt_error(err, PT_DEVICE, "no plug-in peft-%s.so in $PEFT_PLUGIN_DIR, beside the "
				"program in ../lib/peft, or in %s/peft", name, PT_LIBDIR);
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!so)
		return pt_error(err, PT_DEVICE, "cannot load the plug-in: %s", dlerror());
	p = dlsym(so, PT_PLUGIN_SYMBOL);
	if (!p || p->abi != PT_DEVICE_ABI) {
		uint32_t abi = p ? p->abi : 0;

		dlclose(so);
		if (!p)
			return pt_error(err, PT_DEVICE, "%s is no plug-in: it lacks " PT_PLUGIN_SYMBOL, path);
		return pt_error(err, PT_DEVICE, "%s has interface %u, this program %u: build both from one "
				"source", path, abi, PT_DEVICE_ABI);
	}
	*out = p;
	return 0;
}
