/* work.h: the queue of comm_work_next() without the ranks around it: for engine/comm, and for the simulator, which
 * follows the same rule. */
#pragma once

struct work {
    int *item;
    int *next;                          /* [ranks]: item[next[r] .. last[r]) are left of those dealt to rank r */
    int *last;
    int ranks;
};
/* item[begin[r] .. begin[r + 1]) are rank r's; copied. w from {0}, or as work_deal left it. */
void work_deal(struct work *w, const int *item, const int *begin, int ranks);
/* The next item of this rank; when it has none left, the last one of the rank that has most left, of these the first.
 * -1: none is left, or there is no such rank. */
int work_take(struct work *w, int rank);
void work_free(struct work *w);
