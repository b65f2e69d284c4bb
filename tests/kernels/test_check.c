/* test_check.c: the checks of debug builds (make DEBUG=1; other builds leave this program out). A NaN in the input of
 * an operation gives a message with the operation, the row and the column; impossible results are reported; correct
 * ones pass. */
#include "kernels/check.h"
#include "base/philox.h"
#include "tests/check.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 3, D = 8, VOCAB = 11, LD = 16 };

/* N rows of `cols` numbers on the device, one of them NaN (row < 0: none). */
static elem_t *matrix(int cols, int row, int col)
{
    elem_t h[N * 64], *d = dev_alloc(sizeof h);
    for (int i = 0; i < N * cols; i++) h[i] = elem_from(0.1 * (i % 7) - 0.2);
    if (row >= 0) h[row * cols + col] = elem_from((double)NAN);
    dev_put(d, h, (size_t)(N * cols) * sizeof *h);
    return d;
}
static acc_t *vector(const double *x, int n)
{
    acc_t h[64], *d = dev_alloc(sizeof h);
    for (int i = 0; i < n; i++) h[i] = (acc_t)x[i];
    dev_put(d, h, (size_t)n * sizeof *h);
    return d;
}
static int *ints(const int *x, int n)
{
    int *d = dev_alloc((size_t)n * sizeof *d);
    dev_put(d, x, (size_t)n * sizeof *x);
    return d;
}

static void swiglu(void) { op_swiglu(matrix(D, -1, 0), matrix(2 * D, 2, 5), N, D); }
static void norm(void)
{
    op_add_rmsnorm((struct rmsnorm_args){
        .res = matrix(D, -1, 0), .y = matrix(D, -1, 0), .x = matrix(D, 1, 7), .w = matrix(D, -1, 0), .eps = 1e-5,
        .n = N, .dim = D });
}
static void product(void)
{
    op_gemm((struct gemm){
        .form = GEMM_NT, .d = matrix(D, -1, 0), .a = matrix(D, -1, 0), .b = matrix(D, 2, 0), .m = N, .n = N, .k = D });
}
static void gradient(void)
{
    op_gemm((struct gemm){ .form = GEMM_TN,
                           .dw = dev_alloc(D * D * sizeof(acc_t)),
                           .a = matrix(D, 0, 4),
                           .b = matrix(D, -1, 0),
                           .m = D,
                           .n = D,
                           .k = N });
}
static void attention(void)
{
    struct attn_plan *p = attn_plan_make((const int[]){ 3, 3, 3 }, N);
    op_attn(matrix(4, -1, 0), NULL, matrix(8, 1, 0), p, (struct heads){ 2, 1, 2 });
}
static void weights(void)
{
    double g[D] = { 0 }, zero[D] = { 0 };
    g[6] = (double)NAN;
    struct adamw rule = { .lr = 1, .beta1 = 0.9, .beta2 = 0.9, .eps = 1, .t = 1 };
    op_adamw(matrix(D, -1, 0), vector(zero, D), vector(g, D), vector(zero, D), vector(zero, D), D, &rule);
}
static void loss(void)
{
    acc_t logp[4] = { -1, -2, (acc_t)NAN, -1 }, old[4] = { -1, -1, -1, -1 }, adv[4] = { 1, 1, 1, 1 }, g[4];
    uint8_t m[4] = { 1, 1, 1, 1 };
    int64_t begin[2] = { 0, 4 };
    struct loss_stats s;
    op_pg(g, NULL, NULL, NULL, &s,
          &(struct loss_in){ .logp = logp, .logp_old = old, .adv = adv, .m = m, .begin = begin, .rows = 1 },
          &(struct loss_rule){ .clip_low = 0.2, .clip_high = 0.2, .clip_c = 3 });
}

static void above_zero(void) { check_logp("a", vector((double[]){ -1, 0, 1e-7 }, 3), 3); }
static void not_a_logp(void) { check_logp("a", vector((double[]){ -1, (double)NAN }, 2), 2); }
static void below_zero(void) { check_entropy("a", vector((double[]){ 0, -1e-9 }, 2), 2, 7); }
static void above_most(void) { check_entropy("a", vector((double[]){ 1.9459, 1.9460 }, 2), 2, 7); }

/* The gradient with statistics of another temperature: its p do not sum to 1. */
static void logits(double wrong)
{
    elem_t *x = matrix(LD, -1, 0);
    acc_t *lse = dev_alloc(N * sizeof(acc_t)), *ent = dev_alloc(N * sizeof(acc_t)),
          *logp = dev_alloc(N * sizeof(acc_t));
    int *tgt = ints((const int[]){ 0, 10, 4 }, N);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = x, .inv_temp = 1, .tgt = tgt, .n = N, .vocab = VOCAB, .ld = LD });
    op_dlogits((struct dlogits_args){
        .x = x, .lse = lse, .ent = ent, .g = vector((double[]){ 0.5, -2, 1e-3 }, N),
        .ge = vector((double[]){ 0.1, 0, -3 }, N), .inv_temp = 1 + wrong, .tgt = tgt, .n = N, .vocab = VOCAB, .ld = LD
    });
}
static void wrong_gradient(void) { logits(0.05); }
static void right_gradient(void) { logits(0); }

static void clean(void)
{
    right_gradient();
    op_swiglu(matrix(D, 0, 0), matrix(2 * D, -1, 0), N, D);         /* the old contents do not matter */
    check_logp("a", vector((double[]){ -0.0, -1e30 }, 2), 2);
    check_entropy("a", vector((double[]){ 0, 1.9459101 }, 2), 2, 7);
}

static const struct { const char *name; void (*what)(void); const char *words; } cases[] = {
    { "clean", clean, NULL },
    { "swiglu", swiglu, "op_swiglu: row 2, column 5 of y is not a number" },
    { "norm", norm, "op_add_rmsnorm: row 1, column 7 of res is not a number" },
    { "product", product, "op_gemm NT: row 0, column 2 of d is not a number" },
    { "gradient", gradient, "op_gemm TN: row 4, column 0 of dw is not a number" },
    { "attention", attention, "op_attn: row 1, column 0 of out is not a number" },
    { "weights", weights, "op_adamw: row 0, column 6 of w is not a number" },
    { "loss", loss, "op_pg: row 2, column 0 of g is not a number" },
    { "logp > 0", above_zero, "a: row 2: a log-probability of 1" },
    { "logp NaN", not_a_logp, "a: row 1: a log-probability of " },
    { "entropy < 0", below_zero, "a: row 1: an entropy of -9.9" },
    { "entropy > ln V", above_most, "a: row 1: an entropy of 1.9459999" },
    { "dlogits", wrong_gradient, "op_dlogits: row 0 sums to " },
};

static void each_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096] = "";
        int to[2], status;
        size_t n = 0;
        fflush(NULL);
        CHECK(pipe(to) == 0, "pipe");
        pid_t child = fork();
        CHECK(child >= 0, "fork");
        if (!child) {
            dup2(to[1], 2);
            dev_set_threads(1);
            cases[i].what();
            _exit(0);
        }
        close(to[1]);
        for (ssize_t got; n + 1 < sizeof text && (got = read(to[0], text + n, sizeof text - 1 - n)) > 0;)
            n += (size_t)got;
        close(to[0]);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "%s", cases[i].name);
        CHECK(WEXITSTATUS(status) == (cases[i].words ? 70 : 0), "%s: status %d: %s", cases[i].name, WEXITSTATUS(status),
              text);
        if (cases[i].words)
            CHECK(strstr(text, cases[i].words), "%s: no '%s' in: %s", cases[i].name, cases[i].words, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_is_named) };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
