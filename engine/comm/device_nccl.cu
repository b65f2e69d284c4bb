/* device_nccl.cu: collectives on device memory by NCCL, on a stream of their own beside the queue of the operations
 * (kernels/cuda/dev.cu): a collective waits for what the queue was given before it, and the queue waits for collectives
 * by comm_wait alone. None of this is captured in CUDA graphs. With the shim NCCL is kernels/simt/simt_nccl.cpp.
 *
 * The communicator does not block, and a thread follows the collectives: it enters them in the ring when they begin and
 * end, so that the watch ends the process where one waits for longer than comm.timeout, and asks NCCL for errors that
 * come later. So it does not matter where the host waits: in a CUDA call, which has no timeout, or elsewhere. */
#include "kernels/cuda/simt.h"
extern "C" {
#define _Noreturn __attribute__((noreturn))
#include "engine/comm/watch_in.h"
#undef _Noreturn
#include "kernels/gemm.h"
}
#include <nccl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* PENDING: collectives that may be queued and not done: a bucket of the gradient each, and the ranks' shares of the
 * weights. LOOK: nanoseconds between two looks at them. */
enum { PENDING = 128, LOOK = 2000000 };
/* ready: the queue has come to the collective, which waits for nothing but other ranks then */
struct pending {
    cudaEvent_t ready, done;
    int64_t number, bytes;
    enum comm_kind kind;
    bool begun;
};

static struct {
    ncclComm_t comm;                    /* NULL: one rank, no NCCL */
    cudaStream_t stream;
    pthread_t thread;
    int device;
    struct pending op[PENDING];         /* collective k, counted from 1, is op[k % PENDING] */

    pthread_mutex_t lock;               /* of what follows, and of calls of NCCL */
    pthread_cond_t changed;
    int64_t queued, finished;
    bool stop;
} nccl;

static const ncclDataType_t acc_type = sizeof(acc_t) == 8 ? ncclFloat64 : ncclFloat32;

/* ---- errors ---- */

static volatile bool lost;

/* An abort ends the collectives with anything in their memory, which the main thread must not use. */
static void hold(void) { while (lost) pause(); }

static void *abort_communicator(void *)
{
    ncclCommAbort(nccl.comm);
    return NULL;
}

/* Aborts the communicator, so that its kernels end, in a thread that nobody waits for: an abort may wait for ever. The
 * watch mostly knows which rank is the cause, and names it within the time that this takes. */
static __attribute__((noreturn)) void broken(ncclResult_t r, const char *what)
{
    static char more[300];
    pthread_t thread;
    const char *last = ncclGetLastError(nccl.comm);
    snprintf(more, sizeof more, "%s", last ? last : "");
    lost = true;
    if (nccl.comm && !pthread_create(&thread, NULL, abort_communicator, NULL)) pthread_detach(thread);
    watch_broken("NCCL: %s: %s%s%s", what, ncclGetErrorString(r), *more ? ": " : "", more);
}

/* Waits until the communicator has done what it has begun; the watch sees to it that this ends. */
static ncclResult_t settled(ncclResult_t r)
{
    const struct timespec t = { 0, 50000 };
    while (r == ncclInProgress) {
        nanosleep(&t, NULL);
        const ncclResult_t asked = ncclCommGetAsyncError(nccl.comm, &r);
        if (asked != ncclSuccess) r = asked;
    }
    return r;
}

static void label(char *text, size_t n, const struct pending *o) { ring_say(text, n, o->number, o->kind, o->bytes); }

/* ---- the thread that follows ---- */

/* Enters what has begun and ended; false: the oldest that is left is not done. */
static bool follow(struct pending *o)
{
    cudaError_t r = o->begun ? cudaSuccess : cudaEventQuery(o->ready);
    if (r == cudaSuccess && !o->begun) {
        o->begun = true;
        ring_begin(o->number, o->kind, o->bytes);
    }
    if (r == cudaSuccess) r = cudaEventQuery(o->done);
    if (r == cudaErrorNotReady) {
        (void)cudaGetLastError();               /* it is kept as the last error */
        return false;
    }
    CU(r);
    ring_end(o->number);
    return true;
}

