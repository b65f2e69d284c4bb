/* environment.h: the world a policy acts in: questions and tools. A question is one of the embedded tasks, a function
 * of (seed, split, family, index), with pages of its own to search; or a row of a file, which searches what was
 * recorded. */
#pragma once
#include "data/tasks/corpus.h"
#include "data/dataset.h"
#include "data/search_cache.h"
#include "data/tasks/task.h"
#include "engine/rollout/rollout.h"
#include "model/tokenizer/ids.h"

struct env {
    struct tool_env tools;
    int64_t next_scope;
};

/* One question in the world. Of an embedded one, the pages are in the corpus under its scope until task_end. */
struct env_prompt {
    const struct prompt *from_data;    /* the row it is, and its prompt; NULL: embedded, q */
    const struct ids *prompt;
    struct task q;
    int64_t scope;
};
const char *env_prompt_text(const struct env_prompt *t);
const char *env_prompt_source(const struct env_prompt *t);          /* the family, or the row's data_source */

/* cache: a file of recorded searches, "" for none; nearest: what is not recorded gets the nearest. False, too: a tool
 * of the table that cannot run (tool_table_check). */
bool env_open(struct env *v, const char *cache, bool nearest, int max_pages, int max_chars, struct err *e);
void env_close(struct env *v);
void env_prompt_begin(struct env *v, struct env_prompt *t, int family, enum split split, uint64_t seed, uint64_t index);
void env_prompt_end(struct env *v, struct env_prompt *t);
/* The tools as rollouts call them: each call runs its row's function in the table of tools. */
struct toolbox env_tools(struct env *v);
