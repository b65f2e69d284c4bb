/* simt_graph.cpp: captures and graphs of the shim. A graph is a list of closures in the order of the calls; they hold
 * addresses and sizes as they were at the capture, so a graph that outlives what it points to reads freed memory here
 * as it would on a GPU. */
#include "kernels/simt/simt_stream.h"

static thread_local simt_stream *mine;          /* the stream this thread captures */

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
    /* one by one: a stream with work left keeps them, and the graph may be gone when it comes to them */
    for (const std::function<void()> &f : e->work) simt_do(s, f);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) { delete e; return cudaSuccess; }
