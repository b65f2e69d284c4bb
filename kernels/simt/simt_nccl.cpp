/* simt_nccl.cpp: NCCL of the shim, between processes of one machine: every group of calls is queued in its stream and
 * done by the stream's thread, as simt_stream.cpp has it. Sums are added in the order of the ranks. While a collective
 * is under way its output is filled with 0xff (NaN); that the program wrote to its memory meanwhile is an error. What
 * NCCL would answer with a wait without end or with wrong bytes is an error too: counts or types that differ, a send
 * outside of a group, buffers that overlap, a communicator that is not ready. */
#include "kernels/simt/simt_nccl.h"
#include <unistd.h>

enum : uint64_t { COMM_MAGIC = 0x6e63636c2d636fu };
typedef std::vector<char> bytes;

struct op { simt_what w; const char *send; char *recv; size_t in_n, out_n; bytes in, out; };
struct group { ncclComm_t c; cudaStream_t stream; std::vector<op> ops; };

static thread_local int depth;
static thread_local group open_group;
static char last[400];

static const char *const call_names[] = { "all-reduce", "reduce", "reduce-scatter", "all-gather",
                                          "broadcast", "send", "receive" };
static size_t size_of(int type)
{
    static const size_t sizes[] = { 1, 1, 4, 4, 8, 8, 2, 4, 8, 2 };
    return (unsigned)type < sizeof sizes / sizeof *sizes ? sizes[type] : 1;
}

static ncclResult_t reject(ncclResult_t e, const char *what)
{
    snprintf(last, sizeof last, "%s", what);
    return e;
}

/* ---- a group, in the thread of its stream ---- */

/* Takes the inputs and fills the outputs. */
static void take(group &g)
{
    std::lock_guard<std::recursive_mutex> held(simt_memory_lock);
    for (op &o : g.ops) {
        o.in.assign(o.send, o.send + o.in_n);
        o.out.assign(o.out_n, (char)0xff);
    }
    for (op &o : g.ops) if (o.out_n) memset(o.recv, 0xff, o.out_n);
}

static bool overlap(const char *a, size_t n, const char *b, size_t m) { return a < b + m && b < a + n; }

/* Puts the outputs where they belong, if the program has left its buffers alone. */
static bool put(group &g)
{
    std::lock_guard<std::recursive_mutex> held(simt_memory_lock);
    for (op &o : g.ops) {
        bool same = true, input = false;
        for (size_t i = 0; same && i < o.out_n; i++) same = o.recv[i] == (char)0xff;
        for (const op &p : g.ops) input = input || overlap(o.send, o.in_n, p.recv, p.out_n);
        if (same && !input && o.in_n) same = !memcmp(o.send, o.in.data(), o.in_n);
        if (same) continue;
        simt_fail(g.c, ncclInvalidUsage, "memory of a %s was written while it was under way", call_names[o.w.call]);
        return false;
    }
    for (op &o : g.ops) if (o.out_n) memcpy(o.recv, o.out.data(), o.out_n);
    return true;
}

static bool p2p(const simt_what &w) { return w.call == SEND || w.call == RECV; }

static void differ(ncclComm_t c, int r, const simt_what &x, int s, const simt_what &y)
{
    simt_fail(c, ncclInvalidUsage, "rank %d calls %s of %llu of type %d (%d), rank %d %s of %llu of type %d (%d): NCCL "
              "would wait for ever", r, call_names[x.call], (unsigned long long)x.count, x.type, x.peer, s,
              call_names[y.call], (unsigned long long)y.count, y.type, y.peer);
}

