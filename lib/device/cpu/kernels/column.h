/* SPDX-License-Identifier: MIT */
/*
 * column.h - sums over rows, one strip of channels at a time, in the order of the rows.
 */
#ifndef PT_CPU_COLUMN_H
#define PT_CPU_COLUMN_H

#include "block.h"

#define PT_COLUMNS 64		/* channels of a strip */
#define PT_COLUMN_ROWS 64	/* rows added up before they are added to the total: the error grows with their root */

/*
 * Over the rows of dy, x [n,c], for the strip of channels at..: db[j] += sum dy, dw[j] += sum dy * (x - mean) * inv
 * with stat [n,2] = mean and inv (NULL: x itself). dw and db are those of the strip, or NULL.
 */
static inline void pt_columns(int64_t n, int64_t c, int64_t at, const float *dy, const float *x,
			      const float *stat, float *dw, float *db)
{
	int64_t m = pt_min(PT_COLUMNS, c - at);

	for (int64_t r = 0; r < n; r += PT_COLUMN_ROWS) {
		float sw[PT_COLUMNS] = { 0 }, sb[PT_COLUMNS] = { 0 };

		for (int64_t i = r; i < pt_min(n, r + PT_COLUMN_ROWS); i++) {
			const float *g = dy + i * c + at, *v = x ? x + i * c + at : g;
			float mean = stat ? stat[2 * i] : 0, inv = stat ? stat[2 * i + 1] : 1;

			if (dw)
				for (int64_t j = 0; j < m; j++)
					sw[j] += g[j] * ((v[j] - mean) * inv);
			if (db)
				for (int64_t j = 0; j < m; j++)
					sb[j] += g[j];
		}
		for (int64_t j = 0; j < m && dw; j++)
			dw[j] += sw[j];
		for (int64_t j = 0; j < m && db; j++)
			db[j] += sb[j];
	}
}

#endif
