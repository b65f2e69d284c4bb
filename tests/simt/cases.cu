/* cases.cu: kernels for the test of the shim. The fault of each stands beside it. */
#include "tests/simt/cases.h"
#include "kernels/cuda/num.cuh"

enum { N = 256 };

__global__ void sum_kernel(int *out)
{
    __shared__ int part[N / 32], space[N];
    space[threadIdx.x] = (int)threadIdx.x;
    __syncthreads();
    int x = warp_sum(space[N - 1 - threadIdx.x]);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    for (int w = 0, all = 0; w < N / 32; w++) out[threadIdx.x] = all += part[w];
}

/* reads its neighbour's number without waiting for it */
__global__ void no_barrier_kernel(int *out)
{
    __shared__ int space[N];
    space[threadIdx.x] = (int)threadIdx.x;
    out[threadIdx.x] = space[(threadIdx.x + 1) % N];
}

__global__ void two_barriers_kernel(int *out)
{
    if (threadIdx.x < 32) {
        out[threadIdx.x] = 1;
        __syncthreads();
    } else {
        out[threadIdx.x] = 2;
        __syncthreads();
    }
}

__global__ void barrier_after_end_kernel(int *out)
{
    if (threadIdx.x == 5) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

__global__ void shuffle_after_end_kernel(int *out)
{
    if (threadIdx.x == 5) return;
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);
}

__global__ void shuffle_apart_kernel(int *out)
{
    if (threadIdx.x % 2) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 2);
    else out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 2);
}

__global__ void outside_mask_kernel(int *out)
{
    if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffu, (int)threadIdx.x, 16);
}

__global__ void not_in_mask_kernel(int *out) { out[threadIdx.x] = __shfl_xor_sync(0xffffu, (int)threadIdx.x, 1); }

/* relies on zeroed shared memory */
__global__ void stale_shared_kernel(int *out)
{
    __shared__ int fixed[N];
    SHARED_DYN(int, dyn);
    out[threadIdx.x] = fixed[threadIdx.x] == -1 && dyn[threadIdx.x] == -1;
    fixed[threadIdx.x] = dyn[threadIdx.x] = 0;
}

/* the last block to write wins */
__global__ void block_race_kernel(int *out) { out[threadIdx.x] = (int)blockIdx.x; }

static int *device(size_t n)
{
    int *p = (int *)dev_alloc(n * sizeof *p);
    dev_zero(p, n * sizeof *p);
    return p;
}

extern "C" const char *case_run(enum case_kind k, int order, int *out)
{
    static char said[512];
    const int was = simt_get_order();
    int *d = device(N);
    simt_set_order(order);
    simt_catch(true);
    switch (k) {
    case CASE_SUM:                 LAUNCH(sum_kernel, 1, N, 0, queue(), d); break;
    case CASE_NO_BARRIER:          LAUNCH(no_barrier_kernel, 1, N, 0, queue(), d); break;
    case CASE_TWO_BARRIERS:        LAUNCH(two_barriers_kernel, 1, N, 0, queue(), d); break;
    case CASE_BARRIER_AFTER_END:   LAUNCH(barrier_after_end_kernel, 1, N, 0, queue(), d); break;
    case CASE_SHUFFLE_AFTER_END:   LAUNCH(shuffle_after_end_kernel, 1, N, 0, queue(), d); break;
    case CASE_SHUFFLE_APART:       LAUNCH(shuffle_apart_kernel, 1, N, 0, queue(), d); break;
    case CASE_OUTSIDE_MASK:        LAUNCH(outside_mask_kernel, 1, N, 0, queue(), d); break;
    case CASE_NOT_IN_MASK:         LAUNCH(not_in_mask_kernel, 1, N, 0, queue(), d); break;
    case CASE_STALE_SHARED:        LAUNCH(stale_shared_kernel, 1, N, N * sizeof(int), queue(), d); break;
    case CASE_RACE_BETWEEN_BLOCKS: LAUNCH(block_race_kernel, 9, N, 0, queue(), d); break;
    default: die("no case %d", k);
    }
    const char *what = simt_caught();
    if (what) snprintf(said, sizeof said, "%s", what);
    simt_catch(false);
    simt_set_order(was);
    dev_get(out, d, N * sizeof *out);
    dev_free(d);
    return what ? said : nullptr;
}

__global__ void lanes_kernel(int *out)
{
    const int lane = (int)threadIdx.x, v = 100 + lane;
    const double acc_one = lane + 0.5;
    out[lane] = __shfl_xor_sync(0xffffffffu, v, 5);
    out[32 + lane] = __shfl_up_sync(0xffffffffu, v, 3);
    out[64 + lane] = __shfl_down_sync(0xffffffffu, v, 7);
    out[96 + lane] = __shfl_sync(0xffffffffu, v, 31 - lane);
    out[128 + lane] = (int)__ballot_sync(0xffffffffu, lane % 3 == 0);
    out[160 + lane] = __any_sync(0xffffffffu, lane == 9) * 2 + __any_sync(0xffffffffu, lane == 32);
    out[192 + lane] = __all_sync(0xffffffffu, lane < 32) * 2 + __all_sync(0xffffffffu, lane != 9);
    out[224 + lane] = (int)(2 * __shfl_xor_sync(0xffffffffu, acc_one, 1));
    if (lane < 8) out[256 + lane] = __shfl_xor_sync(0xffu, v, 1);
    else out[256 + lane] = __shfl_xor_sync(0xffffff00u, v, 1);
}

