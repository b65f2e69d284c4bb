/* dev.cu: the GPU as a device: streams, memory, copies. Host-to-device copies go through a ring of pinned memory, so
 * that the host does not wait: a copy from pageable memory would first wait for the whole stream. */
#include "kernels/cuda/num.cuh"
#include <stdlib.h>
#include <string.h>

/* A half of the ring holds what a micro-batch of 64 k tokens sends (ids, positions, targets, coefficients: 40 bytes a
 * token) twice over. */
enum { RING_HALF = 8 << 20, RING_PIECE = 1 << 20, LANDING = 1 << 20, HOST_PIECES = 16 };

static struct {
    bool open;
    cudaStream_t stream, side[DEV_QUEUES];      /* side[DEV_MAIN] == stream */
    cudaEvent_t order;
    struct { char *p; size_t bytes; } host[HOST_PIECES];
    char name[256];
    char *ring, *landing;           /* pinned; landing: for copies to the host */
    size_t at;                      /* next free byte of the ring */
    cudaEvent_t half_done[2];       /* recorded when a half of the ring was left */
    bool half_busy[2];              /* left, and no sync since */
    struct dev_counts count;
} dev;

int gpu_count(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

void gpu_choose(int device)
{
    int d;
    if (dev.open && cudaGetDevice(&d) == cudaSuccess && d != device)
        die("GPU %d is in use already, and %d is to be used", d, device);
    CU(cudaSetDevice(device));
}

/* One message for each reason why there is no usable GPU. */
static void no_gpu(cudaError_t e)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (e == cudaErrorInsufficientDriver && driver)
        die("the NVIDIA driver is too old: it runs CUDA up to %d.%d, this build needs %d.%d. Install a newer driver, "
            "or build with an older toolkit; "
            "make BACKEND=cpu needs neither",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    die("no NVIDIA GPU can be used: %s (%s). nvidia-smi shows what the driver sees; make BACKEND=cpu builds for no GPU",
        cudaGetErrorString(e), driver ? "a driver is there" : "no driver is loaded");
}

__global__ void probe_kernel() { }

static void dev_open(void)
{
    int d;
    cudaDeviceProp p;
    cudaFuncAttributes code;
    cudaError_t e = cudaGetDevice(&d);
    if (e == cudaSuccess) e = cudaGetDeviceProperties(&p, d);
    if (e != cudaSuccess) no_gpu(e);
    if (cudaFuncGetAttributes(&code, probe_kernel) != cudaSuccess)
        die("%s has compute capability %d.%d, for which this build has no code: make BACKEND=cuda GPUS='-gencode "
            "arch=compute_%d%d,code=sm_%d%d' (8.0 or later), or "
            "make BACKEND=cpu",
            p.name, p.major, p.minor, p.major, p.minor, p.major, p.minor);
    memcpy(dev.name, p.name, sizeof dev.name);
    for (int q = 0; q < DEV_QUEUES; q++) CU(cudaStreamCreateWithFlags(&dev.side[q], cudaStreamNonBlocking));
    CU(cudaEventCreateWithFlags(&dev.order, cudaEventDisableTiming));
    dev.stream = dev.side[DEV_MAIN];
    CU(cudaMallocHost((void **)&dev.ring, 2 * RING_HALF + LANDING));
    dev.landing = dev.ring + 2 * RING_HALF;
    for (int i = 0; i < 2; i++) CU(cudaEventCreateWithFlags(&dev.half_done[i], cudaEventDisableTiming));
    dev.open = true;
}

cudaStream_t queue(void)
{
    if (!dev.open) dev_open();
    return dev.stream;
}

/* Not inside a CUDA graph capture: the copies would be repeated from memory that holds something else by then. */
static void not_capturing(const char *what)
{
    if (capturing()) die("%s inside a CUDA graph capture", what);
}

void *dev_alloc(size_t bytes)
{
    void *p = nullptr;
    queue();
    not_capturing("dev_alloc");
    dev.count.allocs++;
    if (cudaMalloc(&p, bytes ? bytes : 1) == cudaSuccess) return p;
    size_t left = 0, total = 0;
    (void)cudaGetLastError();
    CU(cudaMemGetInfo(&left, &total));
    die("out of GPU memory: %zu bytes asked for, %zu of %zu free on %s", bytes, left, total, dev.name);
}

static void (*after_wait)(void);
void queue_check(void (*check)(void)) { after_wait = check; }

/* The stream is idle: both halves of the ring are free. */
static void synced(void)
{
    if (after_wait) after_wait();
    dev.count.syncs++;
    dev.half_busy[0] = dev.half_busy[1] = false;
}

void dev_commit(void *p, size_t bytes) { (void)p; (void)bytes; }

void dev_free(void *p)
{
    if (!p) return;
    dev_sync();
    CU(cudaFree(p));
}

/* Room for `bytes` in the ring. A half is entered again only when the copies out of it are done. */
static char *ring_room(size_t bytes)
{
    size_t half = dev.at / RING_HALF;
    if (dev.at + bytes > (half + 1) * RING_HALF) {
        CU(cudaEventRecord(dev.half_done[half], dev.stream));
        dev.half_busy[half] = true;
        half = 1 - half;
        if (dev.half_busy[half]) {
            CU(cudaEventSynchronize(dev.half_done[half]));
            dev.half_busy[half] = false;
            dev.count.syncs++;
        }
        dev.at = half * RING_HALF;
    }
    char *p = dev.ring + dev.at;
    dev.at += (bytes + 63) / 64 * 64;
    /* full: the next copy changes halves */
    if (dev.at >= (half + 1) * RING_HALF) dev.at = (half + 1) * RING_HALF - 1;
    return p;
}

/* Whether p lies in memory of dev_host_alloc. */
static bool on_host(const void *p)
{
    for (int i = 0; i < HOST_PIECES; i++)
        if ((const char *)p >= dev.host[i].p && (const char *)p < dev.host[i].p + dev.host[i].bytes) return true;
    return false;
}

void dev_put(void *dst, const void *src, size_t bytes)
{
    cudaStream_t q = queue();
    if (dry_run()) return;
    not_capturing("dev_put");
    if (bytes && on_host(dst)) {
        dev_sync();
        memcpy(dst, src, bytes);
        return;
    }
    for (size_t at = 0; at < bytes; at += RING_PIECE) {
        size_t n = MIN(bytes - at, (size_t)RING_PIECE);
        const void *from = memcpy(ring_room(n), (const char *)src + at, n);
        CU(cudaMemcpyAsync((char *)dst + at, from, n, cudaMemcpyHostToDevice, q));
    }
}

/* Small results go through pinned memory, which the copy reaches without staging by the driver. */
void dev_get(void *dst, const void *src, size_t bytes)
{
    cudaStream_t q = queue();
    if (!bytes || dry_run()) return;
    not_capturing("dev_get");
    if (on_host(src)) {
        dev_sync();
        memcpy(dst, src, bytes);
        return;
    }
    CU(cudaMemcpyAsync(bytes <= LANDING ? dev.landing : dst, src, bytes, cudaMemcpyDeviceToHost, q));
    CU(cudaStreamSynchronize(q));
    synced();
    if (bytes <= LANDING) memcpy(dst, dev.landing, bytes);
}

static cudaMemcpyKind copy_kind(const void *dst, const void *src)
{
    return on_host(src) ? cudaMemcpyHostToDevice : on_host(dst) ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
}

void dev_copy(void *dst, const void *src, size_t bytes)
{
    cudaStream_t q = queue();
    if (bytes && !dry_run()) CU(cudaMemcpyAsync(dst, src, bytes, copy_kind(dst, src), q));
}

void dev_zero(void *p, size_t bytes)
{
    cudaStream_t q = queue();
    if (!bytes || dry_run()) return;
    if (on_host(p)) {
        dev_sync();
        memset(p, 0, bytes);
    } else CU(cudaMemsetAsync(p, 0, bytes, q));
}

void dev_sync(void)
{
    queue();
    for (int q = 0; q < DEV_QUEUES; q++) CU(cudaStreamSynchronize(dev.side[q]));
    synced();
}

void *dev_host_alloc(size_t bytes)
{
    void *p = nullptr;
    queue();
    not_capturing("dev_host_alloc");
    for (int i = 0; i < HOST_PIECES; i++) {
        if (dev.host[i].p) continue;
        if (cudaMallocHost(&p, bytes ? bytes : 1) != cudaSuccess)
            die("out of pinned host memory: %zu bytes asked for", bytes);
        memset(p, 0, bytes);
        dev.host[i] = { (char *)p, bytes };
        return p;
    }
    die("dev_host_alloc: more than %d pieces", HOST_PIECES);
}

void dev_host_free(void *p)
{
    if (!p) return;
    dev_sync();
    for (int i = 0; i < HOST_PIECES; i++)
        if (dev.host[i].p == p) dev.host[i] = { nullptr, 0 };
    CU(cudaFreeHost(p));
}

void dev_copy_on(enum dev_queue q, void *dst, const void *src, size_t bytes)
{
    queue();
    if (!bytes || dry_run()) return;
    not_capturing("dev_copy_on");
    CU(cudaMemcpyAsync(dst, src, bytes, copy_kind(dst, src), dev.side[q]));
}

/* The wait takes the event as it is now: the next record does not move it. */
void dev_order(enum dev_queue later, enum dev_queue earlier)
{
    queue();
    if (dry_run()) return;
    not_capturing("dev_order");
    CU(cudaEventRecord(dev.order, dev.side[earlier]));
    CU(cudaStreamWaitEvent(dev.side[later], dev.order, 0));
}

const char *dev_name(void)
{
    queue();
    return dev.name;
}

struct dev_counts dev_count(void)
{
    struct dev_counts c = dev.count;
    graph_counts(&c);
    return c;
}
int dev_threads(void) { return 1; }
void dev_set_threads(int) { }

bool exact_numerics(void)
{
    static int exact = -1;
    if (exact >= 0) return exact;
    const char *s = getenv("APPO_NUMERICS");
    if (!s || !*s) exact = sizeof(elem_t) == 4;
    else if (!strcmp(s, "exact")) exact = 1;
    else if (!strcmp(s, "fast")) exact = 0;
    else die("APPO_NUMERICS=%s: it is exact or fast", s);
    return exact;
}
