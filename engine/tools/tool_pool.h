/* tool_pool.h: threads that run the tools while others decode. A tool that fails or is late is an observation for the
 * policy, never an error of the run. How a policy writes its calls, and how results come back to it:
 * engine/tools/tool_calls.h. */
#pragma once
#include "engine/tools/tool_table.h"

/* How a call ended. Of a search in recorded results: CALL_OK is a hit, CALL_NEAREST and CALL_NOT_RECORDED are
 * misses. */
enum call_status {
    CALL_NONE /* not run yet */,
    CALL_OK,
    CALL_NEAREST,
    CALL_NOT_RECORDED,
    CALL_FAILED,
    CALL_TIMEOUT,
    CALL_REJECTED /* over the limit, empty, unreadable */,
    CALL_STATUSES
};
/* "none", "ok", "nearest", "not_recorded", "failed", "timeout", "rejected" */
extern const char *const call_status_name[CALL_STATUSES];

/* run appends the result of query[n] to out. Called from several threads at once; must depend on (caller, query) alone.
 * in_process: the tools (1 << row number) that end by themselves after work that their input bounds; no clock counts for
 * them, so that what a policy sees never depends on the machine. Of any other tool a call that passes its time is
 * reported as late, and its thread is cancelled (pthread_cancel, deferred: at the next system call that waits, where
 * what run holds is given back by pthread_cleanup_push). One that does not wait anywhere asks tools_given_up() now and
 * then. recorded: searches are answered from a record; hits and misses are counted. */
typedef void tool_run(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                      struct str *out);
struct toolbox {
    tool_run *run;
    void *ctx;
    unsigned in_process;
    bool recorded;
};
/* Within run: what to call the result (else CALL_FAILED where it begins with "error: ", CALL_OK where not). Outside:
 * nothing. */
void tools_status(enum call_status status);
bool tools_given_up(void);              /* within run: nobody wants the result any more */

/* Threads. tag is the caller's name of a call. timeout_s counts from the moment a thread takes the call; <= 0: no
 * limit. */
struct tool_pool;
struct tool_done {
    int tag;
    enum call_status status;
    double begun, ended /* seconds() */;
    struct str text /* the caller's to free */;
};
struct tool_pool *tools_make(const struct toolbox *box, int threads, double timeout_s);
/* Cancels the calls that still run, those of in_process aside, for which it waits. NULL is fine. */
void tools_free(struct tool_pool *p);
void tools_call(struct tool_pool *p, int tag, struct tool_caller who, int tool, const char *query, size_t n);
/* The next call that is finished or over its time. Waits for one if wait and any is outstanding; false: none. */
bool tools_next(struct tool_pool *p, struct tool_done *d, bool wait);
/* Waits for late calls, whose results nobody wants, so that what they read may go: as long as most_s seconds, or half a
 * second where run_stop is set. Says on stderr how many it gave up waiting for; returns that number. */
int tools_drain(struct tool_pool *p, double most_s);
