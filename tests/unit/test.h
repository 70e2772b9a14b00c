/* SPDX-License-Identifier: MIT */
/*
 * test.h - what every unit test includes: cmocka in the order it wants.
 */
#ifndef PT_TEST_H
#define PT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A call that must succeed; its message is shown when it does not. */
#define assert_ok(call, err) do {					\
	int ok_status_ = (call);					\
	if (ok_status_)							\
		fail_msg("%s: status %d: %s", #call, ok_status_, (err)->msg);	\
} while (0)

/* A call that must fail with this status and with part in its message. */
#define assert_fails(call, want, part, err) do {			\
	int fails_status_ = (call);					\
	if (fails_status_ != (want) || !strstr((err)->msg, part))	\
		fail_msg("%s: status %d, message '%s'", #call, fails_status_, (err)->msg); \
} while (0)

#endif