extern "C" void case_lanes(int out[LANE_ROWS][32])
{
    int *d = device(LANE_ROWS * 32);
    LAUNCH(lanes_kernel, 1, 32, 0, queue(), d);
    dev_get(out, d, LANE_ROWS * 32 * sizeof *d);
    dev_free(d);
}

extern "C" void case_odd_block(void)
{
    int *d = device(N);
    LAUNCH(block_race_kernel, 1, 33, 0, queue(), d);
}

__global__ void read_beyond_kernel(int *out, const int *in) { out[threadIdx.x] = in[threadIdx.x + 1]; }
extern "C" void case_read_beyond(void)
{
    int *to = device(64), *from = device(64);
    LAUNCH(read_beyond_kernel, 1, 64, 0, queue(), to, from);
}

__global__ void shared_beyond_kernel(int *out)
{
    SHARED_DYN(int, s);
    s[threadIdx.x + 1] = 0;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x + 1];
}
extern "C" void case_shared_beyond(void)
{
    int *d = device(64);
    LAUNCH(shared_beyond_kernel, 1, 64, 64 * sizeof(int), queue(), d);
}

__global__ void atomics_kernel(int *c)
{
    const int i = (int)(blockIdx.x * 32 + threadIdx.x);
    atomicAdd(c, 1);
    atomicMax(c + 1, i + 1);
    atomicMin(c + 2, -i - 1);
    atomicAdd((unsigned *)c + 3, 1u);
    atomicAdd((unsigned long long *)(c + 4), 1ull);
    for (int seen = c[6], was; ; seen = was)
        if ((was = atomicCAS(c + 6, seen, seen + 1)) == seen) break;
}

extern "C" int case_atomics(void)
{
    int *d = device(8), c[8];
    LAUNCH(atomics_kernel, 1000, 32, 0, queue(), d);
    dev_get(c, d, sizeof c);
    dev_free(d);
    return c[0] == c[1] && c[0] == -c[2] && c[0] == c[3] && c[0] == c[4] && c[5] == 0 && c[0] == c[6] ? c[0] : -1;
}

__global__ void add_kernel(int *out, int by) { out[threadIdx.x] += by; }

extern "C" const char *case_replay(void)
{
    int *d = device(32), out[32], by = 3;
    cudaGraph_t g;
    cudaGraphExec_t e;
    CU(cudaStreamBeginCapture(queue(), cudaStreamCaptureModeThreadLocal));
    LAUNCH(add_kernel, 1, 32, 0, queue(), d, by);
    by = 1000;                                                              /* too late */
    LAUNCH(add_kernel, 1, 32, 0, queue(), d, 1);
    CU(cudaStreamEndCapture(queue(), &g));
    dev_get(out, d, sizeof out);
    if (out[5] != 0) return "a captured launch ran";
    CU(cudaGraphInstantiate(&e, g, 0));
    CU(cudaGraphDestroy(g));
    for (int i = 0; i < 3; i++) CU(cudaGraphLaunch(e, queue()));
    CU(cudaGraphExecDestroy(e));
    dev_get(out, d, sizeof out);
    dev_free(d);
    return out[5] == 3 * (3 + 1) ? nullptr : "two launches played three times gave another sum";
}

/* The results of `wrong` within a capture, and of ending that capture, must be those of a real one. */
static const char *rejected(const char *what, cudaError_t (*wrong)(int *d))
{
    int *d = device(32);
    cudaGraph_t g;
    CU(cudaStreamBeginCapture(queue(), cudaStreamCaptureModeThreadLocal));
    const cudaError_t within = wrong(d), end = cudaStreamEndCapture(queue(), &g);
    dev_free(d);
    return within == cudaErrorStreamCaptureUnsupported && end == cudaErrorStreamCaptureInvalidated && !g ? nullptr
                                                                                                         : what;
}

extern "C" const char *case_rejected(void)
{
    static int host[32];
    const char *wrong = rejected("an allocation is captured", [](int *) { void *p; return cudaMalloc(&p, 4); });
    if (!wrong) wrong = rejected("a free is captured", [](int *d) { return cudaFree(d); });
    if (!wrong) wrong = rejected("a wait is captured", [](int *) { return cudaStreamSynchronize(queue()); });
    if (!wrong)
        wrong = rejected("a copy from ordinary memory is captured",
                        [](int *d) { return cudaMemcpyAsync(d, host, 4, cudaMemcpyHostToDevice, queue()); });
    return wrong;
}

static void replay_twice(void (*body)(void *))
{
    struct dev_graph *g = nullptr;
    int *d = device(32);
    for (int i = 0; i < 2; i++) dev_graph_run(&g, body, d);
    dev_graph_free(g);
    dev_free(d);
}
extern "C" void case_list_allocates(void) { replay_twice([](void *) { dev_free(dev_alloc(4)); }); }
extern "C" void case_list_puts(void) { replay_twice([](void *d) { int x = 1; dev_put(d, &x, sizeof x); }); }
extern "C" void case_list_gets(void) { replay_twice([](void *d) { int x; dev_get(&x, d, sizeof x); }); }
