/* cases_nccl.cu: calls of NCCL that the library rejects, or answers with a wait without end or with wrong bytes: the
 * shim's must reject them by name. One rank, whose communicator blocks. */
#include "kernels/cuda/simt.h"
#include "tests/simt/cases.h"
#include <nccl.h>

enum { N = 64 };
struct one { ncclComm_t c; float *x; cudaStream_t s; };

static const struct { const char *words; ncclResult_t result; ncclResult_t (*call)(const one &); } wrong_calls[] = {
    { "outside of a group", ncclInvalidArgument,
      [](const one &o) { return ncclSend(o.x, N, ncclFloat32, 0, o.c, o.s); } },
    { "outside of a group", ncclInvalidArgument,
      [](const one &o) { return ncclRecv(o.x, N, ncclFloat32, 0, o.c, o.s); } },
    { "buffers overlap", ncclInvalidArgument,
      [](const one &o) { return ncclAllReduce(o.x, o.x + 1, N, ncclFloat32, ncclSum, o.c, o.s); } },
    { "buffers overlap", ncclInvalidArgument,
      [](const one &o) { return ncclAllGather(o.x, o.x + N - 1, N, ncclFloat32, o.c, o.s); } },
    { "not device memory", ncclInvalidArgument,
      [](const one &o) { return ncclAllReduce(o.x, o.x, 2 * N + 1, ncclFloat32, ncclSum, o.c, o.s); } },
    { "root or peer", ncclInvalidArgument,
      [](const one &o) { return ncclBroadcast(o.x, o.x, N, ncclFloat32, 1, o.c, o.s); } },
    { "sums of float and double alone", ncclInvalidArgument,
      [](const one &o) { return ncclReduce(o.x, o.x, N, ncclInt32, ncclSum, 0, o.c, o.s); } },
    { "no such type", ncclInvalidArgument,
      [](const one &o) { return ncclBroadcast(o.x, o.x, N, (ncclDataType_t)77, 0, o.c, o.s); } },
    { "not in a group", ncclInvalidUsage, [](const one &) { return ncclGroupEnd(); } },
    { "ranks are out of range", ncclInvalidArgument,
      [](const one &) { ncclComm_t c; return ncclCommInitRank(&c, 2, ncclUniqueId(), 2); } },
    { "the process that made the id", ncclSystemError,
      [](const one &) { ncclComm_t c; return ncclCommInitRank(&c, 1, ncclUniqueId(), 0); } },
};

static const char *named(const char *got, ncclResult_t r, const char *words, ncclResult_t want)
{
    static char text[300];
    if (r == want && strstr(got, words)) return nullptr;
    snprintf(text, sizeof text, "result %d '%s', not %d '%s'", r, got, want, words);
    return text;
}

extern "C" const char *case_nccl(void)
{
    one o = { nullptr, nullptr, queue() };
    ncclUniqueId id;
    if (ncclGetUniqueId(&id) || ncclCommInitRank(&o.c, 1, id, 0)) return "no communicator";
    CU(cudaMalloc((void **)&o.x, 2 * N * sizeof *o.x));
    const char *wrong = nullptr;
    for (const auto &w : wrong_calls) {
        const ncclResult_t r = w.call(o);
        if (!wrong) wrong = named(ncclGetLastError(nullptr), r, w.words, w.result);
    }
    cudaGraph_t g;
    CU(cudaStreamBeginCapture(o.s, cudaStreamCaptureModeThreadLocal));
    ncclResult_t r = ncclAllReduce(o.x, o.x, N, ncclFloat32, ncclSum, o.c, o.s);
    if (!wrong) wrong = named(ncclGetLastError(nullptr), r, "captures no collectives", ncclInvalidArgument);
    CU(cudaStreamEndCapture(o.s, &g));
    CU(cudaGraphDestroy(g));
    ncclCommAbort(o.c);
    r = ncclAllReduce(o.x, o.x, N, ncclFloat32, ncclSum, o.c, o.s);
    if (!wrong) wrong = named(ncclGetLastError(nullptr), r, "destroyed or aborted", ncclInvalidArgument);
    CU(cudaFree(o.x));
    return wrong;
}
