/* test_sample.c: every sample is checked against the cumulative sum in double at its own Philox word, sets of top-k and
 * top-p against a sort, frequencies by chi-square; logp and entropy are the bits of op_row_stats. */
#include "tests/kernels/case.h"

static struct sample_key *keys(const struct sample_key *h, int n)
{
    struct sample_key *d = keep(dev_alloc((size_t)n * sizeof *d), true);
    dev_put(d, h, (size_t)n * sizeof *d);
    return d;
}

static const double *by_logit;
static int higher_first(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    return by_logit[i] > by_logit[j] ? -1 : by_logit[i] < by_logit[j] ? 1 : i - j;
}

/* w[j] = weight of the ids that may be sampled, 0 elsewhere; edge: the least distance of the kept mass from top_p,
 * relative: near 0 rounding decides. */
static double expect(double *w, const double *x, const struct sample_rule *r, int vocab, double *edge)
{
    int *id = xmalloc((size_t)vocab * sizeof *id), n = 0;
    double max = -HUGE_VAL, all = 0, mass = 0;
    for (int j = 0; j < vocab; j++) {
        w[j] = 0;
        if (!r->allow || (r->allow[j / 32] >> (j % 32) & 1)) id[n++] = j, max = fmax(max, x[j]);
    }
    by_logit = x;
    qsort(id, (size_t)n, sizeof *id, higher_first);
    if (r->top_k > 0 && r->top_k < n) n = r->top_k;
    for (int k = 0; k < n; k++) all += exp((x[id[k]] - max) / r->temperature);
    *edge = 1;
    for (int k = 0; k < n; k++) {
        if (r->top_p < 1) *edge = fmin(*edge, fabs(mass / all - r->top_p));
        if (k > 0 && r->top_p < 1 && mass >= r->top_p * all) break;
        mass += w[id[k]] = exp((x[id[k]] - max) / r->temperature);
    }
    free(id);
    return mass;
}

static const struct { int vocab, pad; double scale, temperature, top_p; int top_k; bool mask; } cases[] = {
    { 1, 0, 1, 1, 1, 0, false }, { 2, 1, 1, 1, 1, 0, false }, { 13, 3, 3, 1, 1, 0, false },
    { 64, 0, 3, 0.7, 1, 0, false }, { 65, 7, 4, 1.3, 1, 0, false }, { 510, 2, 4, 1, 1, 0, false },
    { 510, 2, 4, 1, 1, 7, false }, { 510, 2, 4, 1, 0.9, 0, false }, { 510, 2, 4, 0.8, 0.6, 40, false },
    { 510, 2, 4, 1, 1, 0, true }, { 510, 2, 4, 1, 0.5, 9, true }, { 33, 0, 2, 1, 0, 0, false },
    { 33, 0, 2, 1, 1, 1, true }, { 1500, 8, 3, 1, 0.95, 0, false }, { 5000, 8, 2, 1, 1, 5000, false },
    { 200, 0, 300, 1, 0.9, 50, true },
};

