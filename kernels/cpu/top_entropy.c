/* top_entropy.c: the entropy the official APPO code sees: of the k most likely entries only, not renormalised. */
#include "kernels/ops.h"
#include "base/err.h"
#include <math.h>

enum { TOP_MAX = 64 };

void op_top_k_entropy(struct top_k_entropy_args a)
{
    ENSURE(a.k >= 1 && a.k <= TOP_MAX);
    for (int64_t i = 0; i < a.n; i++) {
        double top[TOP_MAX], h = 0;                      /* descending */
        int have = 0;
        for (int j = 0; j < a.vocab; j++) {
            double z = (double)a.x[i * a.ld + j] * a.inv_temp;
            if (have == a.k && z <= top[a.k - 1]) continue;
            int at = have < a.k ? have++ : a.k - 1;
            for (; at > 0 && top[at - 1] < z; at--) top[at] = top[at - 1];
            top[at] = z;
        }
        for (int j = 0; j < have; j++) h -= exp(top[j] - (double)a.lse[i]) * (top[j] - (double)a.lse[i]);
        a.ent[i] = (acc_t)h;
        if (a.least) a.least[i] = (acc_t)(top[have - 1] - (double)a.lse[i]);
    }
}
