/* advantage.cu: dual-group advantages and the official reward scale. Groups are found by comparing every row with every
 * other: some thousand rows, a few million comparisons, in row order, so that sums have the bits of the C backend. A
 * row's credit at i counts the branches at or after i: one reverse scan. */
#include "kernels/cuda/rl.cuh"
#include "kernels/rl_credit.h"

struct dual_args {
    acc_t *adv, *base;
    const acc_t *reward;
    const uint8_t *m, *kind;            /* kind NULL: all initial */
    const int64_t *begin;
    const int *uid;
    const struct branch_record *rec;
    double *a, *own, *value;            /* [rows], [rows], [positions]: sum over the branches at that position */
    int *count;                         /* [positions]: how many they are */
    int rows, records;
    struct advantage_rule r;
};

__device__ rl_group group_of(const dual_args &a, int uid, bool branch)
{
    rl_group g = { 0, 0, 0, 0, 0, true };
    for (int i = 0; i < a.rows; i++)
        if (a.uid[i] == uid && (a.kind && a.kind[i]) == branch) g.sum += (double)a.reward[i], g.n++;
    if (!g.n) return g;
    g.mean = g.sum / g.n;
    for (int i = 0; i < a.rows; i++) {
        if (a.uid[i] != uid || (a.kind && a.kind[i]) != branch) continue;
        g.square += rl_square((double)a.reward[i], g.mean);
    }
    rl_group_std(&g);
    return g;
}

/* A thread a row: a = its standardised reward, own = the advantage of all its positions. */
__global__ void __launch_bounds__(128) dual_rows_kernel(dual_args a)
{
    int row = (int)(blockIdx.x * 128 + threadIdx.x);
    if (row >= a.rows) return;
    bool branch = a.kind && a.kind[row];
    rl_group group = group_of(a, a.uid[row], branch);
    double reward = (double)a.reward[row], x = rl_standard(reward, &group, a.r.by_std),
           own = branch && !a.r.train_branches ? 0 : x;
    if (!branch && a.r.dual == DUAL_AVERAGE) {
        rl_group other = group_of(a, a.uid[row], true);
        if (other.n) own = (own + rl_standard(reward, &other, a.r.by_std)) / 2;
    }
    a.a[row] = x;
    a.own[row] = own;
    if (a.base) a.base[row] = (acc_t)x;
}

/* Position of the batch that the branch of record i credits in `row`; -1: not a branch of this row. */
__device__ __forceinline__ int64_t dual_place(const dual_args &a, int i, int row)
{
    struct branch_record rec = a.rec[i];
    int64_t at = rec.orig == row ? rl_record_position(&rec, a.begin, a.rows, a.kind) : -1;
    return at < 0 ? -1 : a.begin[row] + at;
}

/* A warp a row: the records in their order, 32 tested together and one lane adding; then the scan. */
__global__ void __launch_bounds__(RL_BLOCK) dual_positions_kernel(dual_args a)
{
    int row = rl_row(), lane = rl_lane();
    if (row >= a.rows) return;                                  /* a whole warp */
    int64_t from = a.begin[row], to = a.begin[row + 1];
    for (int64_t i = from + lane; i < to; i += 32) a.value[i] = 0, a.count[i] = 0;
    __syncwarp();
    for (int first = 0; a.r.dual == DUAL_PREFIX && first < a.records; first += 32) {
        int64_t at = first + lane < a.records ? dual_place(a, first + lane, row) : -1;
        unsigned hit = __ballot_sync(RL_ALL, at >= 0);
        for (unsigned left = hit; left; left &= left - 1) {
            int who = __ffs((int)left) - 1;
            if (lane == who) a.value[at] += a.a[a.rec[first + lane].row], a.count[at]++;
            __syncwarp();
        }
    }
    double own = a.own[row], sum = 0, number = 0;
    for (int64_t tile = to - 32; tile > from - 32; tile -= 32) {
        int64_t i = tile + lane;
        bool in = i >= from;
        double s = rl_scan(in ? a.value[i] : 0, 1, sum), k = rl_scan(in ? (double)a.count[i] : 0, 1, number);
        sum = rl_first(s);
        number = rl_first(k);
        if (in) a.adv[i] = a.m[i] ? (acc_t)(k > 0 ? own + s / k : own) : 0;
    }
}