static void look(void)
{
    while (nccl.finished < nccl.queued && follow(&nccl.op[(nccl.finished + 1) % PENDING])) {
        nccl.finished++;
        pthread_cond_broadcast(&nccl.changed);
    }
    if (nccl.finished == nccl.queued) return;
    char text[96];
    ncclResult_t error = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(nccl.comm, &error);
    if (asked != ncclSuccess) error = asked;
    if (error == ncclSuccess || error == ncclInProgress) return;
    label(text, sizeof text, &nccl.op[(nccl.finished + 1) % PENDING]);
    broken(error, text);
}

static void *run(void *)
{
    const struct timespec t = { 0, LOOK };
    CU(cudaSetDevice(nccl.device));
    pthread_mutex_lock(&nccl.lock);
    while (!nccl.stop) {
        if (nccl.finished == nccl.queued) {
            pthread_cond_wait(&nccl.changed, &nccl.lock);
            continue;
        }
        look();
        pthread_mutex_unlock(&nccl.lock);
        nanosleep(&t, NULL);
        pthread_mutex_lock(&nccl.lock);
    }
    pthread_mutex_unlock(&nccl.lock);
    return NULL;
}

static void wait_for_finished(int64_t k)
{
    pthread_mutex_lock(&nccl.lock);
    while (nccl.finished < k) pthread_cond_wait(&nccl.changed, &nccl.lock);
    pthread_mutex_unlock(&nccl.lock);
}

/* ---- opening ---- */

/* What the ranks tell each other of their GPUs. */
struct mine { int gpus, version; char uuid[16]; };

static bool gpus_of_ranks(const struct mine *all, struct err *e)
{
    for (int r = 0; r < comm_ranks(); r++) {
        const char *host = comm_host(r);
        int ranks = 0, gpus = 0;
        for (int s = 0; s < comm_ranks(); s++) {
            if (strcmp(host, comm_host(s))) continue;
            bool own = all[s].gpus > 0;
            for (int t = 0; t < s; t++)
                own = own && (strcmp(host, comm_host(t)) || memcmp(all[s].uuid, all[t].uuid, sizeof all[s].uuid));
            ranks++;
            gpus += own;
        }
        if (gpus == 0)
            return fail(e, "%d rank%s on %s, but no GPU that can be used there: nvidia-smi shows what the driver sees; "
                        "make BACKEND=cpu builds for none", ranks, ranks == 1 ? "" : "s", host);
        if (gpus < ranks)
            return fail(e, "%d ranks on %s, but they see %d GPU%s: start one rank a GPU (mpirun -n %d; "
                        "CUDA_VISIBLE_DEVICES and nvidia-smi show which there are)", ranks, host, gpus,
                        gpus == 1 ? "" : "s", gpus);
        if (all[r].version != all[0].version)
            return fail(e, "NCCL is version %d on %s and %d on %s: all hosts need the same", all[0].version,
                        comm_host(0), all[r].version, host);
    }
    return true;
}

/* The GPU of a rank is the one of its number on its host; where a launcher leaves each rank one GPU or some of its own
 * (srun --gpus-per-task), the first of those. Two ranks never share one: NCCL would not work. */
static bool choose_gpu(struct err *e)
{
    struct comm_parts all;
    struct mine m = { gpu_count(), 0, { 0 } };
    cudaDeviceProp p;
    ncclGetVersion(&m.version);
    const int device = m.gpus > 0 ? comm_local_rank() % m.gpus : 0;
    if (m.gpus > 0 && cudaGetDeviceProperties(&p, device) == cudaSuccess) memcpy(m.uuid, p.uuid.bytes, sizeof m.uuid);
    comm_gather(&all, &m, sizeof m);
    const bool ok = gpus_of_ranks((const struct mine *)all.p, e);
    comm_parts_free(&all);
    if (ok) gpu_choose(nccl.device = device);
    return ok;
}

static bool join(struct err *e)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t r = ncclSuccess;
    config.blocking = 0;
    memset(&id, 0, sizeof id);
    if (comm_first()) r = ncclGetUniqueId(&id);
    bool ok = r == ncclSuccess || fail(e, "NCCL: ncclGetUniqueId: %s", ncclGetErrorString(r));
    if (!comm_agree(ok, e)) return false;
    comm_bcast(&id, sizeof id, 0);
    const int64_t number = ring_number();
    ring_begin(number, COMM_OPEN, 0);
    r = ncclCommInitRankConfig(&nccl.comm, comm_ranks(), id, comm_rank(), &config);
    r = settled(r);
    ring_end(number);
    if (r != ncclSuccess)
        ok = fail(e, "NCCL: ncclCommInitRank: %s: %.300s (NCCL_DEBUG=INFO prints more)", ncclGetErrorString(r),
                  ncclGetLastError(nccl.comm));
    return comm_agree(ok, e);
}

