/* hash.h: XXH64 (Collet's xxHash, 64 bits, seed 0): a checksum against damage, not against an attacker. A file that
 * lost or changed any bit has another one but for one case in 2^64; reading is what it costs: 6 to 9 GB/s from memory
 * (measured by tests/base/test_hash). */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct hash { uint64_t lane[4], n; unsigned char rest[32]; };
void hash_begin(struct hash *h);
void hash_add(struct hash *h, const void *bytes, size_t n);
uint64_t hash_end(const struct hash *h);            /* of all that was added; more may be added afterwards */
uint64_t hash_of(const void *bytes, size_t n);

/* Of a plain file's first `most` bytes (-1: all). *size: how many were read. False: it cannot be read. */
bool hash_file(const char *path, int64_t most, uint64_t *hash, int64_t *size, struct err *e);
