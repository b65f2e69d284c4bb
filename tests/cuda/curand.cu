/* curand.cu: the stream of philox.cuh and base/philox.h is cuRAND's: its device functions, compiled for the host, so
 * that no GPU is needed. One number is word 0 .. 3 of the block that curandStatePhilox4_32_10_t has under `seed` at
 * subsequence c3:c2 and offset 4 (c1:c0). */
#define QUALIFIERS static __forceinline__ __host__ __device__
#include <curand_kernel.h>
#include "base/philox.h"
#include "kernels/cuda/philox.cuh"
#include <stdio.h>

static bool same(const uint32_t a[4], uint4 b) { return a[0] == b.x && a[1] == b.y && a[2] == b.z && a[3] == b.w; }

int main()
{
    enum { CASES = 100000 };
    rng r = rng_make(1, 2, 3);
    int bad = 0;
    for (int i = 0; i < CASES; i++) {
        uint32_t c[4], k[2];
        for (int j = 0; j < 4; j++) c[j] = i & 1 << j ? rng_u32(&r) : rng_below(&r, 1000);
        for (int j = 0; j < 2; j++) k[j] = rng_u32(&r);
        c[1] >>= 2;                                             /* an offset has 64 bits, of which two count words */
        uint64_t seed = (uint64_t)k[1] << 32 | k[0];
        curandStatePhilox4_32_10_t s;
        curand_init(seed, (uint64_t)c[3] << 32 | c[2], ((uint64_t)c[1] << 32 | c[0]) * 4, &s);
        uint4 stream = curand4(&s),
              block = curand_Philox4x32_10(make_uint4(c[0], c[1], c[2], c[3]), make_uint2(k[0], k[1]));
        philox host = philox4x32(seed, c[0], c[1], c[2], c[3]);
        philox_block device = philox_at(seed, c[0], c[1], c[2], c[3]);
        bad += !same(host.v, stream) || !same(host.v, block) || !same(device.v, block);
    }
    if (bad) printf("cuRAND: %d of %d blocks differ from philox_at or philox4x32\n1 failed\n", bad, (int)CASES);
    else printf("cuRAND's Philox stream, %d blocks: 1 passed\n", (int)CASES);
    return bad > 0;
}
