/* vec_exp.h: exp of a vector, and the sigmoid. */
#pragma once
#include "kernels/cpu/vec.h"

/* exp of every lane. float: x = n ln2 + r, |r| <= ln2/2, a polynomial (Cephes), at most 2 ulp from -87.3 to 88.3; below
 * it goes to 0, above it stays at 2.3e38, which makes no difference to any caller (1 / (1 + e), or x <= 0); exp(0) is
 * 1, NaN stays NaN. double: the C library's. */
INLINE vr vexp(vr x)
{
#if defined(REAL_IS_double)
    for (int i = 0; i < VL; i++) x[i] = exp(x[i]);
    return x;
#else
    typedef int32_t vi __attribute__((vector_size(VBYTES)));
    /* rounds to an integer and leaves n + 127 in the low bits, where shifting makes it 2^n */
    vr magic = vsetr(0x1.8p23f + 127);
    x = vmin(vsetr(88.33f), vmax(vsetr(-88.03f), x));       /* -88.03 is n = -127: 2^n becomes 0 */
    vr t = vfma(x, vsetr(1.44269504088896341f), magic), n = t - magic;
    /* ln2 in two parts; n times the first is exact even without a fused multiply-add */
    vr r = vfma(n, vsetr(-0.693359375f), x);
    r = vfma(n, vsetr(2.12194440e-4f), r);
    vr p = vfma(vsetr(1.9875691500e-4f), r, vsetr(1.3981999507e-3f));
    p = vfma(p, r, vsetr(8.3334519073e-3f));
    p = vfma(p, r, vsetr(4.1665795894e-2f));
    p = vfma(p, r, vsetr(1.6666665459e-1f));
    p = vfma(p, r, vsetr(5.0000001201e-1f));
    p = vfma(p, r * r, r) + 1.0f;
    return p * (vr)((vi)t << 23);
#endif
}

INLINE vr sigmoid(vr x) { return vset(1) / (vset(1) + vexp(vneg(x))); }
