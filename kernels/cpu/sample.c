/* sample.c: samples one id per row of logits. The common case (no top-k, no top-p, no mask) is one read of the row and
 * one of its exponentials. Restricted sampling sorts the ids that can matter, by radix, so that ties and limits are
 * exact and no vocabulary or distribution is slow. */
#include "base/philox.h"
#include "kernels/cpu/row_stats.h"
#include "kernels/cpu/vec_sum.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include <omp.h>
#include <string.h>

enum { BLOCK = 64 };

static bool allowed(const uint32_t *allow, int id) { return !allow || (allow[id / 32] >> (id % 32) & 1); }

/* The first id whose weights up to and with it exceed u times all weight; blocks first, so that 510 ids are not one
 * chain of additions. */
static int draw(const elem_t *e, int vocab, double u, double *block)
{
    int blocks = (vocab + BLOCK - 1) / BLOCK, last = 0;
    double all = 0, at = 0;
    for (int b = 0; b < blocks; b++) {
        struct vacc s = { 0 };
        int end = MIN(vocab, (b + 1) * BLOCK);
        for (int j = b * BLOCK; j < end; j += VL) vacc_add(&s, vget_n(e + j, end - j));
        block[b] = vacc_sum(s);
        if (block[b] > 0) last = b;
        all += block[b];
    }
    double want = u * all;
    int b = 0;
    while (b < last && at + block[b] <= want) at += block[b++];
    int id = -1;
    for (int j = b * BLOCK; j < MIN(vocab, (b + 1) * BLOCK); j++) {
        if (!(e[j] > 0)) continue;
        id = j;                                     /* kept when rounding leaves want above the block's last sum */
        at += (double)e[j];
        if (at > want) break;
    }
    return id;
}

static int argmax(const elem_t *x, int vocab, const uint32_t *allow)
{
    int best = -1;
    for (int j = 0; j < vocab; j++)
        if (allowed(allow, j) && (best < 0 || x[j] > x[best])) best = j;
    return best;
}

/* key: a logit as an integer that sorts from the highest logit down. */
struct rank { uint64_t key; int id; };
enum { KEY_BITS = 8 * sizeof(elem_t), DIGIT = 8, TOP_BITS = 11 };

static uint64_t rank_key(elem_t x)
{
#if defined(REAL_IS_double)
    uint64_t b, sign = 1ull << 63, all = ~0ull;
#else
    uint32_t b, sign = 1u << 31, all = ~0u;
#endif
    x += 0;                                         /* -0 and 0 are the same logit */
    memcpy(&b, &x, sizeof x);
    return b & sign ? b : ~(b | sign) & all;
}

/* Sorts by key, equal keys in the order they had; a digit that all keys share costs one test. */
static void rank_sort(struct rank *r, struct rank *spare, int n)
{
    struct rank *from = r, *to = spare;
    for (int shift = 0; shift < KEY_BITS; shift += DIGIT) {
        int at[1 << DIGIT] = { 0 };
        for (int i = 0; i < n; i++) at[from[i].key >> shift & 255]++;
        if (at[from[0].key >> shift & 255] == n) continue;
        for (int d = 0, sum = 0; d < 1 << DIGIT; d++) {
            int count = at[d];
            at[d] = sum;
            sum += count;
        }
        for (int i = 0; i < n; i++) to[at[from[i].key >> shift & 255]++] = from[i];
        struct rank *swap = from;
        from = to;
        to = swap;
    }
    if (from != r) memcpy(r, from, (size_t)n * sizeof *r);
}

/* Of n ids keeps those whose leading digits sort no later than the k-th: at least k of them. */
static int cut_to(struct rank *r, int n, int k)
{
    int count[1 << TOP_BITS] = { 0 }, last = 0, kept = 0, shift = KEY_BITS - TOP_BITS;
    for (int i = 0; i < n; i++) count[r[i].key >> shift]++;
    for (int sum = count[0]; sum < k; sum += count[last]) last++;
    for (int i = 0; i < n; i++) if ((int)(r[i].key >> shift) <= last) r[kept++] = r[i];
    return kept;
}

struct space { elem_t *e; double *block; struct rank *rank, *spare; };

/* Recomputes the weights of the allowed ids relative to the best of them: relative to the whole vocabulary all of them
 * may have underflowed. */
static void apply_mask(elem_t *e, const elem_t *x, double inv_temp, const uint32_t *allow, int vocab)
{
    double top = (double)x[argmax(x, vocab, allow)];
    for (int j = 0; j < vocab; j++) e[j] = allowed(allow, j) ? (elem_t)exp(((double)x[j] - top) * inv_temp) : 0;
}