/* Sums have the same bits in every run only if their order is the same: NCCL chooses between rings, trees and sums in
 * the switch by sizes and by what it measures of the machine. Both are pinned, unless the user has chosen. */
static void pin_order(void)
{
    setenv("NCCL_ALGO", "Ring", 0);
    setenv("NCCL_PROTO", "Simple", 0);
}

/* One of each call, so that connections are made while the ranks are together and not while one computes. */
static void connect_ranks(void)
{
    enum { MOST = 4096 };
    const int n = comm_ranks();
    int64_t parts[MOST + 1];
    size_t bytes[MOST + 1];
    ENSURE(n < MOST);
    for (int r = 0; r <= n; r++) {
        parts[r] = r > 1 ? r : 0;               /* unequal if there are several */
        bytes[r] = (size_t)r * sizeof(acc_t);
    }
    acc_t *x = (acc_t *)dev_alloc((size_t)(2 * n) * sizeof *x);
    dev_zero(x, (size_t)(2 * n) * sizeof *x);
    comm_dev_sum(x, n);
    comm_dev_reduce_scatter(x, parts);
    comm_dev_gather(x, bytes);
    comm_dev_bcast(x, bytes[n], n - 1);
    comm_dev_exchange(x + n, bytes, x, bytes);
    wait_for_finished(nccl.queued);
    dev_free(x);
}

