/* tool_pool.c: threads that run tools. A call that passes its time is reported at once; its thread is cancelled and
 * another one takes its place. The cancelled thread frees the late call when it ends. */
#include "engine/tools/tool_pool.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const call_status_name[CALL_STATUSES] = { "none",   "ok",      "nearest", "not_recorded",
                                                      "failed", "timeout", "refused" };

struct worker;

/* A job is in one list at a time: waiting, running or finished. A late job belongs to its thread alone. */
struct job {
    struct job *next;
    int tag;
    int tool;
    struct tool_caller who;
    char *query;
    size_t n;
    struct str out;
    double begun, ended, deadline;  /* deadline INFINITY: none */
    enum call_status status;
    atomic_bool late;
    struct worker *on;              /* while it runs */
};

struct jobs { struct job *first, **last; };

/* A thread. The pool's list has those that are not late; a late thread ends by itself. */
struct worker { struct worker *next; struct tool_pool *pool; pthread_t thread; struct job *job; };

/* LATE_MAX: with that many hanging threads that cannot be cancelled, late threads are no longer replaced. STACK: fixed,
 * independent of `ulimit -s`; the deepest tool, SQLite's full-text search, takes some 30 KiB. */
enum { LATE_MAX = 1024, STACK = 1 << 20 };

struct tool_pool {
    struct toolbox box;
    double timeout_s;
    pthread_mutex_t lock;
    /* for the threads: a job waits, or stop; for the caller: a job was taken or finished */
    pthread_cond_t work, news;
    struct jobs waiting, running, finished;
    struct worker *workers;
    int threads, late;              /* working or waiting for work; cancelled and not ended yet */
    bool stop;
};

static _Thread_local struct job *here;      /* the call this thread runs */

void tools_status(enum call_status status) { if (here) here->status = status; }
bool tools_cancelled(void) { return here && atomic_load(&here->late); }

static void jobs_make(struct jobs *q) { q->first = NULL; q->last = &q->first; }

static void jobs_put(struct jobs *q, struct job *j)
{
    j->next = NULL;
    *q->last = j;
    q->last = &j->next;
}

static void jobs_take(struct jobs *q, struct job *j)
{
    struct job **at = &q->first;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    if (q->last == &j->next) q->last = at;
}

static void job_free(struct job *j)
{
    str_free(&j->out);
    free(j->query);
    free(j);
}

/* Cleanup of a thread: the pool stops, or its late call has returned or was cancelled. The lock is not held. */
static void worker_end(void *arg)
{
    struct worker *w = arg;
    struct tool_pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    if (w->job) {                                   /* late: no longer in the list of workers */
        job_free(w->job);
        p->late--;
    } else {
        struct worker **at = &p->workers;
        while (*at != w) at = &(*at)->next;
        *at = w->next;
        p->threads--;
    }
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
    free(w);
}

static enum call_status status_of(const struct job *j)
{
    if (j->status != CALL_NONE) return j->status;
    return j->out.n >= 7 && !memcmp(j->out.p, "error: ", 7) ? CALL_FAILED : CALL_OK;
}

/* Runs a job of the list `running`. The lock is held before and after, not meanwhile. */
static void run_job(struct worker *w, struct job *j)
{
    struct tool_pool *p = w->pool;
    bool timed = isfinite(j->deadline);
    w->job = j;
    j->on = w;
    pthread_mutex_unlock(&p->lock);
    here = j;
    if (timed) pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    p->box.run(p->box.ctx, &j->who, j->tool, j->query, j->n, &j->out);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    here = NULL;
    pthread_mutex_lock(&p->lock);
    if (atomic_load(&j->late)) return;
    w->job = NULL;
    jobs_take(&p->running, j);
    j->ended = seconds();
    j->status = j->ended > j->deadline ? CALL_TIMEOUT : status_of(j);
    if (j->status == CALL_TIMEOUT) str_clear(&j->out);
    jobs_put(&p->finished, j);
    pthread_cond_broadcast(&p->news);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct tool_pool *p = w->pool;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cleanup_push(worker_end, w);
    pthread_mutex_lock(&p->lock);
    while (!w->job) {
        struct job *j = p->waiting.first;
        if (!j && p->stop) break;
        if (!j) { pthread_cond_wait(&p->work, &p->lock); continue; }
        jobs_take(&p->waiting, j);
        j->begun = seconds();
        j->deadline =
            p->timeout_s > 0 && !(p->box.in_process >> j->tool & 1) ? j->begun + p->timeout_s : (double)INFINITY;
        jobs_put(&p->running, j);
        pthread_cond_broadcast(&p->news);           /* wait_news has a new deadline */
        run_job(w, j);
    }
    pthread_mutex_unlock(&p->lock);
    pthread_cleanup_pop(1);
    return NULL;
}

/* The lock is held. */
static void thread_start(struct tool_pool *p)
{
    pthread_attr_t how;
    struct worker *w = xcalloc(1, sizeof *w);
    w->pool = p;
    pthread_attr_init(&how);
    pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&how, STACK);
    if (p->late < LATE_MAX && !pthread_create(&w->thread, &how, work, w)) {
        w->next = p->workers;
        p->workers = w;
        p->threads++;
    } else {
        free(w);
    }
    pthread_attr_destroy(&how);
}

