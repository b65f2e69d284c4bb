/* simt_runtime.cpp: the shim's CUDA runtime: device memory is the process's own, every allocation known, so that a
 * launch can be run twice. */
#include "kernels/cuda/simt.h"
#include "kernels/simt/simt_memory.h"
#include "kernels/simt/simt_stream.h"

struct piece { piece *next; char *p, *kept; size_t bytes; };
static piece *pieces;

static struct {
    bool read, none, old_driver, gone, late;
    int major = 9, minor = 0;
    size_t memory = (size_t)140 << 30, used;
    long lost;
    int devices = 8, mine;
    std::vector<int> visible;
} gpu;

/* The devices that CUDA_VISIBLE_DEVICES names, up to the first that there is not. */
static void read_visible()
{
    const char *s = getenv("CUDA_VISIBLE_DEVICES");
    for (int d = 0; !s && d < gpu.devices; d++) gpu.visible.push_back(d);
    while (s && *s) {
        char *end;
        const long d = strtol(s, &end, 10);
        if (end == s || d < 0 || d >= gpu.devices) break;
        gpu.visible.push_back((int)d);
        s = end + (*end == ',');
    }
}

static void read_gpu()
{
    if (gpu.read) return;
    gpu.read = true;
    const char *s = getenv("APPO_SIMT_GPU");
    for (; s && *s; s += strcspn(s, ","), s += *s == ',') {
        size_t bytes;
        if (!strncmp(s, "none", 4)) gpu.none = true;
        else if (!strncmp(s, "old-driver", 10)) gpu.old_driver = true;
        else if (!strncmp(s, "late", 4)) gpu.late = true;
        else if (sscanf(s, "memory=%zu", &bytes) == 1) gpu.memory = bytes;
        else if (sscanf(s, "cc=%d.%d", &gpu.major, &gpu.minor) != 2 && sscanf(s, "lost=%ld", &gpu.lost) != 1 &&
                 sscanf(s, "devices=%d", &gpu.devices) != 1)
            die("APPO_SIMT_GPU: %s", s);
    }
    read_visible();
}

/* The result of this call if the GPU is lost by now, or is lost with it. */
static cudaError_t copied()
{
    read_gpu();
    if (gpu.lost > 0 && --gpu.lost == 0) gpu.gone = true;
    return gpu.gone ? cudaErrorIllegalAddress : cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    default: return "invalid argument";
    }
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = 13000; return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version)
{
    read_gpu();
    *version = gpu.none ? 0 : gpu.old_driver ? 11040 : 13000;
    return cudaSuccess;
}
static cudaError_t usable()
{
    read_gpu();
    if (gpu.none || gpu.visible.empty()) return cudaErrorNoDevice;
    return gpu.old_driver ? cudaErrorInsufficientDriver : cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *n)
{
    const cudaError_t e = usable();
    *n = e == cudaSuccess ? (int)gpu.visible.size() : 0;
    return e;
}
cudaError_t cudaSetDevice(int d)
{
    const cudaError_t e = usable();
    if (e != cudaSuccess) return e;
    if (d < 0 || d >= (int)gpu.visible.size()) return cudaErrorInvalidDevice;
    if (pieces && d != gpu.mine) die("cudaSetDevice: the shim has one device a process, and memory of it is allocated");
    gpu.mine = d;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *d)
{
    const cudaError_t e = usable();
    *d = gpu.mine;
    return e;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int d)
{
    if (usable() != cudaSuccess || d < 0 || d >= (int)gpu.visible.size()) return cudaErrorInvalidDevice;
    *p = { "simt", { "simt" }, gpu.major, gpu.minor, 132, SIMT_SHARED };
    p->uuid.bytes[15] = (char)gpu.visible[(size_t)d];
    return cudaSuccess;
}

cudaError_t simt_code(cudaFuncAttributes *a)
{
    read_gpu();
    a->binaryVersion = 10 * gpu.major + gpu.minor;
    return gpu.major == 8 || (gpu.major == 9 && gpu.minor == 0) ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}

static void *host(size_t bytes)
{
    void *p = nullptr;
    return posix_memalign(&p, 256, bytes ? bytes : 1) ? nullptr : p;
}

