/* simt_nccl.h: inside the shim's NCCL: the memory that ranks share (simt_shared.cpp) and what is called with it
 * (simt_nccl.cpp). */
#pragma once
#include "kernels/simt/simt_stream.h"
#include <atomic>
#include <nccl.h>
#include <sys/types.h>

enum { NCCL_OPS = 1024, NCCL_RANKS = 64, NCCL_SLOT = 1 << 20, NCCL_PIECE = NCCL_SLOT / NCCL_RANKS };
enum simt_call { ALL_REDUCE, REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, SEND, RECV };
struct simt_what { int call, type, op, peer; uint64_t count; };

/* Of a rank; round counts the rendezvous it has come to. */
struct simt_peer {
    std::atomic<int> joined;
    pid_t process;
    char device[16];
    std::atomic<uint64_t> round;
    int ops;
    simt_what op[NCCL_OPS];
};
/* From one rank to another: pieces that were put and taken so far, and what the last one belongs to. */
struct simt_pair { std::atomic<uint64_t> put, taken; simt_what what; size_t bytes; };
/* In memory without a name, which is gone with the processes; the id has process and descriptor of the one that made
 * it. bell: what waiting ranks sleep on. */
struct simt_region {
    uint64_t key;
    std::atomic<int> ranks;
    std::atomic<uint32_t> bell;
    simt_peer peer[NCCL_RANKS];
    simt_pair pair[NCCL_RANKS][NCCL_RANKS];
    char slot[][NCCL_SLOT];
};

struct ncclComm {
    uint64_t magic;
    int rank, ranks, blocking, settles;
    simt_region *all;
    std::atomic<int> aborted, error, left;      /* left: groups that are not done */
    bool ready;                                 /* all ranks have joined */
    char text[400];                             /* of error; written before it */
    int calls[RECV + 1];
    std::function<void()> then;                 /* what is queued when the communicator is asked next and is ready */
};

bool simt_region_make(ncclUniqueId *id);
simt_region *simt_region_open(const ncclUniqueId *id, int ranks);
void simt_fail(ncclComm_t c, ncclResult_t e, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Waits for all ranks; false: the communicator has failed, or was aborted. */
bool simt_meet(ncclComm_t c);
/* Whether the process of rank r is there, as far as this one may notice; what it means if not: false. */
bool simt_lives(ncclComm_t c, int r);
bool simt_gone(ncclComm_t c, int r);
/* Wakes the others; sleeps until the bell was rung again or for 20 ms. */
void simt_ring(simt_region *a);
void simt_sleep(simt_region *a, uint32_t heard);
/* words of APPO_SIMT_NCCL, separated by commas: fail=RANK.CALL.N (the N-th all-reduce, reduce, reduce-scatter,
 * all-gather, broadcast, send or receive of this rank fails while it runs), silent (a rank that has ended is not
 * noticed, as between GPUs of one machine), delay=US (how long a collective takes at least; default 500) */
struct simt_nccl_rules { int rank, n; char call[32]; bool silent; int delay; };
const simt_nccl_rules *simt_nccl_rules_read();
