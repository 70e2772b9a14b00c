/* SPDX-License-Identifier: MIT */
/*
 * zipdir.h - what libarchive takes on trust in a zip archive: that its
 * directory has as many members as it says, that each member's own header
 * says the same as the directory, and that no two members share bytes
 * (APPNOTE.TXT 6.3, 4.3.7 and 4.3.12 to 4.3.16).
 */
#ifndef PT_IO_ZIPDIR_H
#define PT_IO_ZIPDIR_H

#include <stdint.h>

#include "base/error.h"

enum { PT_ZIP_MEMBERS = 10000000 };	/* at most */

/* fd: a regular file. *members: how many there are. PT_DATA: damaged, cut short, or made to deceive. */
int pt_zipdir_check(int fd, int64_t *members, struct pt_error *err);

#endif
