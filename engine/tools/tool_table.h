/* tool_table.h: the tools that a policy can call. A tool is one row of the table in tool_table.c and one file,
 * tool_NAME.c, with its run function. The call parser, prompts, environment, metrics, grading and cold start read the
 * row; a tool is known by its row number, and nothing else in the program names one. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "data/grade/tool_tags.h"
#include <stdbool.h>
#include <stdint.h>

/* TOOL_NONE: a call that names no tool. Arrays over tools have TOOL_KINDS places. */
enum { TOOLS_MAX = TOOL_TAGS_MAX, TOOL_NONE = TOOLS_MAX, TOOL_KINDS };

/* Identity of a call: all that a result may depend on besides the query and struct tool_env. */
struct tool_caller {
    uint32_t step, prompt, rollout;
    int call;                       /* number of this call in its rollout, from 1 */
    int64_t scope;                  /* of an embedded task: its pages in the corpus; 0: the prompt is from a file */
};

/* What the tools of one session share. */
struct tool_env {
    struct corpus *corpus;          /* pages of the embedded tasks */
    struct search_cache *cache;     /* recorded searches; NULL: none */
    int max_pages;                  /* of a search result */
    int max_chars;                  /* of a page */
};

/* Appends the result of query[n] to out; a result that begins with "error: " counts as failed unless tools_status says
 * otherwise. Called from several threads at once; must depend on its arguments alone and must terminate. */
typedef void tool_function(const struct tool_env *env, const struct tool_caller *who, const char *query, size_t n,
                           struct str *out);

struct tool {
    const char *name;               /* in calls, metrics and dumps */
    const char *open, *close;       /* tags around a query */
    const char *description;        /* for the model */
    const char *argument;           /* name of the one argument, a string */
    const char *argument_description;
    tool_function *run;
    bool in_process;                /* terminates after work bounded by its input: no timeout */
    bool recorded;                  /* can be answered from a record: hits and misses are counted */
    bool bonus;                     /* counts for reward.tool_bonus */
};
struct tool_table { const struct tool *row; int n; };

/* The program's tools. Chosen by the linker: a test that defines a tool_table of its own runs with that one. */
extern const struct tool_table tool_table;
