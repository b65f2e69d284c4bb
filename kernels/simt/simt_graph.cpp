/* simt_graph.cpp: streams and graphs of the shim. A graph is a list of closures in the order of the calls; they hold
 * addresses and sizes as they were at the capture, so a graph that outlives what it points to reads freed memory here
 * as it would on a GPU. */
#include "kernels/cuda/simt.h"
#include <deque>
#include <vector>

struct simt_graph { std::vector<std::function<void()>> work; };
struct simt_stream {
    simt_graph *capture;
    bool spoilt, late;
    std::deque<std::function<void()>> kept;     /* late: not done yet */
    uint64_t done;
};

static thread_local simt_stream *mine;          /* the stream this thread captures */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    static bool first = true;
    *s = new simt_stream();
    (*s)->late = !first && simt_late();
    first = false;
    return cudaSuccess;
}

uint64_t simt_given(cudaStream_t s) { return s ? s->done + s->kept.size() : 0; }

void simt_catch_up(cudaStream_t s, uint64_t given)
{
    while (s && s->done < given && !s->kept.empty()) {
        const std::function<void()> work = std::move(s->kept.front());
        s->kept.pop_front();
        s->done++;
        work();
    }
}


void simt_do(cudaStream_t s, std::function<void()> work)
{
    if (s && s->capture) s->capture->work.push_back(std::move(work));
    else if (s && s->late) s->kept.push_back(std::move(work));
    else work();
}

bool simt_rejects()
{
    if (mine) mine->spoilt = true;
    return mine;
}

bool simt_capturing(cudaStream_t s) { return s && s->capture; }

cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status)
{
    *status = simt_capturing(s) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    if (!s || s->capture || mode != cudaStreamCaptureModeThreadLocal) return cudaErrorInvalidValue;
    s->capture = new simt_graph();
    s->spoilt = false;
    mine = s;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    if (mine != s) return cudaErrorInvalidValue;
    mine = nullptr;
    *g = s->capture;
    s->capture = nullptr;
    if (!s->spoilt) return cudaSuccess;
    delete *g;
    *g = nullptr;
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long)
{
    *e = new simt_graph(*g);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s)
{
    if (simt_capturing(s)) return cudaErrorStreamCaptureUnsupported;
    for (const std::function<void()> &f : e->work) f();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) { delete e; return cudaSuccess; }
