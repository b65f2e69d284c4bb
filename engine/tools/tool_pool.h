/* tool_pool.h: threads that run the tools while other sequences decode. A tool that fails or is late is an observation
 * for the policy, never an error of the run. Call syntax and the tokens of results: engine/tools/tool_calls.h. */
#pragma once
#include "engine/tools/tool_table.h"

/* How a call ended. With recorded searches CALL_OK is a hit; CALL_NEAREST and CALL_NOT_RECORDED are misses. */
enum call_status {
    CALL_NONE,                      /* not run yet */
    CALL_OK,
    CALL_NEAREST,
    CALL_NOT_RECORDED,
    CALL_FAILED,
    CALL_TIMEOUT,
    CALL_REJECTED,                  /* over the limit, empty, unreadable */
    CALL_STATUSES
};
/* "none", "ok", "nearest", "not_recorded", "failed", "timeout", "refused" */
extern const char *const call_status_name[CALL_STATUSES];

/* Appends the result of query[n] to out. Called from several threads at once; must be a pure function of (caller, tool,
 * query) and must terminate. */
typedef void tool_run(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                      struct str *out);
/* A call of a tool outside of this process that passes its time is reported as late, and its thread is cancelled
 * (pthread_cancel, deferred: at the next system call that waits; pthread_cleanup_push releases what run holds). A run
 * function that waits nowhere polls tools_cancelled(). */
struct toolbox {
    tool_run *run;
    void *ctx;
    unsigned in_process;            /* bit mask of struct tool's in_process, by row number: no timeout, so that results
                                     * never depend on the machine */
    bool recorded;                  /* searches are answered from a record; hits and misses are counted */
};
/* Within run: sets the status of the result. Default: CALL_FAILED if it begins with "error: ", else CALL_OK. No effect
 * elsewhere. */
void tools_status(enum call_status status);
/* Within run: whether the call was cancelled, so that its result will be dropped. */
bool tools_cancelled(void);

struct tool_pool;
struct tool_done {
    int tag;                        /* the caller's number for the call */
    enum call_status status;
    double begun, ended;            /* seconds() */
    struct str text;                /* the caller frees it */
};
/* timeout_s counts from the moment a thread takes the call; <= 0: no limit. */
struct tool_pool *tools_make(const struct toolbox *box, int threads, double timeout_s);
/* Cancels the running calls; waits for those of in_process. NULL is fine. */
void tools_free(struct tool_pool *p);
void tools_call(struct tool_pool *p, int tag, struct tool_caller who, int tool, const char *query, size_t n);
/* The next call that has finished or passed its time. Waits for one if wait and any is outstanding; false: none. */
bool tools_next(struct tool_pool *p, struct tool_done *d, bool wait);
/* Waits for late calls, so that what they read can be freed: at most most_s seconds, or half a second once run_stop is
 * set. Returns how many still run, and reports that number on stderr. */
int tools_drain(struct tool_pool *p, double most_s);