static void draws_follow_the_cumulative_sum(void **state)
{
    (void)state;
    enum { N = 200 };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int vocab = cases[c].vocab, ld = vocab + cases[c].pad;
        struct rng r = rng_make(c, 40, 0);
        double *x = noise(&r, (int64_t)N * ld, cases[c].scale), *w = host(vocab), *ids[2] = { host(N), host(N) };
        for (int i = 0; i < N; i++) for (int j = 0; j < ld; j++) if (j >= vocab) x[(int64_t)i * ld + j] = (double)NAN;
        uint32_t allow[160];
        struct sample_key key[N];
        for (int i = 0; i < 160; i++) allow[i] = rng_u32(&r) & rng_u32(&r);
        allow[0] |= 1;
        for (int i = 0; i < N; i++)
            key[i] = (struct sample_key){ 3, (uint32_t)i / 7, (uint32_t)i % 7, 1000 + (uint32_t)i };
        struct sample_rule rule = { cases[c].temperature, cases[c].top_p, cases[c].top_k, 77 + c, NULL }, plain = rule;
        if (cases[c].mask) {
            uint32_t *d = keep(dev_alloc(sizeof allow), true);
            dev_put(d, allow, sizeof allow);
            rule.allow = d;
            plain.allow = allow;
        }
        elem_t *d_x = elems(x, (int64_t)N * ld);
        acc_t *logp = accs(NULL, N), *ent = accs(NULL, N), *logp2 = accs(NULL, N), *ent2 = accs(NULL, N);
        int id[N], *d_id = keep(dev_alloc(sizeof id), true);
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            op_sample((struct sample_args){
                .id = d_id, .logp = logp, .ent = ent, .x = d_x, .rule = &rule, .key = keys(key, N), .n = N,
                .vocab = vocab, .ld = ld });
            dev_get(id, d_id, sizeof id);
            for (int i = 0; i < N; i++) ids[t - 1][i] = id[i];
        }
        CHECK(same_bits(ids[0], ids[1], N), "case %zu: 2 threads draw other ids", c);
        op_row_stats((struct row_stats_args){
            .logp = logp2, .ent = ent2, .x = d_x, .inv_temp = 1 / rule.temperature, .tgt = d_id, .n = N, .vocab = vocab,
            .ld = ld });
        CHECK(same_bits(got_acc(logp, N), got_acc(logp2, N), N), "case %zu: logp is not op_row_stats'", c);
        CHECK(same_bits(got_acc(ent, N), got_acc(ent2, N), N), "case %zu: entropy is not op_row_stats'", c);
        int skipped = 0;
        for (int i = 0; i < N; i++) {
            double edge, mass = expect(w, x + (int64_t)i * ld, &plain, vocab, &edge), below = 0, slack = 64 * EPS;
            if (edge < 32 * EPS && cases[c].top_p > 0) { skipped++; continue; }
            double u =
                ((double)philox4x32(rule.seed, key[i].pos, key[i].rollout, key[i].prompt, key[i].step).v[0] + 0.5) *
                0x1p-32;
            CHECK(id[i] >= 0 && id[i] < vocab && w[id[i]] > 0, "case %zu row %d: id %d is not in the set", c, i, id[i]);
            for (int j = 0; j < id[i]; j++) below += w[j];
            CHECK(below / mass <= u + slack && u - slack <= (below + w[id[i]]) / mass,
                  "case %zu row %d: id %d holds %g to %g, u is %g", c, i, id[i], below / mass,
                  (below + w[id[i]]) / mass, u);
        }
        CHECK(skipped < N / 20, "case %zu: %d rows where rounding decides the set", c, skipped);
        drop();
    }
}

static void greedy_takes_the_lowest_of_the_best(void **state)
{
    (void)state;
    enum { V = 21 };
    double *x = host(4 * V);
    for (int i = 0; i < 4; i++) for (int j = 0; j < V; j++) x[i * V + j] = -j % 5;
    x[3] = x[11] = x[20] = 9;
    x[2 * V] = x[2 * V + V - 1] = 7;
    x[3 * V + V - 1] = 8;
    struct sample_key key[4] = { { 0 } };
    struct sample_rule r = { 0, 1, 0, 5, NULL };
    int id[4], *d_id = keep(dev_alloc(sizeof id), true);
    acc_t *logp = accs(NULL, 4), *ent = accs(NULL, 4), *logp2 = accs(NULL, 4), *ent2 = accs(NULL, 4);
    elem_t *d = elems(x, 4 * V);
    op_sample((struct sample_args){
        .id = d_id, .logp = logp, .ent = ent, .x = d, .rule = &r, .key = keys(key, 4), .n = 4, .vocab = V, .ld = V });
    dev_get(id, d_id, sizeof id);
    static const int want[4] = { 3, 0, 0, V - 1 };
    for (int i = 0; i < 4; i++) CHECK(id[i] == want[i], "row %d: greedy took %d, not %d", i, id[i], want[i]);
    op_row_stats((struct row_stats_args){
        .logp = logp2, .ent = ent2, .x = d, .inv_temp = 1, .tgt = d_id, .n = 4, .vocab = V, .ld = V });
    CHECK(same_bits(got_acc(logp, 4), got_acc(logp2, 4), 4) && same_bits(got_acc(ent, 4), got_acc(ent2, 4), 4),
          "greedy statistics are those of temperature 1");
    uint32_t allow[1] = { ~(1u << 3) & ~1u }, *d_allow = keep(dev_alloc(sizeof allow), true);
    dev_put(d_allow, allow, sizeof allow);
    r.allow = d_allow;
    op_sample((struct sample_args){ .id = d_id, .x = d, .rule = &r, .key = keys(key, 4), .n = 4, .vocab = V, .ld = V });
    dev_get(id, d_id, sizeof id);
    CHECK(id[0] == 11 && id[2] == V - 1, "greedy under a mask took %d and %d", id[0], id[2]);
    drop();
}

