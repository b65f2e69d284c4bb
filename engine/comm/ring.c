/* ring.c: a ring of the last operations. The stream's thread writes, the watch's thread reads. */
#include "engine/comm/comm_in.h"
#include "base/arith.h"
#include "base/clock.h"
#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    struct ring_op op[RING];
    int64_t begun;                      /* op[(begun - 1) % RING] is the newest */
    int64_t numbered;
    double zero;
    const char *doing;
    double doing_at;
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER, .doing = "starting" };

int64_t ring_number(void)
{
    pthread_mutex_lock(&ring.lock);
    const int64_t n = ++ring.numbered;
    pthread_mutex_unlock(&ring.lock);
    return n;
}

void ring_begin(int64_t number, enum comm_kind kind, int64_t bytes)
{
    pthread_mutex_lock(&ring.lock);
    if (ring.zero == 0) ring.zero = seconds();
    ring.op[ring.begun++ % RING] = (struct ring_op){ number, bytes, kind, 0, seconds() - ring.zero, 0 };
    pthread_mutex_unlock(&ring.lock);
}

static int64_t oldest(int64_t most) { return ring.begun > most ? ring.begun - most : 0; }

void ring_end(int64_t number)
{
    pthread_mutex_lock(&ring.lock);
    for (int64_t i = ring.begun - 1; i >= oldest(RING); i--) {
        struct ring_op *o = &ring.op[i % RING];
        if (o->number != number) continue;
        o->took = seconds() - ring.zero - o->at;
        o->ended = 1;
        break;
    }
    pthread_mutex_unlock(&ring.lock);
}

void ring_doing(const char *what)
{
    pthread_mutex_lock(&ring.lock);
    if (ring.doing != what) ring.doing_at = seconds();
    ring.doing = what;
    pthread_mutex_unlock(&ring.lock);
}

void ring_where(struct ring_at *at)
{
    memset(at, 0, sizeof *at);
    pthread_mutex_lock(&ring.lock);
    const struct ring_op *o = NULL;
    for (int64_t i = oldest(RING); i < ring.begun; i++) {
        o = &ring.op[i % RING];
        if (!o->ended) break;
    }
    if (o) *at = (struct ring_at){ .number = o->number, .bytes = o->bytes, .kind = o->kind, .inside = !o->ended };
    at->doing_s = ring.doing_at > 0 ? seconds() - ring.doing_at : 0;
    snprintf(at->doing, sizeof at->doing, "%s", ring.doing);
    pthread_mutex_unlock(&ring.lock);
}

int ring_last(struct ring_op *op)
{
    int n = 0;
    pthread_mutex_lock(&ring.lock);
    for (int64_t i = oldest(RING_SHOWN); i < ring.begun; i++) {
        op[n] = ring.op[i % RING];
        if (!op[n].ended) op[n].took = seconds() - ring.zero - op[n].at;
        n++;
    }
    pthread_mutex_unlock(&ring.lock);
    return n;
}

void ring_say(char *text, size_t n, int64_t number, enum comm_kind kind, int64_t bytes)
{
    static const char *const names[] = { "start", "barrier", "broadcast", "gather", "sum", "reduce-scatter",
                                         "exchange", "end" };
    const char *name = kind <= COMM_CLOSE ? names[kind] : "?";
    const double b = (double)bytes;
    if (bytes <= 0) snprintf(text, n, "operation %lld (%s)", (long long)number, name);
    else if (b < 1024) snprintf(text, n, "operation %lld (%s of %.0f bytes)", (long long)number, name, b);
    else if (b < 1048576) snprintf(text, n, "operation %lld (%s of %.1f KiB)", (long long)number, name, b / 1024);
    else snprintf(text, n, "operation %lld (%s of %.1f MiB)", (long long)number, name, b / 1048576);
}
