/* hash.h: XXH64 (Collet's xxHash, 64 bits, seed 0): a checksum against damage, not against an attacker. A damaged
 * file keeps its checksum in one case of 2^64. Cost: 6 to 9 GB/s from memory (measured by tests/base/test_hash), so
 * reading the file dominates. Also FNV-1a, for hash tables. */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits, of Fowler, Noll and Vo: for tables in memory and for splits of short texts. fnv1a_add continues a
 * hash: fnv1a_add(fnv1a(a, n), b, m) is that of a's bytes and then b's. */
static inline uint64_t fnv1a_add(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
static inline uint64_t fnv1a(const void *bytes, size_t n) { return fnv1a_add(0xcbf29ce484222325u, bytes, n); }

struct hash { uint64_t lane[4], n; unsigned char rest[32]; };
void hash_begin(struct hash *h);
void hash_add(struct hash *h, const void *bytes, size_t n);
uint64_t hash_end(const struct hash *h);            /* of everything added so far; more may be added afterwards */
uint64_t hash_of(const void *bytes, size_t n);

/* The hash of a plain file's first `most` bytes (-1: all). *size: bytes read. False: the file cannot be read. */
bool hash_file(const char *path, int64_t most, uint64_t *hash, int64_t *size, struct err *e);
