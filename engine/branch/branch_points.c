/* branch_points.c: branch points of a prompt: op_branch_score scores, each signal has its sort key, op_branch_select
 * ranks. Random numbers have seeds of their own: with the sampler's key and counters (pos, rollout, prompt, step) a
 * point would get the very number that its token was sampled with. */
#include "engine/branch/branch_points.h"
#include "base/err.h"
#include "base/philox.h"
#include <math.h>
#include <stdlib.h>

static const uint64_t order_key = 0x6f72646572207277u, draw_key = 0x72616e6b20647261u;     /* arbitrary, distinct */

/* The four counters are taken, so epoch and round go into the Philox key, spread over its bits by an odd number (2^64 /
 * golden ratio). */
static uint64_t philox_key(const struct branch_key *k, uint64_t use)
{
    return k->seed ^ use ^ (((uint64_t)k->epoch << 8 | (k->round - 1)) * 0x9e3779b97f4a7c15u);
}

struct branch_config branch_default(void)
{
    return (struct branch_config){ .rule = { exp2(-1.0 / 32), 1, 1.2 },
                                   .signal = SIGNAL_BS,
                                   .pool = POOL_ROLLOUT,
                                   .per_row = 1,
                                   .min_gap = 1,
                                   .strict_first = true,
                                   .fallback_by_entropy = true,
                                   .entropy_if_flat = true,
                                   .resample_token = true };
}

struct branch_config branch_paper(void)
{
    struct branch_config c = branch_default();
    c.strict_first = c.fallback_by_entropy = false;
    return c;
}

struct branch_config branch_official(void)
{
    return (struct branch_config){ .rule = { 1, 0.8, 1.2 },
                                   .signal = SIGNAL_BS,
                                   .pool = POOL_PROMPT,
                                   .per_row = 1,
                                   .min_gap = 1,
                                   .strict_first = true };
}

int branch_candidates(uint8_t *ok, const int *ids, const uint8_t *m, int n, const uint8_t *never, int vocab, int budget)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        ok[i] = m[i] && ids[i] >= 0 && ids[i] < vocab && !never[ids[i]] && (budget <= 0 || i + 1 < budget);
        count += ok[i];
    }
    return count;
}

/* The rollouts of one prompt in vectors, scored. */
struct scored {
    int64_t *begin;
    acc_t *logp, *logp_old, *entropy, *f, *zf, *zh, *score, *key;
    uint8_t *m, *ok;
    bool *flat;
    int rows;
    void *room;
};

static struct scored score_rows(const struct branch_view *v, int rows, const struct branch_rule *rule)
{
    struct scored p = { .begin = xmalloc(((size_t)rows + 1) * sizeof *p.begin),
                      .flat = xcalloc((size_t)rows, sizeof *p.flat),
                      .rows = rows };
    p.begin[0] = 0;
    for (int r = 0; r < rows; r++) p.begin[r + 1] = p.begin[r] + v[r].n;
    size_t n = (size_t)p.begin[rows] + 1;
    acc_t *w = p.room = xmalloc(n * (8 * sizeof *w + 2));
    acc_t **part[] = { &p.logp, &p.logp_old, &p.entropy, &p.f, &p.zf, &p.zh, &p.score, &p.key };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++, w += n) *part[i] = w;
    p.m = (uint8_t *)w;
    p.ok = p.m + n;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < v[r].n; i++) {
            int64_t at = p.begin[r] + i;
            p.m[at] = v[r].m[i];
            p.ok[at] = v[r].m[i] && v[r].ok[i];
            p.logp[at] = v[r].logp[i];
            p.logp_old[at] = v[r].logp_old[i];
            p.entropy[at] = v[r].entropy[i];
        }
    op_branch_score(&(struct branch_scores){ p.f, p.zf, p.zh, p.score }, &(struct branch_in){
        .logp = p.logp, .logp_old = p.logp_old, .entropy = p.entropy, .m = p.m, .begin = p.begin, .rows = rows }, rule);
    return p;
}

static void scored_free(struct scored *p)
{
    free(p->begin);
    free(p->flat);
    free(p->room);
}

/* zf is exactly 0 over a whole rollout only if F is constant */
static bool is_flat(const struct scored *p, int row)
{
    for (int64_t i = p->begin[row]; i < p->begin[row + 1]; i++) if (p->m[i] && p->zf[i] != 0) return false;
    return true;
}

static acc_t key_at(const struct scored *p, int row, int64_t i, const struct branch_config *c,
                    const struct branch_key *k)
{
    bool flat = p->flat[row] && c->entropy_if_flat;
    switch (c->signal) {
    case SIGNAL_BS:       return flat ? p->zh[i] : p->score[i];
    case SIGNAL_OMEGA:    return flat ? p->zh[i] : p->zf[i];
    case SIGNAL_ADDITIVE: return p->zf[i] + p->zh[i];
    case SIGNAL_ENTROPY: case SIGNAL_TOOL_BOUNDARY: return p->zh[i];
    case SIGNAL_RANDOM:   break;
    }
    uint32_t draw =
        philox4x32(philox_key(k, draw_key), (uint32_t)(i - p->begin[row]), (uint32_t)row, k->prompt, k->step).v[0];
    return (acc_t)(draw * 0x1p-32);
}

