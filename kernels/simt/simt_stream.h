/* simt_stream.h: streams of the shim, for the files that make them: captures (simt_graph.cpp), queues and events
 * (simt_stream.cpp), collectives (simt_nccl.cpp). */
#pragma once
#include "kernels/cuda/simt.h"
#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

struct simt_graph { std::vector<std::function<void()>> work; };
struct simt_stream {
    simt_graph *capture = nullptr;
    bool spoilt = false, late = false, served = false, ends = false;
    std::deque<std::function<void()>> work;     /* not begun; for the stream's own thread */
    uint64_t given = 0, done = 0, wanted = 0;   /* late: only `wanted` of those given are to be done as yet */
};

/* Work that may wait (for another stream, for another process): the stream's own thread does it, and all that follows
 * it until nothing is left. */
void simt_later(cudaStream_t s, std::function<void()> work);

/* Device memory and the list of its pieces; a launch in both orders (APPO_SIMT_ORDER=both) holds it throughout. */
extern std::recursive_mutex &simt_memory_lock;
/* Whether all of p[0 .. bytes) is device memory. */
bool simt_memory_holds(const void *p, size_t bytes);
/* All streams have nothing left: what freeing device memory waits for. */
void simt_streams_wait();
