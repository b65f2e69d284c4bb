/* test_pack.c: trees in depth-first order: shared tokens are one row, ends are nested, every target is on the row
 * before its token. */
#include "engine/learner/pack.h"
#include "base/philox.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { SEQS = 12, LEN = 20 };

static int visible(const struct pack *p, int q, int k) { return k <= q && q < p->end[k]; }

/* Sequences with random shared prefixes; some are prefixes of others, some have one token only. */
static void draw(struct seq_view *s, int ids[SEQS][LEN], uint8_t m[SEQS][LEN], uint64_t seed)
{
    struct rng r = rng_make(seed, 9, 0);
    int64_t flat = 0;
    for (int i = 0; i < SEQS; i++) {
        int n = 1 + (int)rng_below(&r, LEN), group = i / 4;
        for (int j = 0; j < n; j++) {
            ids[i][j] = (int)rng_below(&r, 3);
            m[i][j] = (uint8_t)rng_below(&r, 2);
        }
        if (i % 4) memcpy(ids[i], ids[i - 1], (size_t)rng_below(&r, (uint32_t)n + 1) * sizeof(int));
        s[i] = (struct seq_view){ .ids = ids[i], .m = m[i], .n = n, .group = group, .flat = flat };
        flat += LEN;
    }
}

static void check_paths(const struct pack *p, const struct seq_view *s)
{
    for (int i = 0; i < p->seqs; i++) {
        const struct seq_view *q = &s[p->order[i]];
        const int *path = p->path + p->path_at[i];
        for (int d = 0; d < q->n - 1; d++) {
            assert_int_equal(p->ids[path[d]], q->ids[d]);
            assert_int_equal(p->pos[path[d]], d);
            int seen = 0;
            for (int k = 0; k <= path[d]; k++) seen += visible(p, path[d], k);
            assert_int_equal(seen, d + 1);              /* exactly its own path */
            for (int k = 0; k <= d; k++) assert_true(visible(p, path[d], path[k]));
        }
    }
}

static void check_targets(const struct pack *p, const struct seq_view *s)
{
    int64_t found = 0;
    for (int64_t i = 0; i < p->rows; i++)
        for (int t = p->begin[i]; t < p->begin[i + 1]; t++, found++) {
            int which = (int)(p->tgt_flat[t] / LEN), at = (int)(p->tgt_flat[t] % LEN);
            assert_int_equal(s[which].ids[at], p->tgt[t]);
            assert_int_equal(s[which].m[at], 1);
            assert_int_equal(p->pos[p->row[i]], at - 1);
            for (int k = 0; k < p->seqs; k++)
                if (p->order[k] == which) assert_int_equal(p->path[p->path_at[k] + at - 1], p->row[i]);
        }
    int64_t want = 0;
    for (int i = 0; i < SEQS; i++)
        for (int d = 1; d < s[i].n; d++) want += s[i].m[d];
    assert_int_equal(found, want);
    assert_int_equal(p->targets, want);
}

static void random_trees(void **state)
{
    (void)state;
    int ids[SEQS][LEN];
    uint8_t m[SEQS][LEN];
    struct seq_view s[SEQS];
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct pack p;
        draw(s, ids, m, seed);
        pack_make(&p, s, SEQS);
        check_paths(&p, s);
        check_targets(&p, s);
        int64_t rows = 0;                               /* the number of different (group, prefix) pairs */
        for (int i = 0; i < SEQS; i++)
            for (int d = 1; d < s[i].n; d++) {
                int first = 1;
                for (int j = 0; j < i && first; j++)
                    if (s[j].group == s[i].group && s[j].n > d && !memcmp(ids[j], ids[i], (size_t)d * sizeof(int)))
                        first = 0;
                rows += first;
            }
        assert_int_equal(p.n, rows);
        pack_free(&p);
    }
}

static void fitting(void **state)
{
    (void)state;
    int ids[SEQS][LEN];
    uint8_t m[SEQS][LEN];
    struct seq_view s[SEQS];
    for (uint64_t seed = 1; seed <= 100; seed++)
        for (int max = 1; max < 120; max += 7) {
            draw(s, ids, m, seed);
            int take = pack_fit(s, SEQS, max);
            assert_in_range(take, 1, SEQS);
            struct pack p;
            pack_make(&p, s, take);
            if (take > 1) assert_true(p.n <= max);
            pack_free(&p);
            if (take == SEQS) continue;
            pack_make(&p, s, take + 1);
            assert_true(p.n > max);                     /* one more would not have fitted */
            pack_free(&p);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_trees), cmocka_unit_test(fitting) };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