/* Leaves in w->e the weights of the ids that may be sampled, 0 elsewhere: of the allowed ids the top_k, of those the
 * smallest set of the highest with a mass of top_p. */
static void restrict_to(const struct space *w, const elem_t *x, const struct sample_rule *r, int vocab)
{
    bool by_k = r->top_k > 0 && r->top_k < vocab, by_p = r->top_p < 1;
    double mass = 0, sum = 0, floor = 0;
    int n = 0, kept = 0;
    if (!by_k) {
        for (int j = 0; j < vocab; j++) mass += (double)w->e[j];
        /* all ids below it together weigh too little to be needed for top_p; half, for rounding */
        floor = (1 - r->top_p) * mass / vocab / 2;
    }
    for (int j = 0; j < vocab; j++)
        if (allowed(r->allow, j) && (double)w->e[j] >= floor) w->rank[n++] = (struct rank){ rank_key(x[j]), j };
    if (by_k && r->top_k < n) n = cut_to(w->rank, n, r->top_k);
    if (n) rank_sort(w->rank, w->spare, n);
    if (by_k) {
        n = MIN(n, r->top_k);
        for (int k = 0; k < n; k++) mass += (double)w->e[w->rank[k].id];
    }
    elem_t *keep = (elem_t *)(void *)w->spare;
    while (kept < n && (kept == 0 || !by_p || sum < r->top_p * mass)) {
        keep[kept] = w->e[w->rank[kept].id];
        sum += (double)keep[kept++];
    }
    memset(w->e, 0, (size_t)vocab * sizeof *w->e);
    for (int k = 0; k < kept; k++) w->e[w->rank[k].id] = keep[k];
}

static int pick(const struct space *w, const elem_t *x, double inv_temp, const struct sample_rule *r,
                const struct sample_key *k, int vocab)
{
    if (r->temperature <= 0) return argmax(x, vocab, r->allow);
    if (r->allow) apply_mask(w->e, x, inv_temp, r->allow, vocab);
    if (r->top_p < 1 || (r->top_k > 0 && r->top_k < vocab)) restrict_to(w, x, r, vocab);
    uint32_t word = philox4x32(r->seed, k->pos, k->rollout, k->prompt, k->step).v[0];
    return draw(w->e, vocab, ((double)word + 0.5) * 0x1p-32, w->block);
}

static void check_mask(const uint32_t *allow, int vocab)
{
    for (int j = 0; j < vocab; j++) if (allowed(allow, j)) return;
    die("op_sample: the mask allows no id at all");
}

void op_sample(struct sample_args a)
{
    const struct sample_rule *r = a.rule;
    ENSURE(a.vocab > 0 && a.ld >= a.vocab && r->temperature >= 0);
    if (r->allow) check_mask(r->allow, a.vocab);
    double inv_temp = r->temperature > 0 ? 1 / r->temperature : 1;
    int threads = work_threads(a.n * (100 + 2 * (int64_t)a.vocab));
    size_t we = work_round((size_t)a.vocab * sizeof(elem_t)),
           wb = work_round(((size_t)a.vocab / BLOCK + 1) * sizeof(double)),
           wr = work_round((size_t)a.vocab * sizeof(struct rank));
    size_t bytes = we + wb + 2 * wr;
    void *base = work_parts(threads, bytes);
    int64_t bad = a.n;
    #pragma omp parallel for schedule(static) num_threads(threads) reduction(min:bad)
    for (int64_t i = 0; i < a.n; i++) {
        char *own = work_part(base, omp_get_thread_num(), bytes);
        struct space w = { (elem_t *)(void *)own, (double *)(void *)(own + we), (struct rank *)(void *)(own + we + wb),
                           (struct rank *)(void *)(own + we + wb + wr) };
        const elem_t *row = a.x + i * a.ld;
        struct row_stat s = row_stat(w.e, row, inv_temp, a.vocab);
        if (!(s.mass >= 1)) { bad = i < bad ? i : bad; continue; }
        int got = pick(&w, row, inv_temp, r, a.key + i, a.vocab);
        a.id[i] = got;
        if (a.logp) a.logp[i] = row_logp(&s, row, inv_temp, got);
        if (a.ent) a.ent[i] = (acc_t)s.ent;
        if (CHECKED) ENSURE(row_logp(&s, row, inv_temp, got) <= 0 && s.ent >= 0 && s.ent <= log((double)a.vocab));
    }
    if (bad < a.n)
        end_with("row %lld of the logits holds a NaN or an infinity: the weights have diverged. Start anew with a "
                 "lower actor.optim.lr, from a checkpoint of before "
                 "(model.path=.../global_step_N/actor/huggingface)",
                 (long long)bad);
}
