/* philox.cuh: Philox4x32-10 on the device: the stream of base/philox.h and of cuRAND's curandStatePhilox4_32_10_t
 * (Salmon et al., SC 2011). Kernels call philox_draw, which is cuRAND's own function where nvcc finds its headers;
 * philox_at is its twin for the shim and for toolkits without them. The known answers of the authors' Random123 are
 * checked when this is compiled, and the twin against cuRAND by tests/cuda/curand.cu. */
#pragma once
#include "kernels/cuda/simt.h"
#if defined(__CUDACC__) && __has_include(<curand_philox4x32_x.h>)
#include <curand_philox4x32_x.h>
#define PHILOX_OF_CURAND
#endif

struct philox_block { uint32_t v[4]; };

__host__ __device__ constexpr philox_block philox_at(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = (uint32_t)p1, c2 = n2, c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return philox_block{ { c0, c1, c2, c3 } };
}

constexpr bool philox_is(philox_block b, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3)
{
    return b.v[0] == a0 && b.v[1] == a1 && b.v[2] == a2 && b.v[3] == a3;
}
static_assert(philox_is(philox_at(0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8),
              "Random123, kat_vectors: philox4x32 10, zeros");
static_assert(philox_is(philox_at(~0ull, ~0u, ~0u, ~0u, ~0u), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd),
              "Random123, kat_vectors: philox4x32 10, ones");
static_assert(philox_is(philox_at(0x299f31d0a4093822ull, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), 0xd16cfe09,
                        0x94fdcceb, 0x5001e420, 0x24126ea1),
              "Random123, kat_vectors: philox4x32 10, pi");

__device__ __forceinline__ philox_block philox_draw(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
#ifdef PHILOX_OF_CURAND
    const uint4 v =
        curand_Philox4x32_10(make_uint4(c0, c1, c2, c3), make_uint2((uint32_t)seed, (uint32_t)(seed >> 32)));
    return philox_block{ { v.x, v.y, v.z, v.w } };
#else
    return philox_at(seed, c0, c1, c2, c3);
#endif
}