/* Whether all ranks have called the same collectives; the list of a rank may change only when all have read it. */
static bool compare(group &g)
{
    ncclComm_t c = g.c;
    simt_peer *peer = c->all->peer, &mine = peer[c->rank];
    mine.ops = 0;
    for (const op &o : g.ops) if (!p2p(o.w)) mine.op[mine.ops++] = o.w;
    if (!mine.ops) return true;
    if (!simt_meet(c)) return false;
    for (int r = 0; r < c->ranks; r++) {
        if (peer[r].ops != mine.ops)
            simt_fail(c, ncclInvalidUsage, "rank %d has %d collectives in a group, rank %d %d", c->rank, mine.ops, r,
                      peer[r].ops);
        for (int i = 0; i < MIN(mine.ops, peer[r].ops); i++)
            if (memcmp(&mine.op[i], &peer[r].op[i], sizeof mine.op[i]))
                differ(c, c->rank, mine.op[i], r, peer[r].op[i]);
    }
    return simt_meet(c) && !c->error;
}

template <class T> static void sum(ncclComm_t c, char *to, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        T s = ((const T *)c->all->slot[0])[from + i];
        for (int r = 1; r < c->ranks; r++) s += ((const T *)c->all->slot[r])[from + i];
        ((T *)to)[i] = s;
    }
}

/* Of the piece [at, at + n) of all ranks' inputs, in their slots, what this rank gets. */
static void receive(ncclComm_t c, op &o, size_t at, size_t n)
{
    const size_t size = size_of(o.w.type);
    if (o.w.call == BROADCAST) memcpy(o.out.data() + at, c->all->slot[o.w.peer], n);
    else if (o.w.call == ALL_GATHER)
        for (int r = 0; r < c->ranks; r++)
            memcpy(o.out.data() + (size_t)r * o.in_n + at, c->all->slot[r], n);
    else {
        const size_t begin = o.w.call == REDUCE_SCATTER ? (size_t)c->rank * o.out_n : 0;
        const size_t from = MAX(at, begin), to = MIN(at + n, begin + o.out_n);
        if (from >= to) return;
        char *p = o.out.data() + (from - begin);
        if (size == 8) sum<double>(c, p, (from - at) / size, (to - from) / size);
        else sum<float>(c, p, (from - at) / size, (to - from) / size);
    }
}

static bool run(ncclComm_t c, op &o)
{
    const size_t total = o.w.call == BROADCAST ? o.out_n : o.in_n;
    for (size_t at = 0; at < total; at += NCCL_SLOT) {
        const size_t n = MIN(total - at, (size_t)NCCL_SLOT);
        if (o.in_n) memcpy(c->all->slot[c->rank], o.in.data() + at, n);
        if (!simt_meet(c)) return false;
        if (o.out_n) receive(c, o, at, n);
        if (!simt_meet(c)) return false;
    }
    return true;
}

/* The sends of this rank to one other, or its receives, in order: `at` of them are done, `off` bytes of the next. */
struct lane { std::vector<op *> ops; size_t at, off; };

static bool send_more(ncclComm_t c, int to, lane &l)
{
    simt_pair &p = c->all->pair[c->rank][to];
    if (l.at == l.ops.size() || p.put != p.taken) return false;
    op &o = *l.ops[l.at];
    const size_t n = MIN((size_t)NCCL_PIECE, o.in_n - l.off);
    memcpy(c->all->slot[c->rank] + to * NCCL_PIECE, o.in.data() + l.off, n);
    p.what = o.w;
    p.bytes = n;
    p.put++;
    l.off += n;
    if (l.off == o.in_n) l.at++, l.off = 0;
    return true;
}

static bool receive_more(ncclComm_t c, int from, lane &l)
{
    simt_pair &p = c->all->pair[from][c->rank];
    if (l.at == l.ops.size() || p.put == p.taken) return false;
    op &o = *l.ops[l.at];
    if (p.what.count != o.w.count || p.what.type != o.w.type) {
        differ(c, c->rank, o.w, from, p.what);
        return false;
    }
    memcpy(o.out.data() + l.off, c->all->slot[from] + c->rank * NCCL_PIECE, p.bytes);
    l.off += p.bytes;
    p.taken++;
    if (l.off == o.out_n) l.at++, l.off = 0;
    return true;
}

