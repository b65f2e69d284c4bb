/* top_entropy.c: the entropy the official APPO code sees: of the k most likely entries only, not renormalised. */
#include "kernels/ops.h"
#include "base/err.h"
#include <math.h>

enum { TOP_MAX = 64 };

void op_top_k_entropy(acc_t *ent, acc_t *least, const acc_t *lse, const elem_t *x, double inv_temp, int k, int64_t n,
                      int vocab, int64_t ld)
{
    ENSURE(k >= 1 && k <= TOP_MAX);
    for (int64_t i = 0; i < n; i++) {
        double top[TOP_MAX], h = 0;                      /* descending */
        int have = 0;
        for (int j = 0; j < vocab; j++) {
            double z = (double)x[i * ld + j] * inv_temp;
            if (have == k && z <= top[k - 1]) continue;
            int at = have < k ? have++ : k - 1;
            for (; at > 0 && top[at - 1] < z; at--) top[at] = top[at - 1];
            top[at] = z;
        }
        for (int j = 0; j < have; j++) h -= exp(top[j] - (double)lse[i]) * (top[j] - (double)lse[i]);
        ent[i] = (acc_t)h;
        if (least) least[i] = (acc_t)(top[have - 1] - (double)lse[i]);
    }
}
