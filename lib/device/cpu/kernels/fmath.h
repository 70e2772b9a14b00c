/* SPDX-License-Identifier: MIT */
/*
 * fmath.h - exp, tanh and erf without branches, so that loops over them are
 * vectorised. Errors are a few units in the last place (tests/unit/device_cpu_elem.c).
 */
#ifndef PT_CPU_FMATH_H
#define PT_CPU_FMATH_H

#include <stdint.h>
#include <string.h>

/* Below this exp() is 0: its result would not be a normal number. */
#define PT_EXP_MIN -87.33654f
#define PT_EXP_MAX 88.37626f

/* exp (polynomial of Cephes, S. Moshier); finite above PT_EXP_MAX. */
static inline float pt_expf(float x)
{
	const float magic = 12582912.0f;	/* 1.5 * 2^23: adding it rounds to an integer */
	float t, n, r, p, scale;
	uint32_t u;

	r = x < PT_EXP_MIN ? PT_EXP_MIN : x;
	r = r > PT_EXP_MAX ? PT_EXP_MAX : r;
	t = r * 1.44269504088896341f + magic;
	n = t - magic;
	r = r - n * 0.693359375f;
	r = r - n * -2.12194440e-4f;
	p = 1.9875691500e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * (r * r) + r + 1.0f;
	memcpy(&u, &t, sizeof u);
	u = (u + 127) << 23;			/* the low bits of t are n */
	memcpy(&scale, &u, sizeof scale);
	p *= scale;
	return x < PT_EXP_MIN ? 0.0f : p;
}

/* tanh as a rational function (Eigen's coefficients); within it 1 is reached at 7.9. */
static inline float pt_tanhf(float x)
{
	float c, s, p, q;

	c = x < -7.90531110763549805f ? -7.90531110763549805f : x;
	c = c > 7.90531110763549805f ? 7.90531110763549805f : c;
	s = c * c;
	p = -2.76076847742355e-16f;
	p = p * s + 2.00018790482477e-13f;
	p = p * s + -8.60467152213735e-11f;
	p = p * s + 5.12229709037114e-08f;
	p = p * s + 1.48572235717979e-05f;
	p = p * s + 6.37261928875436e-04f;
	p = p * s + 4.89352455891786e-03f;
	q = 1.19825839466702e-06f;
	q = q * s + 1.18534705686654e-04f;
	q = q * s + 2.26843463243900e-03f;
	q = q * s + 4.89352518554385e-03f;
	return c * p / q;
}

/* erf likewise; 1 from 4 on. */
static inline float pt_erff(float x)
{
	float c, s, p, q;

	c = x < -4.0f ? -4.0f : x;
	c = c > 4.0f ? 4.0f : c;
	s = c * c;
	p = -2.72614225801306e-10f;
	p = p * s + 2.77068142495902e-08f;
	p = p * s + -2.10102402082508e-06f;
	p = p * s + -5.69250639462346e-05f;
	p = p * s + -7.34990630326855e-04f;
	p = p * s + -2.95459980854025e-03f;
	p = p * s + -1.60960333262415e-02f;
	q = -1.45660718464996e-05f;
	q = q * s + -2.13374055278905e-04f;
	q = q * s + -1.68282697438203e-03f;
	q = q * s + -7.37332916720468e-03f;
	q = q * s + -1.42647390514189e-02f;
	return c * p / q;
}

#endif
