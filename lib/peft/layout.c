/* SPDX-License-Identifier: MIT */
/*
 * layout.c - see layout.h: HF PEFT's layout, whose form is that of memory, and
 * what is the same in all.
 */
#include "peft/layout.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"

const struct pt_layout pt_layout_peft = {
	.library = "HF PEFT",
	.mark = "peft_type",
	.weights = PT_ADAPTER_FILE,
	.pickle = "adapter_model.bin",
	.convert = "PeftModel.from_pretrained(...).save_pretrained(...)",
};

static const struct pt_layout *const layouts[] = { &pt_layout_peft, &pt_layout_hub };

enum { NLAYOUTS = sizeof layouts / sizeof layouts[0] };

const struct pt_layout *pt_layout_at(int i)
{
	return i >= 0 && i < NLAYOUTS ? layouts[i] : NULL;
}

const struct pt_layout *pt_layout_of(const cJSON *config)
{
	for (int i = 0; i < NLAYOUTS; i++) {
		if (pt_json_get(config, layouts[i]->mark))
			return layouts[i];
	}
	return layouts[0];
}

int pt_layout_decode(cJSON *config, struct pt_error *err)
{
	const struct pt_layout *l = pt_layout_of(config);

	return l->decode ? l->decode(config, err) : 0;
}

int pt_layout_no_pickle(const struct pt_layout *l, const char *dir, struct pt_error *err)
{
	char *good = pt_path_join(dir, l->weights, err), *bad = pt_path_join(dir, l->pickle, err);

	if (good && bad && !pt_is_file(good) && pt_is_file(bad))
		pt_error(err, PT_DATA, "%s is a Python pickle, which is never read; convert it: %s", bad,
			 l->convert);
	free(good);
	free(bad);
	return err->status;
}

int pt_layout_read(const char *dir, const struct pt_layout **layout, cJSON **config, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_ADAPTER_CONFIG, err);
	cJSON *c = path ? pt_json_read(path, 0, err) : NULL;

	*config = NULL;
	if (c) {
		*layout = pt_layout_of(c);
		if ((*layout)->decode && (*layout)->decode(c, err))
			pt_error_prefix(err, "%s", path);
		else if ((*layout)->read)
			(*layout)->read(dir, c, err);
	}
	free(path);
	if (err->status) {
		pt_json_free(c);
		return err->status;
	}
	*config = c;
	return 0;
}
