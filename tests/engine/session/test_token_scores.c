/* test_token_scores.c: scoring without a learner gives the learner's bits, whatever is scored beside it; the most
 * likely tokens are those of all log-probabilities. */
#include "base/philox.h"
#include "engine/learner/learner.h"
#include "engine/learner/token_scores.h"
#include "tests/engine/rollout/tiny.h"
#include "tests/check.h"
#include <stdlib.h>

enum { SEQS = 5, LONGEST = 40, TOP = 7 };
static const int length[SEQS] = { 13, 1, 40, 2, 25 };

struct all { struct seq_view v[SEQS]; int ids[SEQS][LONGEST]; uint8_t m[LONGEST]; int64_t tokens; };

static void make(struct all *a)
{
    *a = (struct all){ 0 };
    memset(a->m, 1, sizeof a->m);
    for (int i = 0; i < SEQS; i++) {
        for (int k = 0; k < length[i]; k++)
            a->ids[i][k] = (int)(philox4x32(3, (uint32_t)k, (uint32_t)i, 0, 0).v[0] % TINY_VOCAB);
        a->v[i] = (struct seq_view){ .ids = a->ids[i], .m = a->m, .n = length[i], .group = i, .flat = a->tokens };
        a->tokens += length[i];
    }
}

static void same_bits(void **state)
{
    (void)state;
    struct model m;
    struct learner l;
    struct token_scorer s;
    struct all a;
    tiny_model(&m, 3);
    make(&a);
    learner_make(&l, &m, (struct learner_rule){ .max_rows = 128 });
    token_scorer_make(&s, &m, 128, TOP);
    size_t n = (size_t)a.tokens;
    acc_t *logp[3], *ent[3], *best = xcalloc(n * TOP, sizeof *best), *again = xcalloc(n * TOP, sizeof *again);
    int *id = xcalloc(n * TOP, sizeof *id), *id2 = xcalloc(n * TOP, sizeof *id2);
    for (int k = 0; k < 3; k++) { logp[k] = xcalloc(n, sizeof(acc_t)); ent[k] = xcalloc(n, sizeof(acc_t)); }
    struct pack p;
    pack_make(&p, a.v, SEQS);
    learner_score(&l, &p, &(struct score_rule){ .inv_temp = 0.8 }, logp[0], ent[0]);
    token_scorer_run(&s, &p, 0.8, logp[1], ent[1], id, best);
    pack_free(&p);
    for (int i = 0; i < SEQS; i++) {                        /* each alone */
        pack_make(&p, &a.v[i], 1);
        if (p.n) token_scorer_run(&s, &p, 0.8, logp[2], ent[2], id2, again);
        pack_free(&p);
    }
    assert_true(logp[0][1] < 0 && ent[0][1] > 0);
    for (int k = 1; k < 3; k++) {
        assert_memory_equal(logp[0], logp[k], n * sizeof(acc_t));
        assert_memory_equal(ent[0], ent[k], n * sizeof(acc_t));
    }
    assert_memory_equal(id, id2, n * TOP * sizeof *id);
    assert_memory_equal(best, again, n * TOP * sizeof *best);
    for (int k = 0; k < 3; k++) { free(logp[k]); free(ent[k]); }
    free(best); free(again); free(id); free(id2);
    token_scorer_free(&s);
    learner_free(&l);
    model_free(&m);
}

/* Every token of the vocabulary as the last one of the same text: the most likely are the best of these. */
static void the_most_likely(void **state)
{
    (void)state;
    struct model m;
    struct token_scorer s;
    struct all a;
    acc_t logp[LONGEST], ent[LONGEST], best[LONGEST * TOP], all[TINY_VOCAB];
    int id[LONGEST * TOP];
    tiny_model(&m, 3);
    make(&a);
    token_scorer_make(&s, &m, 64, TOP);
    for (int last = 0; last < TINY_VOCAB; last++) {
        struct pack p;
        a.ids[0][length[0] - 1] = last;
        pack_make(&p, &a.v[0], 1);
        token_scorer_run(&s, &p, 1, logp, ent, id, best);
        pack_free(&p);
        all[last] = logp[length[0] - 1];
    }
    const int *top = id + (length[0] - 1) * TOP;
    for (int k = 0; k < TOP; k++) {
        CHECK(best[(length[0] - 1) * TOP + k] == all[top[k]], "place %d", k);
        for (int j = 0; j < TINY_VOCAB; j++) {
            bool before = false;
            for (int i = 0; i <= k; i++) before = before || top[i] == j;
            CHECK(before || all[j] <= all[top[k]], "place %d is token %d, but %d is likelier", k, top[k], j);
        }
    }
    token_scorer_free(&s);
    token_scorer_make(&s, &m, 8, 0);                              /* no most likely wanted, chunks of the least size */
    struct pack p;
    acc_t other[LONGEST];
    struct seq_view v = a.v[0];
    v.n = 8;
    pack_make(&p, &v, 1);
    token_scorer_run(&s, &p, 1, other, ent, NULL, NULL);
    assert_memory_equal(other + 1, logp + 1, 7 * sizeof *other);
    pack_free(&p);
    token_scorer_free(&s);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(the_most_likely) };
    return cmocka_run_group_tests_name("scorer", tests, NULL, NULL);
}
