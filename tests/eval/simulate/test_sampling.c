/* test_sampling.c: phases computed by hand, and against a second simulation that goes pass by pass with a loop of its
 * own: the same ends, passes, rows and positions. */
#include "eval/simulate/sampling.h"
#include "base/arith.h"
#include "base/philox.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const struct cost_model plain = { .pass = 1, .row = 0.25, .context = 0.01 };

static struct sim_rollout rollout(int start, int n, ...)
{
    struct sim_rollout r = { .start = start, .segments = n, .length = start };
    va_list a;
    va_start(a, n);
    for (int i = 0; i < n; i++) {
        r.generate[i] = va_arg(a, int);
        if (i + 1 < n) r.result[i] = va_arg(a, int);
        if (i + 1 < n) r.wait[i] = va_arg(a, double);
        r.length += r.generate[i] + r.result[i];
    }
    va_end(a);
    return r;
}

static void by_hand(void **state)
{
    (void)state;
    struct workload w = { .max_seqs = 4, .max_rows = 100 };
    struct sampling_rank o[2];
    int owner[2], item[2] = { 0, 1 }, one[] = { 0, 1 };
    struct sim_rollout r[2] = { rollout(3, 1, 2), rollout(3, 1, 4) }, *first[] = { r, r + 1 };
    struct sampling s = { .w = &w, .m = &plain, .ranks = 1, .units = 1, .first = first, .each = 2, .item = item,
                          .begin = one, .prompts = true };
    /* The leader runs 3 rows (1 + 2 + 3 positions), the other waits; then 2 rows: the leader's second token reads 4,
     * the other's first reads 3; then one row alone, three times: 4, 5, 6 positions. */
    sampling_run(&s, owner, o);
    double t = (1 + 0.75 + 0.06) + (1 + 0.5 + 0.07) + (1 + 0.25 + 0.04) + (1 + 0.25 + 0.05) + (1 + 0.25 + 0.06);
    CHECK_NEAR(o->end, t, 1e-12, "two rollouts of a prompt");
    CHECK(o->passes == 5 && o->rows == 8 && o->positions == 28 && o->tokens == 6, "%g passes, %g rows, %g positions",
          o->passes, o->rows, o->positions);
    /* A call: 2 tokens, 10 s, a result of 3 tokens, 1 token. The last token and the result run together. */
    struct sim_rollout c = rollout(3, 2, 2, 3, 10.0, 1), *calls[] = { &c };
    s = (struct sampling){ .w = &w, .m = &plain, .ranks = 1, .units = 1, .first = calls, .each = 1, .item = item,
                           .begin = one };
    sampling_run(&s, owner, o);
    double busy = (1 + 0.25 + 0.03) + (1 + 0.25 + 0.04) + (1 + 4 * 0.25 + 0.01 * (5 + 6 + 7 + 8));
    CHECK_NEAR(o->busy, busy, 1e-12, "a call: passes");
    CHECK_NEAR(o->end, busy + 10, 1e-12, "a call: the tool runs alone");
    /* One slot: the second starts when the first has ended. */
    w.max_seqs = 1;
    s = (struct sampling){ .w = &w, .m = &plain, .ranks = 1, .units = 1, .first = first, .each = 2, .item = item,
                           .begin = one };
    sampling_run(&s, owner, o);
    CHECK(o->passes == 6 && o->rows == 6, "one slot: %g passes", o->passes);
    /* Two ranks, all dealt to the first, which has one slot: it keeps what it starts, the other takes the last. */
    int both[] = { 0, 2, 2 };
    s = (struct sampling){ .w = &w, .m = &plain, .ranks = 2, .units = 2, .first = first, .each = 1, .item = item,
                           .begin = both, .steal = true };
    sampling_run(&s, owner, o);
    CHECK(owner[0] == 0 && owner[1] == 1 && o[1].taken == 1 && o[0].passes == 2 && o[1].passes == 4, "taken");
    s.steal = false;
    sampling_run(&s, owner, o);
    CHECK(owner[1] == 0 && o[1].passes == 0 && o[1].end == 0 && o[0].passes == 6, "not taken");
    /* With two slots both are begun by the first rank before anything is taken. */
    s.steal = true;
    w.max_seqs = 2;
    sampling_run(&s, owner, o);
    CHECK(owner[0] == 0 && owner[1] == 0 && o[1].taken == 0, "nothing is taken that its rank can start");
}

/* ---- pass by pass ---- */

struct naive { const struct sim_rollout *r; int segment, left, due, pos; double ready; bool in, done, lead, waits; };