std::recursive_mutex &simt_memory_lock = *new std::recursive_mutex;
typedef std::lock_guard<std::recursive_mutex> held;

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    *p = nullptr;
    if (simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    held h(simt_memory_lock);
    read_gpu();
    if (bytes > gpu.memory - gpu.used || !(*p = host(bytes))) return cudaErrorMemoryAllocation;
    gpu.used += bytes;
    memset(*p, 0xff, bytes);
    piece *x = (piece *)xmalloc(sizeof *x);
    *x = { pieces, (char *)*p, nullptr, bytes };
    pieces = x;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    simt_streams_wait();
    held h(simt_memory_lock);
    for (piece **at = &pieces; *at; at = &(*at)->next) {
        piece *x = *at;
        if (x->p != p) continue;
        *at = x->next;
        gpu.used -= x->bytes;
        free(x->kept);
        free(x->p);
        free(x);
        return cudaSuccess;
    }
    if (p) die("cudaFree: %p was not allocated", p);
    return cudaSuccess;
}

bool simt_memory_holds(const void *p, size_t bytes)
{
    held h(simt_memory_lock);
    for (const piece *x = pieces; x; x = x->next)
        if ((const char *)p >= x->p && (const char *)p + bytes <= x->p + x->bytes) return true;
    return false;
}

struct pinned { pinned *next; char *p; size_t bytes; };
static pinned *pins;

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    if (simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    if (!(*p = host(bytes))) return cudaErrorMemoryAllocation;
    pinned *x = (pinned *)xmalloc(sizeof *x);
    *x = { pins, (char *)*p, bytes };
    pins = x;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    if (simt_rejects()) return cudaErrorStreamCaptureUnsupported;
    for (pinned **at = &pins; *at; at = &(*at)->next) {
        pinned *x = *at;
        if (x->p != p) continue;
        *at = x->next;
        free(x->p);
        free(x);
        return cudaSuccess;
    }
    if (p) die("cudaFreeHost: %p was not allocated", p);
    return cudaSuccess;
}

static bool is_pinned(const void *p)
{
    for (const pinned *x = pins; x; x = x->next)
        if ((const char *)p >= x->p && (const char *)p < x->p + x->bytes) return true;
    return false;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    read_gpu();
    *left = gpu.memory - gpu.used;
    *total = gpu.memory;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    const bool host_side = kind != cudaMemcpyDeviceToDevice;
    if (simt_capturing(s) && host_side && !is_pinned(kind == cudaMemcpyHostToDevice ? from : to) && simt_rejects())
        return cudaErrorStreamCaptureUnsupported;
    const cudaError_t e = copied();
    if (e != cudaSuccess) return e;
    simt_do(s, [=] {
        held h(simt_memory_lock);
        memcpy(to, from, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s)
{
    simt_do(s, [=] {
        held h(simt_memory_lock);
        memset(p, byte, bytes);
    });
    return cudaSuccess;
}

cudaError_t simt_waits()
{
    return simt_rejects() ? cudaErrorStreamCaptureUnsupported : gpu.gone ? cudaErrorIllegalAddress : cudaSuccess;
}
bool simt_late()
{
    read_gpu();
    return gpu.late;
}


void simt_memory_save()
{
    for (piece *x = pieces; x; x = x->next) {
        if (!x->kept) x->kept = (char *)xmalloc(x->bytes + 1);
        memcpy(x->kept, x->p, x->bytes);
    }
}

void simt_memory_swap()
{
    char line[4096];
    for (piece *x = pieces; x; x = x->next)
        for (size_t at = 0; at < x->bytes; at += sizeof line) {
            size_t n = MIN(sizeof line, x->bytes - at);
            memcpy(line, x->p + at, n);
            memcpy(x->p + at, x->kept + at, n);
            memcpy(x->kept + at, line, n);
        }
}

bool simt_memory_same(const char *kernel, char *text, size_t size)
{
    for (piece *x = pieces; x; x = x->next) {
        if (!memcmp(x->p, x->kept, x->bytes)) continue;
        size_t at = 0;
        while (x->p[at] == x->kept[at]) at++;
        snprintf(text, size, "simt: %s gives other bits in reverse order: byte %zu of an allocation of %zu bytes",
                 kernel, at, x->bytes);
        return false;
    }
    return true;
}