/* top_k with ties at the border keeps the lower ids; with a mask that leaves only ids too unlikely for a float, they
 * are still sampled in proportion. */
static void ties_and_underflow(void **state)
{
    (void)state;
    enum { V = 40, N = 2000 };
    double *x = host((int64_t)N * V);
    struct sample_key key[N];
    int id[N], seen[V] = { 0 }, *d_id = keep(dev_alloc(sizeof id), true);
    for (int i = 0; i < N; i++) {
        key[i] = (struct sample_key){ 0, 0, 0, (uint32_t)i };
        for (int j = 0; j < V; j++) x[i * V + j] = j == 30 ? 2 : j == 31 ? -500 : j == 32 ? -498 : 1;
    }
    struct sample_rule r = { 1, 1, 4, 9, NULL };
    elem_t *d = elems(x, (int64_t)N * V);
    op_sample((struct sample_args){ .id = d_id, .x = d, .rule = &r, .key = keys(key, N), .n = N, .vocab = V, .ld = V });
    dev_get(id, d_id, sizeof id);
    for (int i = 0; i < N; i++) seen[id[i]]++;
    for (int j = 0; j < V; j++) CHECK((seen[j] > 0) == (j < 3 || j == 30), "top-4: id %d sampled %d times", j, seen[j]);
    uint32_t allow[2] = { 1u << 31, 1u }, *d_allow = keep(dev_alloc(sizeof allow), true);
    dev_put(d_allow, allow, sizeof allow);
    r = (struct sample_rule){ 1, 1, 0, 9, d_allow };
    op_sample((struct sample_args){ .id = d_id, .x = d, .rule = &r, .key = keys(key, N), .n = N, .vocab = V, .ld = V });
    dev_get(id, d_id, sizeof id);
    int high = 0;
    const double share = 1 / (1 + exp(-2));
    for (int i = 0; i < N; i++) {
        CHECK(id[i] == 31 || id[i] == 32, "the mask let %d through", id[i]);
        high += id[i] == 32;
    }
    CHECK_NEAR(high, share * N, 4 * sqrt(N * share * (1 - share)), "share of the likelier of two unlikely ids");
    drop();
}

static void frequencies(void **state)
{
    (void)state;
    enum { V = 23, N = 20000 };
    struct rng r = rng_make(4, 41, 0);
    double *x = noise(&r, V, 2), *all = host((int64_t)N * V), p[V], sum = 0, chi = 0;
    struct sample_key *key = keep(xmalloc(N * sizeof *key), false);
    int *id = keep(xmalloc(N * sizeof *id), false), *d_id = keep(dev_alloc(N * sizeof *id), true), seen[V] = { 0 };
    for (int i = 0; i < N; i++) {
        memcpy(all + i * V, x, sizeof p);
        key[i] =
            (struct sample_key){ (uint32_t)i % 10, (uint32_t)i / 10 % 10, (uint32_t)i / 100 % 10, (uint32_t)i / 1000 };
    }
    struct sample_rule rule = { 0.9, 1, 0, 1234567890123ull, NULL };
    op_sample((struct sample_args){
        .id = d_id, .x = elems(all, (int64_t)N * V), .rule = &rule, .key = keys(key, N), .n = N, .vocab = V, .ld = V });
    dev_get(id, d_id, N * sizeof *id);
    for (int i = 0; i < N; i++) seen[id[i]]++;
    for (int j = 0; j < V; j++) sum += p[j] = exp(x[j] / 0.9);
    for (int j = 0; j < V; j++) chi += pow(seen[j] - N * p[j] / sum, 2) / (N * p[j] / sum);
    CHECK(chi < 48.3, "chi-square of %d draws over %d ids: %.1f, 48.3 is passed once in a thousand", N, V, chi);
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(draws_follow_the_cumulative_sum),
                                        cmocka_unit_test(greedy_takes_the_lowest_of_the_best),
                                        cmocka_unit_test(ties_and_underflow), cmocka_unit_test(frequencies) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
