/* environment.c: prompts and their tools. */
#include "engine/session/environment.h"

bool env_open(struct env *v, const char *cache, bool nearest, int max_pages, int max_chars, struct err *e)
{
    *v = (struct env){ .tools = { .max_pages = max_pages, .max_chars = max_chars }, .next_scope = 1 };
    if (!tool_table_check(&tool_table, e)) return false;
    v->tools.corpus = corpus_open(e);
    if (v->tools.corpus && *cache) v->tools.cache = search_cache_open(cache, nearest, e);
    return v->tools.corpus && (v->tools.cache || !*cache);
}

void env_close(struct env *v)
{
    corpus_close(v->tools.corpus);
    search_cache_close(v->tools.cache);
}

const char *env_prompt_text(const struct env_prompt *t) { return t->from_data ? t->from_data->user : t->task.text; }
const char *env_prompt_source(const struct env_prompt *t)
{
    return t->from_data ? t->from_data->data_source : family_name[t->task.family];
}

void env_prompt_begin(struct env *v, struct env_prompt *t, int family, enum split split, uint64_t seed, uint64_t index)
{
    task_make(&t->task, family, split, seed, index);
    t->scope = v->next_scope++;
    for (int i = 0; i < t->task.n_pages; i++)
        corpus_add(v->tools.corpus, t->scope, t->task.pages[i].title, t->task.pages[i].text);
}

void env_prompt_end(struct env *v, struct env_prompt *t)
{
    if (t->from_data) return;
    if (t->task.n_pages) corpus_drop(v->tools.corpus, t->scope);
    task_free(&t->task);
}

static void run(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n, struct str *out)
{
    const struct env *v = ctx;
    tool_table.row[tool].run(&v->tools, who, query, n, out);
}

struct toolbox env_tools(struct env *v)
{
    struct toolbox box = { .run = run, .ctx = v, .recorded = v->tools.cache != NULL };
    for (int k = 0; k < tool_table.n; k++) box.in_process |= (unsigned)tool_table.row[k].in_process << k;
    return box;
}
