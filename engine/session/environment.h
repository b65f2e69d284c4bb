/* environment.h: what a policy acts on: prompts and their tools. A prompt is an embedded task, a function of (seed,
 * split, family, index) that has pages of its own to search; or a record of a file, whose searches find what was
 * recorded in tools.search_cache. */
#pragma once
#include "data/dataset.h"
#include "data/search_cache.h"
#include "data/tasks/corpus.h"
#include "data/tasks/task.h"
#include "engine/rollout/rollout.h"
#include "model/tokenizer/ids.h"

struct env {
    struct tool_env tools;
    int64_t next_scope;
};

/* A prompt in the environment. The pages of an embedded task are in the corpus under its scope until env_prompt_end. */
struct env_prompt {
    const struct prompt *from_data; /* its record; NULL: an embedded task */
    const struct ids *ids;          /* from data: its token ids */
    struct task task;               /* the embedded task */
    int64_t scope;
};
const char *env_prompt_text(const struct env_prompt *t);
const char *env_prompt_source(const struct env_prompt *t);          /* the task's family, or the record's data_source */

/* cache: a file of recorded searches, "": none; nearest: a query that was not recorded gets the nearest one's result.
 * False also if a tool of the table cannot run (tool_table_check). */
bool env_open(struct env *v, const char *cache, bool nearest, int max_pages, int max_chars, struct err *e);
void env_close(struct env *v);
void env_prompt_begin(struct env *v, struct env_prompt *t, int family, enum split split, uint64_t seed, uint64_t index);
void env_prompt_end(struct env *v, struct env_prompt *t);
/* The tools as rollouts call them: each call runs its row's function in the table of tools. sequence.user is the struct
 * env_prompt; NULL: treated as a prompt from data. */
struct toolbox env_tools(struct env *v);