bool device_open(struct err *e)
{
    const char *want = getenv("APPO_COMM");
    int least, greatest;
    if (want && *want && strcmp(want, "nccl")) return fail(e, "APPO_COMM=%s: it is nccl, or unset", want);
    if (comm_ranks() == 1 && !(want && *want)) return true;
    pin_order();
    if (!choose_gpu(e)) return false;
    queue();
    if (!join(e)) return false;
    CU(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CU(cudaStreamCreateWithPriority(&nccl.stream, cudaStreamNonBlocking, greatest));
    for (int i = 0; i < PENDING; i++) {
        CU(cudaEventCreateWithFlags(&nccl.op[i].ready, cudaEventDisableTiming));
        CU(cudaEventCreateWithFlags(&nccl.op[i].done, cudaEventDisableTiming));
    }
    pthread_mutex_init(&nccl.lock, NULL);
    pthread_cond_init(&nccl.changed, NULL);
    queue_check(hold);
    thread_start(&nccl.thread, run);
    connect_ranks();
    return true;
}

void device_close(void)
{
    if (!nccl.stream) return;
    wait_for_finished(nccl.queued);
    pthread_mutex_lock(&nccl.lock);
    nccl.stop = true;
    pthread_cond_broadcast(&nccl.changed);
    pthread_mutex_unlock(&nccl.lock);
    pthread_join(nccl.thread, NULL);
    ncclResult_t r = settled(ncclCommFinalize(nccl.comm));
    if (r == ncclSuccess) r = ncclCommDestroy(nccl.comm);
    if (r != ncclSuccess) broken(r, "the end of the communicator");
    for (int i = 0; i < PENDING; i++) {
        CU(cudaEventDestroy(nccl.op[i].ready));
        CU(cudaEventDestroy(nccl.op[i].done));
    }
    CU(cudaStreamDestroy(nccl.stream));
    memset(&nccl, 0, sizeof nccl);
}

/* ---- collectives ---- */

/* False: there is nothing to do. Else a group is open on the stream, which waits for the queue as it is now, and the
 * lock is held. */
static bool begin(enum comm_kind kind, size_t bytes)
{
    if (!nccl.comm || dry_run()) return false;
    if (capturing()) die("a collective inside a CUDA graph capture");
    wait_for_finished(nccl.queued + 1 - PENDING);
    pthread_mutex_lock(&nccl.lock);
    struct pending *o = &nccl.op[(nccl.queued + 1) % PENDING];
    o->number = ring_number(), o->bytes = (int64_t)bytes, o->kind = kind, o->begun = false;
    CU(cudaEventRecord(o->ready, queue()));
    CU(cudaStreamWaitEvent(nccl.stream, o->ready, 0));
    const ncclResult_t r = ncclGroupStart();
    if (r != ncclSuccess) broken(r, "ncclGroupStart");
    return true;
}

static void call(ncclResult_t r)
{
    char text[96];
    if (r == ncclSuccess || r == ncclInProgress) return;
    label(text, sizeof text, &nccl.op[(nccl.queued + 1) % PENDING]);
    broken(r, text);
}

static void end(void)
{
    call(settled(ncclGroupEnd()));
    nccl.queued++;
    CU(cudaEventRecord(nccl.op[nccl.queued % PENDING].done, nccl.stream));
    pthread_cond_broadcast(&nccl.changed);
    pthread_mutex_unlock(&nccl.lock);
}

void comm_dev_sum(acc_t *x, int64_t n)
{
    if (n < 1 || !begin(COMM_SUM, (size_t)n * sizeof *x)) return;
    call(ncclAllReduce(x, x, (size_t)n, acc_type, ncclSum, nccl.comm, nccl.stream));
    end();
}

void comm_dev_sum_double(double *x, int64_t n)
{
    if (n < 1 || !begin(COMM_SUM, (size_t)n * sizeof *x)) return;
    call(ncclAllReduce(x, x, (size_t)n, ncclFloat64, ncclSum, nccl.comm, nccl.stream));
    end();
}

template <class T> static bool equal_parts(const T *begin)
{
    for (int r = 1; r < comm_ranks(); r++) if (begin[r + 1] - begin[r] != begin[1] - begin[0]) return false;
    return true;
}

/* Equal parts are NCCL's reduce-scatter; others a reduction to each rank, in one group: as many bytes on every link,
 * more latency. */
void comm_dev_reduce_scatter(acc_t *x, const int64_t *part)
{
    const int n = comm_ranks();
    if (part[n] == part[0] || !begin(COMM_REDUCE_SCATTER, (size_t)(part[n] - part[0]) * sizeof *x)) return;
    acc_t *first = x + part[0];
    if (equal_parts(part))
        call(ncclReduceScatter(first, x + part[comm_rank()], (size_t)(part[1] - part[0]), acc_type, ncclSum, nccl.comm,
                               nccl.stream));
    for (int r = 0; r < n && !equal_parts(part); r++)
        if (part[r + 1] > part[r])
            call(ncclReduce(x + part[r], x + part[r], (size_t)(part[r + 1] - part[r]), acc_type, ncclSum, r, nccl.comm,
                            nccl.stream));
    end();
}

void comm_dev_gather(void *x, const size_t *part)
{
    const int n = comm_ranks();
    char *p = (char *)x;
    gemm_weights_changed();
    if (part[n] == part[0] || !begin(COMM_GATHER, part[n] - part[0])) return;
    if (equal_parts(part))
        call(ncclAllGather(p + part[comm_rank()], p + part[0], part[1] - part[0], ncclUint8, nccl.comm, nccl.stream));
    for (int r = 0; r < n && !equal_parts(part); r++)
        if (part[r + 1] > part[r])
            call(ncclBroadcast(p + part[r], p + part[r], part[r + 1] - part[r], ncclUint8, r, nccl.comm, nccl.stream));
    end();
}

void comm_dev_bcast(void *x, size_t bytes, int root)
{
    gemm_weights_changed();
    if (!bytes || !begin(COMM_BCAST, bytes)) return;
    call(ncclBroadcast(x, x, bytes, ncclUint8, root, nccl.comm, nccl.stream));
    end();
}

/* Nothing is sent where both sides know that there is nothing. */
void comm_dev_exchange(void *out, const size_t *out_begin, const void *in, const size_t *in_begin)
{
    const int n = comm_ranks();
    if (!nccl.comm) {
        dev_copy(out, in, in_begin[1]);
        return;
    }
    if (!begin(COMM_EXCHANGE, in_begin[n] + out_begin[n])) return;
    for (int r = 0; r < n; r++) {
        const size_t to = in_begin[r + 1] - in_begin[r], from = out_begin[r + 1] - out_begin[r];
        if (to) call(ncclSend((const char *)in + in_begin[r], to, ncclUint8, r, nccl.comm, nccl.stream));
        if (from) call(ncclRecv((char *)out + out_begin[r], from, ncclUint8, r, nccl.comm, nccl.stream));
    }
    end();
}

int64_t comm_mark(void) { return nccl.queued; }

/* An event that was recorded anew belongs to a collective that is done. */
void comm_wait(int64_t mark)
{
    if (mark > 0 && mark > nccl.queued - PENDING && !dry_run())
        CU(cudaStreamWaitEvent(queue(), nccl.op[mark % PENDING].done, 0));
}