static void set_keys(struct scored *p, const struct branch_config *c, const struct branch_key *k)
{
    for (int row = 0; row < p->rows; row++) {
        p->flat[row] = is_flat(p, row);
        for (int64_t i = p->begin[row]; i < p->begin[row + 1]; i++) {
            if (!p->ok[i]) continue;
            p->key[i] = key_at(p, row, i, c, k);
            if (c->signal == SIGNAL_TOOL_BOUNDARY && i > p->begin[row] && !p->m[i - 1]) p->ok[i] = 2;
        }
    }
}

/* Fisher-Yates */
static int *shuffled(int rows, const struct branch_key *k)
{
    int *order = xmalloc((size_t)rows * sizeof *order);
    struct rng g = rng_make(philox_key(k, order_key), k->prompt, k->step);
    for (int i = 0; i < rows; i++) order[i] = i;
    for (int i = rows - 1; i > 0; i--) {
        int j = (int)rng_below(&g, (uint32_t)i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    return order;
}

static int choose(struct branch_choice *out, struct scored *p, int want, const struct branch_config *c,
                  const struct branch_key *k)
{
    bool by_rollout = c->pool == POOL_ROLLOUT, bs = c->signal == SIGNAL_BS;
    struct select_rule rule = { .want = want,
                                .per_row = by_rollout ? (c->per_row > 0 ? c->per_row : 1) : 0,
                                .min_gap = c->min_gap,
                                .strict_first = bs && c->strict_first,
                                .fallback_by_entropy = bs && c->fallback_by_entropy };
    struct branch_point *point = xmalloc((size_t)want * sizeof *point);
    int *order = by_rollout ? shuffled(p->rows, k) : NULL;
    set_keys(p, c, k);
    int n = op_branch_select(point, &(struct select_in){
        .key = p->key, .zf = p->zf, .zh = p->zh, .ok = p->ok, .begin = p->begin, .rows = p->rows, .order = order
    }, &rule);
    for (int i = 0; i < n; i++) {
        int row = point[i].row;
        int64_t at = p->begin[row] + point[i].pos;
        bool fallback = p->flat[row] && c->entropy_if_flat && (bs || c->signal == SIGNAL_OMEGA);
        out[i] = (struct branch_choice){
            row, point[i].pos, (double)point[i].score, (double)p->zf[at], (double)p->zh[at], point[i].strict, fallback
        };
    }
    free(order);
    free(point);
    return n;
}

int branch_choose(struct branch_choice *out, const struct branch_view *rows, int n_rows, int want,
                  const struct branch_config *c, const struct branch_key *key)
{
    if (n_rows <= 0 || want <= 0) return 0;
    struct scored p = score_rows(rows, n_rows, &c->rule);
    int n = choose(out, &p, want, c, key);
    scored_free(&p);
    return n;
}

static bool has_candidate(const struct branch_row *r)
{
    for (int i = 0; i < r->view.n; i++) if (r->view.m[i] && r->view.ok[i]) return true;
    return false;
}

static struct branch_summary summary_of(const struct scored *p, int uid, int first)
{
    struct branch_summary s = { .uid = uid, .first = first };
    for (int64_t i = 0; i < p->begin[p->rows]; i++) {
        s.candidates += p->ok[i];
        s.strict += p->ok[i] && p->zf[i] > 0 && p->zh[i] > 0 && p->score[i] > 0;
    }
    return s;
}

static struct branch_request request_at(const struct branch_row *r, struct branch_choice choice, int row, int budget,
                                        bool resample)
{
    int used = 0, end = choice.pos + !resample;
    for (int i = 0; i < end; i++) used += !r->solid || r->solid[i];
    return (struct branch_request){ r->uid, row, choice.pos, budget - used, r->prompt_len + used, choice };
}

int branch_requests(struct branch_request *out, struct branch_summary *sum, int *prompts, const struct branch_row *rows,
                    int n_rows, int want, int budget, const struct branch_config *c, const struct branch_key *key)
{
    int n = 0, *of = xmalloc((size_t)(n_rows + 1) * sizeof *of);
    bool *done = xcalloc((size_t)n_rows + 1, sizeof *done);
    struct branch_view *views = xmalloc((size_t)(n_rows + 1) * sizeof *views);
    struct branch_choice *choice = xmalloc((size_t)(want > 0 ? want : 0) * sizeof *choice + 1);
    *prompts = 0;
    for (int first = 0; first < n_rows; first++) {
        if (done[first] || !has_candidate(&rows[first])) continue;
        int count = 0;
        for (int r = 0; r < n_rows; r++) {
            if (rows[r].uid != rows[first].uid) continue;
            done[r] = true;
            of[count] = r;
            views[count++] = rows[r].view;
        }
        struct scored p = score_rows(views, count, &c->rule);
        struct branch_summary s = summary_of(&p, rows[first].uid, n);
        struct branch_key k = *key;
        k.prompt = (uint32_t)s.uid;
        int found = want > 0 ? choose(choice, &p, want, c, &k) : 0;
        scored_free(&p);
        for (int i = 0; i < found; i++) {
            int row = of[choice[i].row];
            struct branch_request q = request_at(&rows[row], choice[i], row, budget, c->resample_token);
            if (q.remaining > 0) out[n++] = q;
        }
        s.count = n - s.first;
        sum[(*prompts)++] = s;
    }
    free(of);
    free(done);
    free(views);
    free(choice);
    return n;
}