/* One rank; rollouts in order, every slot looked at in every pass. */
static struct sampling_rank pass_by_pass(const struct sampling *s)
{
    struct sampling_rank o = { 0 };
    int n = s->units * s->each, done = 0, next = 0, live[64], lives = 0;
    struct naive *x = xcalloc((size_t)n, sizeof *x);
    bool *ran = xcalloc((size_t)s->units, sizeof *ran);
    double now = 0;
    while (done < n) {
        while (next < n && lives < s->w->max_seqs) {
            const struct sim_rollout *r = &s->first[s->item[next / s->each]][next % s->each];
            bool lead = s->prompts && !ran[next / s->each] && next % s->each == 0;
            x[next] = (struct naive){ .r = r, .left = r->generate[0], .due = lead ? r->start : 1,
                                      .pos = lead ? 0 : r->start - 1, .lead = lead,
                                      .waits = s->prompts && !lead && !ran[next / s->each] };
            live[lives++] = next++;
        }
        int rows = 0, take[64] = { 0 };
        for (int kind = 0; kind < 2; kind++)
            for (int k = 0; k < lives; k++) {
                struct naive *q = &x[live[k]];
                if (q->waits && ran[live[k] / s->each]) q->waits = false;
                if (q->waits || q->ready > now || (q->due == 1) != (kind == 0)) continue;
                rows += take[k] = MIN(q->due, s->w->max_rows - rows);
            }
        if (!rows) {
            double soon = 1e300;
            for (int k = 0; k < lives; k++) if (!x[live[k]].waits) soon = MIN(soon, x[live[k]].ready);
            now = soon;
            continue;
        }
        double read = 0;
        for (int k = 0; k < lives; k++)
            for (int i = 0; i < take[k]; i++) read += x[live[k]].pos + i + 1;
        now += cost_pass(s->m, rows, read);
        o.busy += cost_pass(s->m, rows, read);
        o.passes++, o.rows += rows, o.positions += read;
        int kept = 0;
        for (int k = 0; k < lives; k++) {
            struct naive *q = &x[live[k]];
            bool ends = false;
            q->pos += take[k];
            q->due -= take[k];
            if (take[k] && q->lead && q->pos >= q->r->start) ran[live[k] / s->each] = true, q->lead = false;
            if (take[k] && q->due == 0) {
                o.tokens++;
                q->due = 1;
                if (--q->left == 0) {
                    ends = q->segment == q->r->segments - 1;
                    if (!ends) {
                        q->ready = now + q->r->wait[q->segment];
                        q->due = 1 + q->r->result[q->segment];
                        q->left = q->r->generate[++q->segment];
                    }
                }
            }
            if (ends) done++;
            else live[kept++] = live[k];
        }
        lives = kept;
    }
    o.end = now;
    free(x);
    free(ran);
    return o;
}

static void as_pass_by_pass(void **state)
{
    (void)state;
    for (uint32_t trial = 0; trial < 60; trial++) {
        struct philox x = philox4x32(5, trial, 0, 0, 0);
        struct workload w = { .max_seqs = 1 + (int)(x.v[0] % 20), .max_rows = 20 + (int)(x.v[1] % 60) };
        int units = 1 + (int)(x.v[2] % 6), each = 1 + (int)(x.v[3] % 4), item[8], begin[] = { 0, units };
        int64_t tokens = 0;
        struct sim_rollout *r = xcalloc((size_t)(units * each), sizeof *r), *first[8];
        for (int i = 0; i < units * each; i++) {
            struct philox y = philox4x32(6, trial, (uint32_t)i, 0, 0), z = philox4x32(6, trial, (uint32_t)i, 1, 0);
            int start = 2 + (int)(philox4x32(6, trial, (uint32_t)(i / each), 2, 0).v[0] % 90);
            r[i] = y.v[0] % 2 ? rollout(start, 1, 1 + (int)(y.v[1] % 70))
                              : rollout(start, 2, 1 + (int)(y.v[1] % 30), (int)(y.v[2] % 40), z.v[0] % 50 * 0.37,
                                        1 + (int)(y.v[3] % 30));
            tokens += workload_generated(&r[i]);
        }
        for (int u = 0; u < units; u++) item[u] = u, first[u] = r + u * each;
        struct sampling s = { .w = &w, .m = &plain, .ranks = 1, .units = units, .first = first, .each = each,
                              .item = item, .begin = begin, .prompts = trial % 2 };
        struct sampling_rank got, want = pass_by_pass(&s);
        int owner[8];
        sampling_run(&s, owner, &got);
        CHECK(got.tokens == tokens && want.tokens == tokens, "trial %u: %lld of %lld tokens", trial,
              (long long)got.tokens, (long long)tokens);
        CHECK_NEAR(got.passes, want.passes, 0, "trial %u: passes", trial);
        CHECK_NEAR(got.rows, want.rows, 0, "trial %u: rows", trial);
        CHECK_NEAR(got.positions, want.positions, 1e-6, "trial %u: positions", trial);
        CHECK_NEAR(got.busy, want.busy, 1e-9 * want.busy, "trial %u: busy", trial);
        CHECK_NEAR(got.end, want.end, 1e-9 * want.end, "trial %u: end", trial);
        free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(as_pass_by_pass) };
    return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
