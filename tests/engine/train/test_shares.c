/* test_shares.c: every trajectory in the loss is trained on by one rank, in an order that packs can share, and no rank
 * has much more to do than another. */
#include "engine/train/shares.h"
#include "engine/train/gradient.h"
#include "base/philox.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 10, LEN_MOST = 120 };

/* Groups of `each` initial rollouts of random lengths, and as many branches, each of which keeps half of the rollout
 * that it left. Every fifth trajectory has no target. */
struct batch { struct update_batch f; struct group *g; int groups; };

static struct trajectory *trajectory(struct rng *r, const struct trajectory *from, int orig, int prompt)
{
    struct trajectory *t = xcalloc(1, sizeof *t);
    int n = PROMPT + 2 + (int)rng_below(r, LEN_MOST - PROMPT - 2);
    *t = (struct trajectory){ .branch = from, .orig = orig };
    t->seq.ids = xcalloc(LEN_MOST, sizeof *t->seq.ids);
    t->seq.prompt_len = PROMPT;
    t->seq.born = from ? from->seq.n / 2 : PROMPT;
    t->seq.n = t->seq.born < n ? n : t->seq.born + 1;
    for (int i = 0; i < t->seq.n; i++)
        t->seq.ids[i] = i < PROMPT ? prompt : from && i < t->seq.born ? from->seq.ids[i] : (int)rng_below(r, 1000);
    return t;
}

static void batch_make(struct batch *b, int groups, int each, uint32_t seed)
{
    struct rng r = rng_make(3, seed, 0);
    *b = (struct batch){ .g = xcalloc((size_t)groups, sizeof *b->g), .groups = groups };
    struct update_batch *f = &b->f;
    size_t most = (size_t)(groups * each * 2 + 1);
    f->traj = xcalloc(most, sizeof *f->traj);
    f->uid = xcalloc(most, sizeof *f->uid);
    f->begin = xcalloc(most, sizeof *f->begin);
    f->live = xcalloc(most, 1);
    for (int i = 0; i < groups; i++) {
        struct group *g = &b->g[i];
        g->traj = xcalloc((size_t)(2 * each), sizeof(struct trajectory *));
        g->initial = each;
        for (; g->n < 2 * each; g->n++) {
            bool branch = g->n >= each;
            g->traj[g->n] = trajectory(&r, branch ? g->traj[g->n - each] : NULL, branch ? g->n - each : 0, i);
        }
    }
    for (int branch = 0; branch < 2; branch++)
        for (int i = 0; i < groups; i++)
            for (int j = 0; j < each; j++) {
                struct trajectory *t = b->g[i].traj[j + branch * each];
                f->traj[f->rows] = t;
                f->uid[f->rows] = i;
                f->begin[f->rows + 1] = f->begin[f->rows] + t->seq.n - PROMPT;
                f->initial += !branch;
                f->rows++;
            }
    f->m = xcalloc((size_t)f->begin[f->rows] + 1, 1);
    for (int k = 0; k < f->rows; k++) if (k % 5 != 2) f->m[f->begin[k + 1] - 1] = 1;
}

static void batch_free(struct batch *b)
{
    for (int k = 0; k < b->f.rows; k++) {
        free(b->f.traj[k]->seq.ids);
        free(b->f.traj[k]);
    }
    for (int i = 0; i < b->groups; i++) free(b->g[i].traj);
    free(b->g); free(b->f.traj); free(b->f.uid); free(b->f.begin); free(b->f.live);
    free(b->f.m);
}

/* Rows of one pack of the rank's trajectories. */
static int64_t packed(const struct batch *b, const struct shares *s, int r)
{
    int n = s->begin[r + 1] - s->begin[r];
    struct seq_view *v = xcalloc((size_t)n + 1, sizeof *v);
    uint8_t m[LEN_MOST] = { 0 };
    struct pack p;
    for (int i = 0; i < n; i++) {
        int k = s->k[s->begin[r] + i];
        v[i] = (struct seq_view){ .ids = b->f.traj[k]->seq.ids, .m = m, .n = b->f.traj[k]->seq.n,
                                  .group = b->f.uid[k] };
    }
    pack_make(&p, v, n);
    int64_t rows = p.n;
    pack_free(&p);
    free(v);
    return rows;
}

static const struct config all_in_loss;

