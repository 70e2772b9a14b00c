/* SPDX-License-Identifier: MIT */
/*
 * combine.h - several adapters of one method become one, as PEFT's
 * add_weighted_adapter does it.
 *
 * A kind is a rule and what it is applied to: the factors A and B of each
 * adapter, or their products, of which the sum is brought to a rank again by
 * its singular values. Rules: the weighted sum; that sum after the smallest or
 * random values were set to zero; and of what then has the sign that most have.
 *
 * Ilharco et al. 2023, "Editing Models with Task Arithmetic"; Yadav et al.
 * 2023, "TIES-Merging: Resolving Interference When Merging Models"; Yu et al.
 * 2024, "Language Models are Super Mario: Absorbing Abilities from Homologous
 * Models as a Free Lunch" (DARE).
 */
#ifndef PT_PEFT_COMBINE_H
#define PT_PEFT_COMBINE_H

#include "peft/adapter.h"

enum pt_combine_form { PT_COMBINE_JOIN, PT_COMBINE_FACTORS, PT_COMBINE_PRODUCTS };
enum pt_combine_drop { PT_DROP_NONE, PT_DROP_SMALL, PT_DROP_RANDOM };

struct pt_combine_kind {
	const char *name;
	enum pt_combine_form form;
	enum pt_combine_drop drop;
	bool elect;			/* only values of the elected sign count */
	const char *what;
};

/* By its name; i-th of all. NULL: there is none. */
const struct pt_combine_kind *pt_combine_kind(const char *name);
const struct pt_combine_kind *pt_combine_kind_at(int i);

struct pt_combine_options {
	const struct pt_combine_kind *kind;
	const double *weight;		/* [n], any sign */
	int rank;			/* of what comes of products; 0: the largest of the adapters' */
	double density;			/* share of values that stay, where some are dropped */
	bool frequency;			/* the sign is elected by numbers, not by sums */
	uint64_t seed;			/* of what is dropped at random */
	int (*stop)(void);		/* asked before each module; not 0: no further, PT_FAIL. NULL: nobody asks */
};

/*
 * A new adapter of the first one's model, which all are of. Modules that one
 * of them trained whole are taken over; where several did they must be equal.
 * PT_USAGE names what cannot be combined.
 */
int pt_combine(struct pt_adapter **out, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
	       struct pt_error *err);

/*
 * For methods: the rule of o->kind on n arrays of count values, which are used
 * up, with weights w; key: of what is dropped at random.
 */
int pt_combine_values(const struct pt_combine_options *o, float *const *x, const double *w, int n, size_t count,
		      uint64_t key, float *out, struct pt_error *err);

/* For methods: the names that any of the adapters lists under key, null where none does. */
int pt_combine_names(cJSON *config, const char *key, struct pt_adapter *const *a, int n, struct pt_error *err);

/* How a method's adapters become one. */
struct pt_combiner {
	/* Keys of the new configuration, a copy of the first one's without targets. */
	int (*config)(cJSON *config, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
		      struct pt_error *err);
	/* The values of one site, of those of the same site of each adapter, NULL where one does not act on it. */
	int (*site)(struct pt_adapter *to, struct pt_adapter_site *s, struct pt_adapter *const *a,
		    const struct pt_adapter_site *const *part, int n, const struct pt_combine_options *o,
		    struct pt_error *err);
};

extern const struct pt_combiner pt_lora_combiner, pt_ia3_combiner;

#endif
