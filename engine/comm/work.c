/* work.c: a queue of items, some dealt to each rank. A rank takes its own in their order; then the last item of the
 * rank that has most left, because that one would be its owner's last. */
#include "engine/comm/comm_in.h"
#include <stdlib.h>
#include <string.h>

void work_deal(struct work *w, const int *item, const int *begin, int ranks)
{
    work_free(w);
    const size_t n = (size_t)begin[ranks], r = (size_t)ranks;
    w->ranks = ranks;
    w->item = xmalloc(n * sizeof *w->item);
    w->next = xmalloc(r * sizeof *w->next);
    w->last = xmalloc(r * sizeof *w->last);
    if (n) memcpy(w->item, item, n * sizeof *w->item);
    memcpy(w->next, begin, r * sizeof *w->next);
    memcpy(w->last, begin + 1, r * sizeof *w->last);
}

int work_take(struct work *w, int rank)
{
    int most = 0, from = -1;
    if (rank < 0 || rank >= w->ranks) return -1;
    if (w->next[rank] < w->last[rank]) return w->item[w->next[rank]++];
    for (int r = 0; r < w->ranks; r++) {
        if (w->last[r] - w->next[r] <= most) continue;
        most = w->last[r] - w->next[r];
        from = r;
    }
    return from < 0 ? -1 : w->item[--w->last[from]];
}

void work_free(struct work *w)
{
    free(w->item);
    free(w->next);
    free(w->last);
    *w = (struct work){ 0 };
}
