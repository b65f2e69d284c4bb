/* simt_runtime.h: the few calls of the CUDA runtime that kernels/cuda makes. Device memory is the process's own, filled
 * with 0xff (NaN) when allocated; what is "asynchronous" has happened when the call returns, unless its stream is being
 * captured: then it is kept as a closure and happens at each launch of the graph; or unless its stream is late or has
 * something left that waits (simt_stream.cpp). Calls that a real capture rejects (allocating, waiting, memory that is
 * not pinned) are rejected here and invalidate the capture. */
#pragma once
#include <functional>

typedef enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
} cudaError_t;
typedef struct simt_stream *cudaStream_t;
typedef struct simt_event *cudaEvent_t;
typedef struct simt_graph *cudaGraph_t, *cudaGraphExec_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
struct cudaFuncAttributes { int binaryVersion; };
struct cudaUUID_t { char bytes[16]; };
struct cudaDeviceProp {
    char name[256];
    cudaUUID_t uuid;
    int major, minor, multiProcessorCount;
    size_t sharedMemPerBlockOptin;
};

/* The GPU that is emulated, for tests of rejected GPUs: words of APPO_SIMT_GPU, read at the first call, separated by
 * commas:
 * none (no device), late (work on every stream but the first happens when it is waited for and no earlier),
 * old-driver, cc=MAJOR.MINOR, memory=BYTES (default 140 GiB), devices=N (default 8, of which CUDA_VISIBLE_DEVICES
 * leaves some), lost=N (the N-th copy from now on fails, and every call after it). */

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int d);
cudaError_t cudaGetDevice(int *d);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int d);
cudaError_t cudaGetLastError();
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *left, size_t *total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t *e);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e);
template <class F> static inline cudaError_t cudaFuncSetAttribute(F *, int, int) { return cudaSuccess; }
/* There is code for 8.x and 9.0, as in the Makefile's build by nvcc. */
cudaError_t simt_code(cudaFuncAttributes *a);
template <class F> static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, F *) { return simt_code(a); }

/* Work of a stream: done now, or kept by the capture that is under way, or done when what is left before it is. */
void simt_do(cudaStream_t s, std::function<void()> work);
/* Whether streams made from now on are late. */
bool simt_late();
/* The clock of events advances only by the durations that work declares, so that choices by time are the same in every
 * run. */
void simt_passes(double ms);
/* True, and the capture invalidated, where this thread captures: the call cannot be part of a graph. */
bool simt_rejects();
/* Whether s is being captured; invalidates nothing. */
bool simt_capturing(cudaStream_t s);
/* What a call that waits returns at once: it is captured, or the GPU is lost. */
cudaError_t simt_waits();
