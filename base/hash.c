/* hash.c: XXH64, after the description in doc/xxhash_spec.md of the xxHash project. */
#include "base/hash.h"
#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static uint64_t rotl(uint64_t x, int r) { return x << r | x >> (64 - r); }
/* x86-64 and arm64: little-endian, as REAL files are */
static uint64_t le64(const unsigned char *p) { uint64_t x; memcpy(&x, p, 8); return x; }
static uint32_t le32(const unsigned char *p) { uint32_t x; memcpy(&x, p, 4); return x; }
static uint64_t mix(uint64_t acc, uint64_t x) { return rotl(acc + x * P2, 31) * P1; }
static uint64_t merge(uint64_t h, uint64_t lane) { return (h ^ mix(0, lane)) * P1 + P4; }

void hash_begin(struct hash *h) { *h = (struct hash){ .lane = { P1 + P2, P2, 0, 0 - P1 } }; }

static void stripes(struct hash *h, const unsigned char *p, size_t n)
{
    uint64_t a = h->lane[0], b = h->lane[1], c = h->lane[2], d = h->lane[3];
    for (; n >= 32; n -= 32, p += 32) {
        a = mix(a, le64(p));
        b = mix(b, le64(p + 8));
        c = mix(c, le64(p + 16));
        d = mix(d, le64(p + 24));
    }
    h->lane[0] = a; h->lane[1] = b; h->lane[2] = c; h->lane[3] = d;
}

void hash_add(struct hash *h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t have = h->n % 32;
    if (!n) return;
    h->n += n;
    if (have) {
        size_t take = n < 32 - have ? n : 32 - have;
        memcpy(h->rest + have, p, take);
        if (have + take < 32) return;
        stripes(h, h->rest, 32);
        p += take;
        n -= take;
    }
    stripes(h, p, n);
    memcpy(h->rest, p + n / 32 * 32, n % 32);
}

uint64_t hash_end(const struct hash *h)
{
    uint64_t x = P5;
    if (h->n >= 32) {
        x = rotl(h->lane[0], 1) + rotl(h->lane[1], 7) + rotl(h->lane[2], 12) + rotl(h->lane[3], 18);
        for (int i = 0; i < 4; i++) x = merge(x, h->lane[i]);
    }
    x += h->n;
    const unsigned char *p = h->rest;
    size_t n = h->n % 32;
    for (; n >= 8; n -= 8, p += 8) x = rotl(x ^ mix(0, le64(p)), 27) * P1 + P4;
    for (; n >= 4; n -= 4, p += 4) x = rotl(x ^ le32(p) * P1, 23) * P2 + P3;
    for (; n; n--, p++) x = rotl(x ^ *p * P5, 11) * P1;
    x = (x ^ x >> 33) * P2;
    x = (x ^ x >> 29) * P3;
    return x ^ x >> 32;
}

uint64_t hash_of(const void *bytes, size_t n)
{
    struct hash h;
    hash_begin(&h);
    hash_add(&h, bytes, n);
    return hash_end(&h);
}

bool hash_file(const char *path, int64_t most, uint64_t *hash, int64_t *size, struct err *e)
{
    enum { CHUNK = 1 << 20 };
    int fd = file_open(path, true, e);
    if (fd < 0) return false;
    char *chunk = xmalloc(CHUNK);
    struct hash h;
    ssize_t n = 0;
    int64_t left = most;
    hash_begin(&h);
    while (most < 0 || left > 0) {
        n = read(fd, chunk, most < 0 || left > CHUNK ? CHUNK : (size_t)left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        hash_add(&h, chunk, (size_t)n);
        left -= n;
    }
    int why = errno;
    close(fd);
    free(chunk);
    *hash = hash_end(&h);
    *size = (int64_t)h.n;
    return n >= 0 || fail(e, "%s: could not be read after %lld bytes: %s", path, (long long)h.n, strerror(why));
}
