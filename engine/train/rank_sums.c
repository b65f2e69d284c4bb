/* rank_sums.c: what ranks tell each other at the end of a step. Everything else in the step's sums is made by every
 * rank from the trajectories that all hold, in the same order, and is the same already. */
#include "engine/train/rank_sums.h"
#include "engine/comm/comm.h"
#include <string.h>

/* One rank's numbers, as they are gathered. */
struct rank_record {
    double idle, tail, tokens;
    int64_t stolen;
};

void rank_sums(struct step_sums *z, double wall_s)
{
    struct rank_record mine = { wall_s > 0 ? z->t_rank_wait / wall_s : 0, z->t_rank_tail, (double)z->generated,
                                z->stolen_prompts };
    int64_t *const counts[] = { &z->generated, &z->generated_branch, &z->tool_tokens, &z->scored_positions,
                                &z->timeouts, &z->search_hits, &z->search_misses };
    enum { COUNTS = sizeof counts / sizeof *counts };
    int64_t sum[COUNTS];
    struct comm_parts all;
    z->ranks = comm_ranks();
    if (z->ranks == 1) return;
    for (int i = 0; i < COUNTS; i++) sum[i] = *counts[i];
    comm_sum_counts(sum, COUNTS);
    for (int i = 0; i < COUNTS; i++) *counts[i] = sum[i];
    comm_gather(&all, &mine, sizeof mine);
    z->stolen_prompts = 0;
    for (int r = 0; r < z->ranks; r++) {
        struct rank_record x;
        memcpy(&x, all.p + all.begin[r], sizeof x);
        mean_add(&z->rank_tokens, x.tokens);
        mean_add(&z->rank_idle, x.idle);
        mean_add(&z->rank_tail, x.tail);
        z->stolen_prompts += x.stolen;
    }
    comm_parts_free(&all);
}