struct tool_pool *tools_make(const struct toolbox *box, int threads, double timeout_s)
{
    ENSURE(threads > 0 && box && box->run);
    struct tool_pool *p = xcalloc(1, sizeof *p);
    pthread_condattr_t clock;
    p->box = *box;
    p->timeout_s = timeout_s;
    jobs_make(&p->waiting);
    jobs_make(&p->running);
    jobs_make(&p->finished);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, &clock);
    pthread_cond_init(&p->news, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < threads; i++) thread_start(p);
    pthread_mutex_unlock(&p->lock);
    if (!p->threads) die("the system starts no thread; %d are wanted for tools", threads);
    return p;
}

static void jobs_free(struct jobs *q)
{
    while (q->first) {
        struct job *j = q->first;
        jobs_take(q, j);
        job_free(j);
    }
}

/* Cancels the thread of a late job. The lock is held. */
static void cancel(struct tool_pool *p, struct job *j)
{
    struct worker *w = j->on, **at = &p->workers;
    jobs_take(&p->running, j);
    atomic_store(&j->late, true);
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    p->threads--;
    p->late++;
    pthread_cancel(w->thread);                      /* it cannot have ended: ending takes the lock */
}

static void wait_until(struct tool_pool *p, double until)
{
    struct timespec t = { .tv_sec = (time_t)until };
    t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
    pthread_cond_timedwait(&p->news, &p->lock, &t);
}

/* The pool is not freed while a late thread runs, because the thread reads it when it ends. */
void tools_free(struct tool_pool *p)
{
    if (!p) return;
    double until = seconds() + 2;
    pthread_mutex_lock(&p->lock);
    jobs_free(&p->waiting);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    for (struct job *j = p->running.first, *next; j; j = next) {
        next = j->next;
        if (isfinite(j->deadline)) cancel(p, j);
    }
    while (p->threads) pthread_cond_wait(&p->news, &p->lock);
    while (p->late && seconds() < until) wait_until(p, until);
    jobs_free(&p->finished);
    bool kept = p->late > 0;
    pthread_mutex_unlock(&p->lock);
    if (kept) return;
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->news);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void tools_call(struct tool_pool *p, int tag, struct tool_caller who, int tool, const char *query, size_t n)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->tag = tag;
    j->tool = tool;
    j->who = who;
    j->query = xmalloc(n + 1);
    memcpy(j->query, query, n);
    j->query[n] = 0;
    j->n = n;
    pthread_mutex_lock(&p->lock);
    jobs_put(&p->waiting, j);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* Reports a call that passed its time: a running one, or a waiting one if every thread is lost. */
static bool over_time(struct tool_pool *p, struct tool_done *d)
{
    double t = seconds();
    struct job *j = p->running.first;
    while (j && t <= j->deadline) j = j->next;
    if (j) {
        *d = (struct tool_done){ .tag = j->tag, .status = CALL_TIMEOUT, .begun = j->begun, .ended = t };
        cancel(p, j);
        thread_start(p);
        return true;
    }
    j = p->waiting.first;
    if (j && !p->threads) thread_start(p);          /* LATE_MAX may have prevented it before */
    if (!j || p->threads) return false;
    *d = (struct tool_done){ .tag = j->tag, .status = CALL_TIMEOUT, .begun = t, .ended = t };
    jobs_take(&p->waiting, j);
    job_free(j);
    return true;
}

static void wait_news(struct tool_pool *p)
{
    double first = (double)INFINITY;
    for (const struct job *j = p->running.first; j; j = j->next) first = fmin(first, j->deadline);
    if (isfinite(first)) wait_until(p, first + 1e-4);       /* wake up after the deadline, not at it */
    else pthread_cond_wait(&p->news, &p->lock);
}

bool tools_next(struct tool_pool *p, struct tool_done *d, bool wait)
{
    bool got = false;
    *d = (struct tool_done){ 0 };
    pthread_mutex_lock(&p->lock);
    while (!got) {
        struct job *j = p->finished.first;
        if (j) {
            jobs_take(&p->finished, j);
            *d = (struct tool_done){
                .tag = j->tag, .status = j->status, .begun = j->begun, .ended = j->ended, .text = j->out
            };
            j->out = (struct str){ 0 };
            job_free(j);
            got = true;
        } else if (over_time(p, d)) {
            got = true;
        } else if (wait && (p->waiting.first || p->running.first)) {
            wait_news(p);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return got;
}

int tools_drain(struct tool_pool *p, double most_s)
{
    double start = seconds(), until = start + most_s;
    pthread_mutex_lock(&p->lock);
    while (p->late && seconds() < until) {
        if (run_stop) until = fmin(until, start + 0.5);     /* enough for calls that can be cancelled */
        wait_until(p, fmin(until, seconds() + 0.1));
    }
    int late = p->late;
    pthread_mutex_unlock(&p->lock);
    if (late)
        fprintf(stderr, "%d tool calls passed their time and still run; they are not waited for any longer\n", late);
    return late;
}
