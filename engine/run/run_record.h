/* run_record.h: what a run is: the hashes of what it was started with, and run.json. */
#pragma once
#include "engine/run/checkpoint.h"

/* the commit of this build, "+" behind it where files differed from it; "unknown" without git */
extern const char appo_version[];

/* x->tokenizer, x->cache: what the model's tokenizer and tools.search_cache hold. */
bool run_record_hashes(struct ckpt_extra *x, const struct session *s, struct err *e);
/* {dir}/run.json: configuration, version, model and data, and of every start the time, host, process and version. step
 * -1: a new run; else it goes on after it. */
bool run_record_write(const char *dir, const struct session *s, int step, struct err *e);
