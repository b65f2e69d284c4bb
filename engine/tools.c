/* tools.c: the threads that run tools. A call that passes its time is reported at once and its thread is given up on: another
 * takes its place, and the late result is freed by the thread itself when it comes. */
#include "engine/tools.h"
#include "base/clock.h"
#include "engine/episode.h"
#include "base/err.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A job belongs to one list at a time: waiting, running, finished; or, late, to its thread alone. */
struct job {
    struct job *next;
    int tag;
    enum tool tool;
    struct episode ep;
    char *query;
    size_t n;
    struct str out;
    double deadline;
    bool timeout, late;
};

struct jobs { struct job *first, **last; };

enum { THREADS_MAX = 1024 };        /* with those given up on; at that many no other takes their place */

struct tool_pool {
    struct toolbox box;
    double timeout_s;
    pthread_mutex_t lock;
    pthread_cond_t work, news;      /* for the threads: a job waits, or stop; for the caller: a job was taken or finished */
    struct jobs waiting, running, finished;
    pthread_t thread[THREADS_MAX];
    int threads, late;              /* ever made; given up on and still at work (they end when they come back) */
    int lost;                       /* threads that were given up on at any time */
    bool stop;
};

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

static void *worker(void *arg)
{
    struct tool_pool *p = arg;
    bool late = false;
    pthread_mutex_lock(&p->lock);
    while (!late) {
        struct job *j = p->waiting.first;
        if (!j && p->stop) break;
        if (!j) { pthread_cond_wait(&p->work, &p->lock); continue; }
        jobs_take(&p->waiting, j);
        j->deadline = seconds() + p->timeout_s;
        jobs_put(&p->running, j);
        pthread_cond_broadcast(&p->news);           /* there is a deadline to wait for */
        pthread_mutex_unlock(&p->lock);
        p->box.run(p->box.ctx, &j->ep, j->tool, j->query, j->n, &j->out);
        pthread_mutex_lock(&p->lock);
        late = j->late;
        if (late) {
            job_free(j);
            p->late--;
        } else {
            jobs_take(&p->running, j);
            j->timeout = p->timeout_s > 0 && seconds() > j->deadline;
            jobs_put(&p->finished, j);
        }
        pthread_cond_broadcast(&p->news);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void thread_start(struct tool_pool *p)
{
    if (p->threads == THREADS_MAX) return;
    if (!pthread_create(&p->thread[p->threads], NULL, worker, p)) p->threads++;
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
    if (!p->threads) die("the system lets no thread start, of %d for tools", threads);
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

void tools_free(struct tool_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    jobs_free(&p->waiting);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->threads; i++) pthread_join(p->thread[i], NULL);
    jobs_free(&p->finished);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->news);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void tools_call(struct tool_pool *p, int tag, const struct episode *ep, enum tool tool, const char *query, size_t n)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->tag = tag;
    j->tool = tool;
    j->ep = *ep;
    j->ep.ids = NULL;
    j->ep.m = NULL;
    j->ep.logp = j->ep.entropy = NULL;
    j->ep.call = NULL;
    j->ep.kv = (struct kv_seq){ 0 };
    j->query = xmalloc(n + 1);
    memcpy(j->query, query, n);
    j->query[n] = 0;
    j->n = n;
    pthread_mutex_lock(&p->lock);
    jobs_put(&p->waiting, j);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* A call whose time is over: one that runs, or, when every thread is lost, one that never will. Its job is a thread's, or freed. */
static bool over_time(struct tool_pool *p, int *tag)
{
    if (p->timeout_s <= 0) return false;
    double t = seconds();
    for (struct job *j = p->running.first; j; j = j->next)
        if (t > j->deadline) {
            *tag = j->tag;
            jobs_take(&p->running, j);
            j->late = true;
            p->late++;
            p->lost++;
            thread_start(p);
            return true;
        }
    struct job *j = p->waiting.first;
    if (!j || p->threads > p->lost) return false;
    *tag = j->tag;
    jobs_take(&p->waiting, j);
    job_free(j);
    return true;
}

static void wait_news(struct tool_pool *p)
{
    double first = 0;
    for (const struct job *j = p->running.first; j; j = j->next)
        if (p->timeout_s > 0 && (first == 0 || j->deadline < first)) first = j->deadline;
    if (first == 0) {
        pthread_cond_wait(&p->news, &p->lock);
        return;
    }
    first += 1e-4;                              /* so that waking up is past the deadline, not at it */
    struct timespec until = { .tv_sec = (time_t)first };
    until.tv_nsec = (long)((first - (double)until.tv_sec) * 1e9);
    pthread_cond_timedwait(&p->news, &p->lock, &until);
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
            *d = (struct tool_done){ .tag = j->tag, .timeout = j->timeout, .text = j->out };
            j->out = (struct str){ 0 };
            job_free(j);
            got = true;
        } else if (over_time(p, &d->tag)) {
            got = d->timeout = true;
        } else if (wait && (p->waiting.first || p->running.first)) {
            wait_news(p);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return got;
}

void tools_drain(struct tool_pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->late) {
        double until = seconds() + 10;
        struct timespec t = { .tv_sec = (time_t)until, .tv_nsec = 0 };
        if (pthread_cond_timedwait(&p->news, &p->lock, &t) == ETIMEDOUT && p->late)
            fprintf(stderr, "waiting for %d tool calls that are over their time and still run\n", p->late);
    }
    pthread_mutex_unlock(&p->lock);
}
