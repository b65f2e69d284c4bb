/* run_record.h: what a run was started with: hashes of its tokenizer and searches, and run.json. */
#pragma once
#include "engine/run/checkpoint.h"

/* Fills x->tokenizer and x->cache: hashes of the model's tokenizer and of tools.search_cache. */
bool run_record_hashes(struct ckpt_extra *x, const struct session *s, struct err *e);
/* Writes {dir}/run.json: configuration, version, model and data, and time, host, process and version of every start.
 * step -1: a new run; else it resumes after that step. */
bool run_record_write(const char *dir, const struct session *s, int step, struct err *e);
