/* cold_start.h: the embedded policy from nothing: tokenizer, skill by clean demonstrations, then behaviour by
 * demonstrations of mixed quality. The second phase is what leaves something to learn: the policy can do the tasks, but
 * guesses, stops early and slips, so that its choices are real decision points. */
#pragma once
#include "engine/config/config.h"
#include "engine/run/sft.h"

/* What the shipped policy was made with; sft.* keys that were set replace the values of the skill phase. */
struct cold_start_rule {
    int transcripts, merges;
    struct sft_rule skill, behaviour;
    struct model_config shape;
    int64_t max_rows;
};
struct cold_start_rule cold_start_default(const struct config *c);

/* Writes config.json, model.safetensors and tokenizer.json into folder. after is told of every step of both phases. */
bool cold_start_run(const char *folder, const struct cold_start_rule *r,
                    bool (*after)(void *, const struct sft_report *), void *ctx, struct err *e);
