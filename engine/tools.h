/* tools.h: threads that run the tools while others decode. A tool that fails or is late is an observation for the policy, never an error of the run.
 * How a policy writes its calls, and how results come back to it: engine/calls.h. */
#pragma once
#include "engine/calls.h"

struct episode;

/* Appends the result of query[n] to out. Called from several threads at once; must depend on (episode, query) alone and must return some day.
 * ep is a copy that has the keys, scope, user, lengths and counts; its arrays (ids, m, logp, entropy, call, kv.page) are NULL. */
struct toolbox { void (*run)(void *ctx, const struct episode *ep, enum tool tool, const char *query, size_t n, struct str *out); void *ctx; };

/* Threads. tag is the caller's name of a call. timeout_s counts from the moment a thread takes the call; <= 0: no limit. */
struct tool_pool;
struct tool_done { int tag; bool timeout; struct str text; };       /* text is the caller's to free */
struct tool_pool *tools_make(const struct toolbox *box, int threads, double timeout_s);
void tools_free(struct tool_pool *p);                               /* waits for calls still running, late ones too; NULL is fine */
void tools_call(struct tool_pool *p, int tag, const struct episode *ep, enum tool tool, const char *query, size_t n);
/* The next call that is finished or over its time. Waits for one if wait and any is outstanding; false: none. */
bool tools_next(struct tool_pool *p, struct tool_done *d, bool wait);
void tools_drain(struct tool_pool *p);                              /* waits for late calls, whose results nobody wants, so that what they read may go */
