/* save.h: a model as a Hugging Face folder that transformers loads. */
#pragma once
#include "model/model.h"

struct save_rule {
    bool bf16;                      /* numbers as bf16, rounded to nearest even; else in the accumulation type */
    int64_t max_shard;              /* bytes of tensors a file holds at most; 0: one file */
};

/* config.json, generation_config.json (unless there is one) and the weights, each under a temporary name first.
 * config.json is written last: a folder that has it is whole. */
bool model_save_as(const struct model *m, const char *folder, const struct save_rule *r, struct err *e);
bool model_save(const struct model *m, const char *folder, struct err *e);      /* one file, not rounded */