extern "C" void op_advantage_dual(acc_t *adv, acc_t *base, const struct dual_in *in, const struct advantage_rule *r)
{
    int rows = in->rows, records = in->records;
    if (rows <= 0) return;
    int64_t first = in->begin[0], *at = rl_begin(in->begin, rows);
    size_t n = (size_t)(in->begin[rows] - first), k = (size_t)rows;
    enum { REWARD, M, KIND, BEGIN, UID, REC, ADV, BASE, A, OWN, VALUE, NUMBER, COUNT };
    struct stage s[COUNT] = {
        { in->reward, NULL, k * sizeof(acc_t), NULL }, { in->m + first, NULL, n, NULL },
        { in->kind, NULL, rl_bytes(in->kind, k), NULL }, { at, NULL, (k + 1) * sizeof *at, NULL },
        { in->uid, NULL, k * sizeof *in->uid, NULL },
        { in->rec, NULL, (size_t)(records > 0 ? records : 0) * sizeof *in->rec, NULL },
        { NULL, adv + first, n * sizeof(acc_t), NULL }, { NULL, base, rl_bytes(base, k * sizeof(acc_t)), NULL },
        { NULL, NULL, k * sizeof(double), NULL }, { NULL, NULL, k * sizeof(double), NULL },
        { NULL, NULL, n * sizeof(double), NULL }, { NULL, NULL, n * sizeof(int), NULL },
    };
    stage_put(s, COUNT);
    dual_args a = { (acc_t *)s[ADV].dev,
                    (acc_t *)s[BASE].dev,
                    (const acc_t *)s[REWARD].dev,
                    (const uint8_t *)s[M].dev,
                    (const uint8_t *)s[KIND].dev,
                    (const int64_t *)s[BEGIN].dev,
                    (const int *)s[UID].dev,
                    (const struct branch_record *)s[REC].dev,
                    (double *)s[A].dev,
                    (double *)s[OWN].dev,
                    (double *)s[VALUE].dev,
                    (int *)s[NUMBER].dev,
                    rows,
                    records,
                    *r };
    LAUNCH((dual_rows_kernel), blocks_of(rows, 128), 128, 0, queue(), a);
    LAUNCH((dual_positions_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), a);
    stage_get(s, COUNT);
    free(at);
}

struct scale_args {
    acc_t *reward;
    const int64_t *begin;
    const struct branch_record *rec;
    double *start;
    int rows, records;
    double discount;
};

__device__ double highest_score(const scale_args &a)
{
    double most = 0;
    for (int i = rl_lane(); i < a.records; i += 32)
        if (a.rec[i].row >= 0 && a.rec[i].score > most) most = a.rec[i].score;
    return rl_max(most);
}

/* A warp a row: start[i] = what begins at i and fades to the left; then one scan for all of them. */
__global__ void __launch_bounds__(RL_BLOCK) reward_scale_kernel(scale_args a)
{
    int row = rl_row(), lane = rl_lane();
    if (row >= a.rows) return;                                  /* a whole warp */
    int64_t from = a.begin[row], to = a.begin[row + 1];
    double most = highest_score(a), wave = 0;
    int mine = 0;
    for (int64_t i = from + lane; i < to; i += 32) a.start[i] = 0;
    __syncwarp();
    for (int first = 0; first < a.records; first += 32) {
        struct branch_record rec = { -1, -1, 0, 0 };
        if (first + lane < a.records) rec = a.rec[first + lane];
        unsigned hit = __ballot_sync(RL_ALL, rec.row >= 0 && rec.orig == row);
        for (unsigned left = hit; left; left &= left - 1, mine++) {
            if (lane == __ffs((int)left) - 1) {
                int64_t at;
                double x = rl_scale_start(&at, &rec, to - from, most, a.discount);
                if (at >= 0) a.start[from + at] += x;
            }
            __syncwarp();
        }
    }
    for (int64_t tile = to - 32; mine && most > 0 && tile > from - 32; tile -= 32) {
        int64_t i = tile + lane;
        double s = rl_scan(i >= from ? a.start[i] : 0, a.discount, wave);
        wave = rl_first(s);
        if (i >= from) a.reward[i] = (acc_t)((double)a.reward[i] * (1 + s / mine));
    }
}

extern "C" void op_reward_scale(acc_t *reward, const int64_t *begin, int rows, const struct branch_record *rec,
                                int records, double discount)
{
    if (rows <= 0 || records <= 0) return;
    int64_t base = begin[0], *at = rl_begin(begin, rows);
    size_t n = (size_t)(begin[rows] - base);
    enum { REWARD, BEGIN, REC, START, COUNT };
    struct stage s[COUNT] = {
        { reward + base, reward + base, n * sizeof(acc_t), NULL }, { at, NULL, ((size_t)rows + 1) * sizeof *at, NULL },
        { rec, NULL, (size_t)records * sizeof *rec, NULL }, { NULL, NULL, n * sizeof(double), NULL },
    };
    stage_put(s, COUNT);
    scale_args a = { (acc_t *)s[REWARD].dev,
                     (const int64_t *)s[BEGIN].dev,
                     (const struct branch_record *)s[REC].dev,
                     (double *)s[START].dev,
                     rows,
                     records,
                     discount };
    LAUNCH((reward_scale_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), a);
    stage_get(s, COUNT);
    free(at);
}
