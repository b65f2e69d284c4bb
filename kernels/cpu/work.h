/* work.h: shared by the operations of the CPU backend: how many threads a piece of work is worth, and scratch memory
 * that is kept between calls. An operation that costs less than starting a thread runs on the caller alone: a decode
 * step has forty of them. */
#pragma once
#include "base/err.h"
#include "kernels/dev.h"
#include "base/arith.h"

/* Builds with a sanitizer also check conditions that every result must satisfy. */
#if defined(__SANITIZE_ADDRESS__)
enum { CHECKED = 1 };
#else
enum { CHECKED = 0 };
#endif

/* cost: about how many nanoseconds one thread needs. A parallel region costs 0.5 us while the other threads still spin,
 * and each core finds in its own cache the rows it wrote before: decoding 104 rows takes 400 us; 440 when work below 15
 * us stays on one thread. */
static inline int work_threads(int64_t cost) { return cost < 1500 ? 1 : dev_threads(); }

/* At least `bytes` bytes, 64-byte aligned, valid until this thread's next call. One per calling thread; grows, never
 * shrinks. Contents undefined. */
void *work_scratch(size_t bytes);

/* The same for each of `threads` workers: part t starts at work_part(base, t, bytes). */
static inline size_t work_round(size_t bytes) { return (bytes + 127) & ~(size_t)127; }
static inline void *work_parts(int threads, size_t bytes) { return work_scratch((size_t)threads * work_round(bytes)); }
static inline void *work_part(void *base, int t, size_t bytes) { return (char *)base + (size_t)t * work_round(bytes); }

/* Rows 0 .. n-1 shared out as schedule(static) does, so that a core finds in its own cache the rows it wrote in the
 * operation before; a thread that is done takes from the others' parts. Where two cores share no cache a decode step of
 * 256 rows takes 1.25 ms so, 1.7 with schedule(dynamic) here and in op_gemm. */
enum { SHARE_PARTS = 16 };
struct share { int64_t n; int parts; struct { _Alignas(64) _Atomic int64_t next; } of[SHARE_PARTS]; };
void share_make(struct share *s, int64_t n, int threads);
/* The next rows *first .. *last - 1, at most `most` of them, for this thread; false: none are left. */
bool share_take(struct share *s, int thread, int64_t most, int64_t *first, int64_t *last);

/* Sums over rows that come out the same for every number of threads: rows are cut into blocks of WORK_BLOCK, each block
 * sums in double into its own part[block][ld], then dst[j] += part[0][j] + part[1][j] + ... */
enum { WORK_BLOCK = 64 };
static inline int64_t work_blocks(int64_t n) { return (n + WORK_BLOCK - 1) / WORK_BLOCK; }
void work_fold(acc_t *dst, const double *part, int64_t blocks, int d, int ld);
