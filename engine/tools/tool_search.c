/* tool_search.c: the tool search: the pages of an embedded task, or what was recorded for prompts of files. */
#include "engine/tools/tool_table_in.h"
#include "data/search_cache.h"
#include "data/tasks/corpus.h"

tool_function tool_search;

static const enum call_status found_status[] = {
    [SEARCH_RECORDED] = CALL_OK,
    [SEARCH_NEAREST] = CALL_NEAREST,
    [SEARCH_MISSED] = CALL_NOT_RECORDED,
    [SEARCH_EMPTY] = CALL_FAILED,
};

void tool_search(const struct tool_env *env, const struct tool_caller *who, const char *query, size_t n,
                 struct str *out)
{
    if (who->scope) corpus_search(env->corpus, out, who->scope, query, n, env->max_pages, env->max_chars);
    else if (!env->cache) str_puts(out, "error: no search");
    else tools_status(found_status[search_cache_find(env->cache, out, query, n, env->max_pages, env->max_chars)]);
}
