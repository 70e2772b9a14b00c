/* SPDX-License-Identifier: MIT */
/*
 * device.c - opens a device and says what it is.
 *
 * usage: device NAME
 */
#include <stdio.h>

#include "device/device.h"

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *dev;

	if (argc != 2) {
		fprintf(stderr, "usage: device NAME\n");
		return 2;
	}
	if (pt_device_open(&dev, argv[1], NULL, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return err.status;
	}
	printf("%s: %s\n", dev->name, dev->path);
	pt_device_close(dev);
	return 0;
}
