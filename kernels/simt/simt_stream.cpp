/* simt_stream.cpp: the queues and events of the shim. Work is done at once, in the thread that calls, until a stream is
 * handed work that must wait (simt_later: a collective, an event of such a stream); then a thread of the stream does
 * that and what is queued behind it, beside the thread that calls, as on a GPU. So a program that does not wait for
 * what it reads reads too early here too. */
#include "kernels/simt/simt_stream.h"
#include <chrono>
#include <memory>
#include <thread>

/* never destroyed: threads of streams may run until the process has ended */
static std::mutex &lock = *new std::mutex;
static std::condition_variable &moved = *new std::condition_variable;
static std::vector<simt_stream *> &streams = *new std::vector<simt_stream *>;
typedef std::unique_lock<std::mutex> locked;

/* longer than any deadline that a test sets: a wait in the runtime has none */
enum { FOREVER_S = 900 };
template <class F> static void wait(locked &l, const char *what, F done)
{
    if (!moved.wait_for(l, std::chrono::seconds(FOREVER_S), done)) die("simt: %s waits for ever", what);
}

static cudaError_t make(cudaStream_t *s, bool late)
{
    locked l(lock);
    streams.push_back(*s = new simt_stream());
    (*s)->late = late;
    return cudaSuccess;
}

/* The first one is the queue of all operations, which are waited for anyhow. */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    static bool first = true;
    const bool late = !first && simt_late();
    first = false;
    return make(s, late);
}
/* Never late: other processes wait for collectives. */
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned, int) { return make(s, false); }
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

static bool left(const simt_stream *s) { return s && s->done < s->given; }

/* Something waits for what s was given up to here. */
static void want(simt_stream *s, uint64_t given)
{
    if (!s || s->wanted >= given) return;
    s->wanted = given;
    moved.notify_all();
}

static void serve(simt_stream *s)
{
    locked l(lock);
    for (;;) {
        moved.wait(l, [=] { return s->ends || (left(s) && (!s->late || s->done < s->wanted)); });
        if (s->work.empty()) break;
        std::function<void()> next = std::move(s->work.front());
        s->work.pop_front();
        l.unlock();
        next();
        next = nullptr;
        l.lock();
        s->done++;
        moved.notify_all();
    }
    delete s;
}

static void push(simt_stream *s, std::function<void()> work)
{
    s->work.push_back(std::move(work));
    s->given++;
    if (!s->served) std::thread(serve, s).detach();
    s->served = true;
    moved.notify_all();
}

void simt_do(cudaStream_t s, std::function<void()> work)
{
    if (s && s->capture) {
        s->capture->work.push_back(std::move(work));
        return;
    }
    if (s) {
        locked l(lock);
        if (s->late || left(s)) {
            push(s, std::move(work));
            return;
        }
    }
    work();
}

void simt_later(cudaStream_t s, std::function<void()> work)
{
    locked l(lock);
    push(s, std::move(work));
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    if (simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    locked l(lock);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s) streams.erase(streams.begin() + (long)i--);
    s->ends = true;
    if (!s->served) delete s;
    moved.notify_all();
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    if (simt_waits() != cudaSuccess) return simt_waits();
    locked l(lock);
    want(s, s ? s->given : 0);
    return left(s) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (simt_waits() != cudaSuccess) return simt_waits();
    locked l(lock);
    want(s, s ? s->given : 0);
    wait(l, "cudaStreamSynchronize", [=] { return !left(s); });
    return cudaSuccess;
}

void simt_streams_wait()
{
    locked l(lock);
    for (simt_stream *s : streams) want(s, s->given);
    wait(l, "cudaFree", [] {
        for (const simt_stream *s : streams) if (left(s)) return false;
        return true;
    });
}

/* ---- events ---- */

/* One record of an event: when its stream has come to it, and where it stands there. An event that is recorded again
 * gets a new one; who waits for the old one still does. */
struct record { double ms; bool reached; simt_stream *s; uint64_t given; };
struct simt_event { std::shared_ptr<record> now; };
typedef std::shared_ptr<record> recorded;
static double clock_ms;

/* Whether the stream has come to it; it is wanted from now on. */
static bool come(const recorded &r)
{
    if (!r || r->reached) return true;
    want(r->s, r->given);
    return false;
}

void simt_passes(double ms)
{
    locked l(lock);
    clock_ms += ms;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { *e = new simt_event(); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return cudaEventCreate(e); }
cudaError_t cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    locked l(lock);
    *ms = (float)(to->now->ms - from->now->ms);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    recorded r = std::make_shared<record>();
    if (simt_capturing(s)) r->reached = true;           /* a graph's record is nothing to wait for from outside */
    {
        locked l(lock);
        r->s = s;
        r->given = s ? s->given + 1 : 0;
        e->now = r;
    }
    simt_do(s, [=] {
        locked l(lock);
        r->ms = clock_ms;
        r->reached = true;
        moved.notify_all();
    });
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    if (simt_waits() != cudaSuccess) return simt_waits();
    locked l(lock);
    return come(e->now) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (simt_waits() != cudaSuccess) return simt_waits();
    locked l(lock);
    wait(l, "cudaEventSynchronize", [=] { return come(e->now); });
    return cudaSuccess;
}

/* An event outside of a capture cannot be waited for inside one. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    if (simt_capturing(s) && simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    const recorded r = e->now;
    locked l(lock);
    if (!r || r->reached) return cudaSuccess;
    push(s, [=] {
        locked m(lock);
        wait(m, "a stream", [=] { return come(r); });
    });
    return cudaSuccess;
}