static void test_shares(void **state)
{
    (void)state;
    static const struct { int groups, each, ranks; double most; } cases[] = {
        { 1, 1, 1, 1 }, { 16, 8, 1, 1 }, { 16, 8, 2, 1.03 }, { 13, 4, 4, 1.1 }, { 64, 4, 8, 1.05 }, { 1, 16, 2, 1.1 },
        { 2, 16, 7, 1.3 }, { 1, 1, 4, 4 }, { 8, 16, 16, 1.2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batch b;
        struct shares s, again;
        int ranks = cases[i].ranks;
        batch_make(&b, cases[i].groups, cases[i].each, (uint32_t)i);
        int *times = xcalloc((size_t)b.f.rows + 1, sizeof *times), in_loss = 0;
        shares_make(&s, &b.f, &all_in_loss, b.g, b.groups, ranks);
        shares_make(&again, &b.f, &all_in_loss, b.g, b.groups, ranks);
        int64_t most = 0, all = 0;
        for (int r = 0; r < ranks; r++) {
            for (int j = s.begin[r]; j < s.begin[r + 1]; j++) {
                times[s.k[j]]++;
                if (j > s.begin[r])
                    CHECK(ranks == 1 ? s.k[j] > s.k[j - 1] : b.f.uid[s.k[j]] >= b.f.uid[s.k[j - 1]],
                          "case %zu: the order of rank %d", i, r);
            }
            int64_t rows = ranks == 1 ? s.rows[0] : packed(&b, &s, r);
            CHECK(rows <= s.rows[r] && (double)rows >= 0.9 * (double)s.rows[r],
                  "case %zu: rank %d has %lld rows, %lld were counted", i, r, (long long)rows, (long long)s.rows[r]);
            most = rows > most ? rows : most;
            all += rows;
        }
        for (int k = 0; k < b.f.rows; k++) {
            bool is = update_batch_in_loss(&b.f, &all_in_loss, k);
            in_loss += is;
            CHECK(times[k] == is, "case %zu: trajectory %d is trained %d times", i, k, times[k]);
        }
        CHECK(!memcmp(s.k, again.k, (size_t)in_loss * sizeof *s.k), "case %zu: dealt otherwise", i);
        CHECK((double)most * ranks <= cases[i].most * (double)all, "case %zu: %lld rows of %lld in %d ranks", i,
              (long long)most, (long long)all, ranks);
        for (int r = 0; r < ranks && in_loss >= 2 * ranks; r++)
            CHECK(s.begin[r] < s.begin[r + 1], "case %zu: rank %d of %d has nothing", i, r, ranks);
        shares_free(&s);
        shares_free(&again);
        free(times);
        batch_free(&b);
    }
}

/* Enough prompts: none is cut. */
static void test_prompts_stay_whole(void **state)
{
    (void)state;
    struct batch b;
    struct shares s;
    int rank[64];
    batch_make(&b, 64, 4, 9);
    shares_make(&s, &b.f, &all_in_loss, b.g, b.groups, 2);
    memset(rank, -1, sizeof rank);
    for (int r = 0; r < 2; r++)
        for (int j = s.begin[r]; j < s.begin[r + 1]; j++) {
            int *of = &rank[b.f.uid[s.k[j]]];
            CHECK(*of < 0 || *of == r, "prompt %d is cut", b.f.uid[s.k[j]]);
            *of = r;
        }
    shares_free(&s);
    batch_free(&b);
}

/* With an exact sum each prompt's packs are the same sequences in the same order, whatever the number of ranks. */
static void test_packs_of_prompts(void **state)
{
    (void)state;
    enum { GROUPS = 5, EACH = 8, ROWS = 300 };
    struct config exact = all_in_loss;
    struct batch b;
    int first[GROUPS][2 * EACH], ends[GROUPS][2 * EACH], got[GROUPS][2 * EACH], got_ends[GROUPS][2 * EACH];
    exact.actor.grad_sum = GRAD_SUM_EXACT;
    batch_make(&b, GROUPS, EACH, 4);
    for (int ranks = 1; ranks <= 4; ranks++) {
        struct shares s;
        int most = 0;
        shares_make(&s, &b.f, &exact, b.g, GROUPS, ranks);
        memset(got, -1, sizeof got);
        memset(got_ends, -1, sizeof got_ends);
        for (int r = 0; r < ranks; r++) {
            const int *k = s.k + s.begin[r];
            int n = s.begin[r + 1] - s.begin[r], packs, at[GROUPS] = { 0 }, packs_of[GROUPS] = { 0 };
            struct seq_view v[GROUPS * 2 * EACH];
            for (int i = 0; i < n; i++)
                v[i] = (struct seq_view){ .ids = b.f.traj[k[i]]->seq.ids, .n = b.f.traj[k[i]]->seq.n,
                                          .group = b.f.uid[k[i]] };
            int *end = gradient_packs(v, n, ROWS, true, &packs);
            for (int i = 0, from = 0; i < packs; from = end[i++]) {
                int of = v[from].group;
                for (int j = from; j < end[i]; j++) {
                    CHECK(v[j].group == of, "%d ranks: prompts %d and %d in a pack", ranks, of, v[j].group);
                    got[of][at[of]++] = k[j];
                }
                got_ends[of][packs_of[of]++] = at[of];
                most = packs_of[of] > most ? packs_of[of] : most;
            }
            CHECK(packs == 0 ? n == 0 : end[packs - 1] == n, "%d ranks: packs end elsewhere", ranks);
            free(end);
        }
        CHECK(most > 1, "no prompt has two packs");
        if (ranks == 1) {
            memcpy(first, got, sizeof got);
            memcpy(ends, got_ends, sizeof ends);
        }
        CHECK(!memcmp(first, got, sizeof got) && !memcmp(ends, got_ends, sizeof ends), "%d ranks: other packs", ranks);
        shares_free(&s);
    }
    batch_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_shares), cmocka_unit_test(test_prompts_stay_whole),
                                        cmocka_unit_test(test_packs_of_prompts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
