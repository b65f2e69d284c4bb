/* cold_start.h: makes the embedded policy from nothing: tokenizer, skill by clean demonstrations, then behaviour by
 * demonstrations of mixed quality. The second phase leaves something to learn: the policy can do the tasks, but
 * guesses, stops early and slips, so that its choices are real decision points. */
#pragma once
#include "engine/config/config.h"
#include "engine/run/sft.h"

struct cold_start_rule {
    int transcripts;                /* that the tokenizer is trained on */
    int merges;
    struct sft_rule skill;
    struct sft_rule behaviour;
    struct model_config shape;
    int64_t max_rows;               /* of a pack */
};
/* The values that made the shipped policy; sft.* keys that were set replace those of the skill phase. */
struct cold_start_rule cold_start_default(const struct config *c);

/* Writes config.json, model.safetensors and tokenizer.json into folder. Calls after for every step of both phases. */
bool cold_start_run(const char *folder, const struct cold_start_rule *r, sft_after *after, void *ctx, struct err *e);