static bool exchange(group &g)
{
    ncclComm_t c = g.c;
    std::vector<lane> to((size_t)c->ranks), from((size_t)c->ranks);
    for (op &o : g.ops) if (p2p(o.w)) (o.w.call == SEND ? to : from)[(size_t)o.w.peer].ops.push_back(&o);
    for (;;) {
        const uint32_t heard = c->all->bell;
        bool moved = false, left = false;
        for (int r = 0; r < c->ranks; r++) {
            lane &a = to[(size_t)r], &b = from[(size_t)r];
            moved = send_more(c, r, a) || moved;
            moved = receive_more(c, r, b) || moved;
            const bool lives = moved || simt_lives(c, r);
            const bool more = a.at < a.ops.size() || b.at < b.ops.size() ||
                              c->all->pair[c->rank][r].put != c->all->pair[c->rank][r].taken;
            if (more && !lives) return simt_gone(c, r);
            left = left || more;
        }
        if (c->aborted || c->error) return false;
        if (!left) return true;
        if (moved) simt_ring(c->all);
        else simt_sleep(c->all, heard);
    }
}

/* Does this group hold the call that is to fail? */
static bool planned(group &g)
{
    const simt_nccl_rules *x = simt_nccl_rules_read();
    bool hit = false;
    for (const op &o : g.ops) {
        const int n = ++g.c->calls[o.w.call];
        hit = hit || (x->rank == g.c->rank && n == x->n && !strcmp(x->call, call_names[o.w.call]));
    }
    if (hit) simt_fail(g.c, ncclRemoteError, "%s %d fails, as APPO_SIMT_NCCL has it", x->call, x->n);
    return hit;
}

static void go(group &g)
{
    bool ok = !planned(g) && compare(g);
    usleep((useconds_t)simt_nccl_rules_read()->delay);
    for (op &o : g.ops) if (ok && !p2p(o.w)) ok = run(g.c, o);
    ok = ok && exchange(g) && put(g);
    /* what has failed stays in the stream, until it is aborted */
    while (!ok && !g.c->aborted) usleep(1000);
    g.c->left--;
}

/* The inputs are taken now if nothing is before the group in its stream. */
static void queue_group(const group &g)
{
    group *own = new group(g);
    const bool first = cudaStreamQuery(g.stream) == cudaSuccess;
    if (first) take(*own);
    simt_later(g.stream, [=] {
        if (!first) take(*own);
        go(*own);
        delete own;
    });
}

/* ---- communicators ---- */

/* Kept for ever, so that a use after the end is noticed. */
static std::vector<ncclComm_t> &made = *new std::vector<ncclComm_t>;
static bool valid(ncclComm_t c) { return c && c->magic == COMM_MAGIC; }

/* Whether all ranks have joined; they must not share a device. */
static bool joined(ncclComm_t c)
{
    if (c->ready) return true;
    for (int r = 0; r < c->ranks; r++) if (!c->all->peer[r].joined) return false;
    for (int r = 0; r < c->ranks; r++)
        for (int s = 0; s < r; s++)
            if (!memcmp(c->all->peer[r].device, c->all->peer[s].device, sizeof c->all->peer[r].device))
                simt_fail(c, ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on CUDA device %d", s,
                          r, c->all->peer[r].device[15]);
    return c->ready = true;
}

