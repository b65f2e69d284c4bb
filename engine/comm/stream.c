/* stream.c: the thread that alone calls MPI, and its queue. It sleeps while nothing is queued. */
#include "engine/comm/comm_in.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more, done;
    pthread_t thread;
    struct op *first;
    struct op *last;
    int64_t queued;                     /* numbers of the operations put last and done last */
    int64_t ended;
    bool stop;
} stream = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };

static struct op *next_op(void)
{
    pthread_mutex_lock(&stream.lock);
    while (!stream.first && !stream.stop) pthread_cond_wait(&stream.more, &stream.lock);
    struct op *o = stream.first;
    if (o) stream.first = o->next;
    if (!stream.first) stream.last = NULL;
    pthread_mutex_unlock(&stream.lock);
    return o;
}

static void *run(void *arg)
{
    (void)arg;
    struct op *o;
    prctl(PR_SET_NAME, "appo comm");
    prctl(PR_SET_TIMERSLACK, 5000UL);                    /* ns: its waits are of 20 us and more (collective.c) */
    while ((o = next_op())) {
        ring_begin(o->number, o->kind, (int64_t)o->bytes);
        collective_run(o);
        ring_end(o->number);
        pthread_mutex_lock(&stream.lock);
        stream.ended = o->number;
        pthread_cond_broadcast(&stream.done);
        pthread_mutex_unlock(&stream.lock);
        free(o->begin);
        free(o->in_begin);
        free(o);
    }
    return NULL;
}

/* Signals are for the main thread. */
void thread_start(pthread_t *thread, void *(*f)(void *))
{
    sigset_t all, was;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    if (pthread_create(thread, NULL, f, NULL)) die("a thread could not be started");
    pthread_sigmask(SIG_SETMASK, &was, NULL);
}

void stream_start(void)
{
    stream.stop = false;
    thread_start(&stream.thread, run);
}

void stream_stop(void)
{
    pthread_mutex_lock(&stream.lock);
    stream.stop = true;
    pthread_cond_signal(&stream.more);
    pthread_mutex_unlock(&stream.lock);
    pthread_join(stream.thread, NULL);
}

static size_t *copy_of(const size_t *begin)
{
    const size_t bytes = ((size_t)comm_ranks() + 1) * sizeof *begin;
    return begin ? memcpy(xmalloc(bytes), begin, bytes) : NULL;
}

int64_t stream_put(const struct op *given)
{
    struct op *o = xmalloc(sizeof *o);
    *o = *given;
    o->begin = copy_of(given->begin);
    o->in_begin = copy_of(given->in_begin);
    o->next = NULL;
    pthread_mutex_lock(&stream.lock);
    const int64_t number = o->number = stream.queued = ring_number();
    if (stream.last) stream.last->next = o;
    else stream.first = o;
    stream.last = o;
    pthread_cond_signal(&stream.more);
    pthread_mutex_unlock(&stream.lock);
    return number;
}

int64_t stream_last(void) { return stream.queued; }

void stream_wait(int64_t number)
{
    pthread_mutex_lock(&stream.lock);
    while (stream.ended < number) pthread_cond_wait(&stream.done, &stream.lock);
    pthread_mutex_unlock(&stream.lock);
}
