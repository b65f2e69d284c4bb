/* environment.c: questions and their tools. */
#include "engine/session/environment.h"
#include "data/tasks/calc.h"

bool env_open(struct env *v, const char *cache, bool nearest, int max_pages, int max_chars, struct err *e)
{
    *v = (struct env){ .max_pages = max_pages, .max_chars = max_chars, .next_scope = 1 };
    v->corpus = corpus_open(e);
    if (v->corpus && *cache) v->cache = search_cache_open(cache, nearest, e);
    return v->corpus && (v->cache || !*cache);
}

void env_close(struct env *v)
{
    corpus_close(v->corpus);
    search_cache_close(v->cache);
}

const char *env_prompt_text(const struct env_prompt *t) { return t->from_data ? t->from_data->prompt : t->q.text; }
const char *env_prompt_source(const struct env_prompt *t)
{
    return t->from_data ? t->from_data->data_source : family_name[t->q.family];
}

void env_prompt_begin(struct env *v, struct env_prompt *t, int family, enum split split, uint64_t seed, uint64_t index)
{
    task_make(&t->q, family, split, seed, index);
    t->scope = v->next_scope++;
    for (int i = 0; i < t->q.n_pages; i++) corpus_add(v->corpus, t->scope, t->q.pages[i].title, t->q.pages[i].text);
}

void env_prompt_end(struct env *v, struct env_prompt *t)
{
    if (t->from_data) return;
    if (t->q.n_pages) corpus_drop(v->corpus, t->scope);
    task_free(&t->q);
}

static const enum call_status found_status[] = {
    [SEARCH_RECORDED] = CALL_OK, [SEARCH_NEAREST] = CALL_NEAREST, [SEARCH_MISSED] = CALL_NOT_RECORDED,
    [SEARCH_EMPTY] = CALL_FAILED,
};

static void run(void *ctx, const struct tool_caller *who, enum tool tool, const char *query, size_t n, struct str *out)
{
    struct env *v = ctx;
    const struct env_prompt *t = who->user;
    bool embedded = t && !t->from_data;
    if (tool == TOOL_PYTHON) calc_run(out, query, n, embedded ? &calc_embedded : &calc_default);
    else if (embedded) corpus_search(v->corpus, out, t->scope, query, n, v->max_pages, v->max_chars);
    else if (!v->cache) str_puts(out, "error: no search");
    else tools_status(found_status[search_cache_find(v->cache, out, query, n, v->max_pages, v->max_chars)]);
}

struct toolbox env_tools(struct env *v)
{
    return (struct toolbox){
        .run = run, .ctx = v, .in_process = 1u << TOOL_PYTHON | 1u << TOOL_SEARCH, .recorded = v->cache != NULL
    };
}