ncclResult_t ncclGetVersion(int *version) { *version = NCCL_VERSION_CODE; return ncclSuccess; }
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    return simt_region_make(id) ? ncclSuccess : reject(ncclSystemError, "memfd_create failed");
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *to, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    cudaDeviceProp p;
    int d, zero = 0;
    *to = nullptr;
    if (ranks < 1 || ranks > NCCL_RANKS || rank < 0 || rank >= ranks)
        return reject(ncclInvalidArgument, "ranks are out of range");
    if (config && config->magic != 0xcafebeef) return reject(ncclInvalidArgument, "the configuration has no magic");
    if (cudaGetDevice(&d) != cudaSuccess || cudaGetDeviceProperties(&p, d) != cudaSuccess)
        return reject(ncclUnhandledCudaError, "no device");
    simt_region *all = simt_region_open(&id, ranks);
    if (!all) return reject(ncclSystemError, "the process that made the id has ended, or is on another machine");
    if (!all->ranks.compare_exchange_strong(zero, ranks) && zero != ranks)
        return reject(ncclInvalidUsage, "the ranks differ in how many they are");
    ncclComm_t c = new ncclComm();
    made.push_back(c);
    c->magic = COMM_MAGIC, c->rank = rank, c->ranks = ranks, c->all = all;
    c->blocking = !config || config->blocking != 0;
    simt_peer &me = all->peer[rank];
    me.process = getpid();
    memcpy(me.device, p.uuid.bytes, sizeof me.device);
    if (me.joined.exchange(1)) return reject(ncclInvalidUsage, "a rank has joined twice");
    *to = c;
    if (!c->blocking) return ncclInProgress;
    while (!joined(c)) usleep(1000);
    return (ncclResult_t)c->error.load();
}
ncclResult_t ncclCommInitRank(ncclComm_t *c, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(c, ranks, id, rank, nullptr);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *e)
{
    if (!valid(c)) return reject(ncclInvalidArgument, "the communicator was destroyed or aborted");
    *e = c->error ? (ncclResult_t)c->error.load() : !joined(c) || c->settles > 0 ? ncclInProgress : ncclSuccess;
    if (c->settles > 0 && joined(c)) c->settles--;
    if (*e == ncclSuccess && c->then) {
        c->then();
        c->then = nullptr;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t c, int *n) { *n = c->ranks; return ncclSuccess; }
ncclResult_t ncclCommUserRank(const ncclComm_t c, int *r) { *r = c->rank; return ncclSuccess; }

/* A communicator that does not block says once more that it is busy, before it is ready. */
static ncclResult_t settle(ncclComm_t c)
{
    if (c->blocking) return ncclSuccess;
    c->settles = 1;
    return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    if (!valid(c)) return reject(ncclInvalidArgument, "the communicator was destroyed or aborted");
    if (c->left) return reject(ncclInvalidUsage, "the shim finalizes a communicator with nothing under way only");
    return settle(c);
}
ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    if (!valid(c) || c->left || c->settles) return reject(ncclInvalidUsage, "destroyed twice, or while it is busy");
    c->magic = 0;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t c)
{
    if (!valid(c)) return reject(ncclInvalidArgument, "the communicator was destroyed or aborted");
    c->magic = 0;
    c->aborted = 1;
    while (c->left) usleep(1000);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t e)
{
    static const char *const words[] = { "no error", "unhandled cuda error", "unhandled system error", "internal error",
                                         "invalid argument", "invalid usage", "remote process exited or there was a "
                                         "network error", "NCCL operation in progress" };
    return (unsigned)e < sizeof words / sizeof *words ? words[e] : "unknown result code";
}
const char *ncclGetLastError(ncclComm_t c) { return valid(c) && c->error ? c->text : last; }

/* ---- calls ---- */

ncclResult_t ncclGroupStart()
{
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd()
{
    if (depth < 1) return reject(ncclInvalidUsage, "ncclGroupEnd: not in a group");
    if (--depth || open_group.ops.empty()) return ncclSuccess;
    const group g = std::move(open_group);
    open_group = group();
    if (g.ops.size() > NCCL_OPS) return reject(ncclInvalidArgument, "more calls in a group than the shim has room for");
    g.c->left++;
    if (g.c->blocking) queue_group(g);
    else g.c->then = [=] { queue_group(g); };
    return settle(g.c);
}

static const char *fault(const op &o, ncclComm_t c, cudaStream_t s)
{
    const bool sums = o.w.call <= REDUCE_SCATTER;
    if (simt_capturing(s)) return "the shim captures no collectives";
    if (open_group.c && (open_group.c != c || open_group.stream != s))
        return "the shim's groups have one communicator and one stream";
    if (p2p(o.w) && !depth) return "a send or receive outside of a group: both sides may wait for each other";
    if (o.w.peer < 0 || o.w.peer >= c->ranks) return "root or peer is out of range";
    if (o.w.type < ncclInt8 || o.w.type > ncclBfloat16) return "no such type";
    if (sums && (o.w.op != ncclSum || (o.w.type != ncclFloat32 && o.w.type != ncclFloat64)))
        return "the shim has sums of float and double alone";
    if ((o.in_n && !simt_memory_holds(o.send, o.in_n)) || (o.out_n && !simt_memory_holds(o.recv, o.out_n)))
        return "not device memory, or less than is sent";
    const char *at = o.recv + (o.w.call == ALL_GATHER ? (size_t)c->rank * o.in_n : 0);
    const char *from = o.send + (o.w.call == REDUCE_SCATTER ? (size_t)c->rank * o.out_n : 0);
    if (!p2p(o.w) && overlap(o.send, o.in_n, o.recv, o.out_n) && at != from)
        return "buffers overlap, and not as an operation in place";
    return nullptr;
}

static ncclResult_t add(op o, ncclComm_t c, cudaStream_t s)
{
    if (!valid(c)) return reject(ncclInvalidArgument, "the communicator was destroyed or aborted");
    if (c->error) return reject((ncclResult_t)c->error.load(), c->text);
    if (!joined(c) || c->settles || c->then) return reject(ncclInvalidUsage, "the communicator is not ready yet");
    const char *wrong = fault(o, c, s);
    if (wrong) return reject(ncclInvalidArgument, wrong);
    ncclGroupStart();
    open_group.c = c;
    open_group.stream = s;
    open_group.ops.push_back(o);
    return ncclGroupEnd();
}

static op make(int call, const void *send, void *recv, size_t count, int type, int reduce, int peer)
{
    return { { call, type, reduce, peer, count }, (const char *)send, (char *)recv, 0, 0, {}, {} };
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduce,
                           ncclComm_t c, cudaStream_t s)
{
    op o = make(ALL_REDUCE, send, recv, count, type, reduce, 0);
    o.in_n = o.out_n = count * size_of(type);
    return add(o, c, s);
}
ncclResult_t ncclReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduce, int root,
                        ncclComm_t c, cudaStream_t s)
{
    op o = make(REDUCE, send, recv, count, type, reduce, root);
    o.in_n = count * size_of(type);
    o.out_n = valid(c) && c->rank == root ? o.in_n : 0;
    return add(o, c, s);
}
ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduce,
                               ncclComm_t c, cudaStream_t s)
{
    op o = make(REDUCE_SCATTER, send, recv, count, type, reduce, 0);
    o.out_n = count * size_of(type);
    o.in_n = valid(c) ? o.out_n * (size_t)c->ranks : 0;
    return add(o, c, s);
}
ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t c,
                           cudaStream_t s)
{
    op o = make(ALL_GATHER, send, recv, count, type, 0, 0);
    o.in_n = count * size_of(type);
    o.out_n = valid(c) ? o.in_n * (size_t)c->ranks : 0;
    return add(o, c, s);
}
ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root, ncclComm_t c,
                           cudaStream_t s)
{
    op o = make(BROADCAST, send, recv, count, type, 0, root);
    o.out_n = count * size_of(type);
    o.in_n = valid(c) && c->rank == root ? o.out_n : 0;
    return add(o, c, s);
}
ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s)
{
    op o = make(SEND, send, nullptr, count, type, 0, peer);
    o.in_n = count * size_of(type);
    return add(o, c, s);
}
ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s)
{
    op o = make(RECV, nullptr, recv, count, type, 0, peer);
    o.out_n = count * size_of(type);
    return add(o, c, s);
}
