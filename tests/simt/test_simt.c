/* test_simt.c: the faults that the shim must find: a missing barrier, barriers and shuffles that do not match, accesses
 * out of bounds, shared memory taken for zeroed; its shuffles, votes and atomics give the hardware's results;
 * captured work runs when the graph is launched, and calls that cannot be captured are rejected. */
#include "tests/simt/cases.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void finds(enum case_kind k, int order, const char *words)
{
    int out[256];
    const char *said = case_run(k, order, out);
    CHECK(words ? said && strstr(said, words) : !said, "case %d in order %d: %s", k, order,
          said ? said : "nothing said");
}

static void right_kernels_are_left_alone(void **state)
{
    (void)state;
    for (int order = 0; order < 6; order++) {
        int out[256];
        const char *said = case_run(CASE_SUM, order, out);
        CHECK(!said, "order %d: %s", order, said);
        for (int i = 0; i < 256; i++)
            CHECK(out[i] == 255 * 256 / 2, "order %d, thread %d: a sum of %d", order, i, out[i]);
    }
}

static void wrong_kernels_are_found(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++) {
        finds(CASE_TWO_BARRIERS, order,
              "threads of one block wait at different barriers in block (0,0,0) of two_barriers_kernel");
        finds(CASE_BARRIER_AFTER_END, order, "a barrier waits for threads that have ended");
        finds(CASE_SHUFFLE_AFTER_END, order, "a warp operation waits for lanes that never come");
        finds(CASE_SHUFFLE_APART, order, "lanes of one warp meet at different places");
        finds(CASE_OUTSIDE_MASK, order, "a shuffle reads a lane outside its mask");
        finds(CASE_NOT_IN_MASK, order, "a lane that its own mask leaves out");
    }
    finds(CASE_NO_BARRIER, 0, NULL);                     /* one order alone does not show it */
    finds(CASE_NO_BARRIER, 1, NULL);
    finds(CASE_NO_BARRIER, 2, "no_barrier_kernel gives other bits in reverse order");
    finds(CASE_RACE_BETWEEN_BLOCKS, 2, "block_race_kernel gives other bits in reverse order");
    int out[256];
    case_run(CASE_STALE_SHARED, 1, out);
    for (int i = 0; i < 256; i++) CHECK(out[i] == 1, "thread %d finds shared memory that is not filled", i);
}

static void lanes(void **state)
{
    (void)state;
    int o[LANE_ROWS][32];
    case_lanes(o);
    for (int l = 0; l < 32; l++) {
        const int want[LANE_ROWS] = { 100 + (l ^ 5),
                                      100 + (l < 3 ? l : l - 3),
                                      100 + (l + 7 > 31 ? l : l + 7),
                                      131 - l,
                                      0x49249249,
                                      2,
                                      2,
                                      2 * (l ^ 1) + 1,
                                      100 + (l ^ 1) };
        for (int r = 0; r < LANE_ROWS; r++)
            CHECK(o[r][l] == want[r], "row %d, lane %d: got %d, want %d", r, l, o[r][l], want[r]);
    }
}

static void atomics(void **state)
{
    (void)state;
    CHECK(case_atomics() == 32000, "counters of 32,000 threads do not agree");
}

/* In a child process f must fail with a message that contains these words. */
static void ends(void (*f)(void), const char *words)
{
    char text[65536] = "";
    int to[2], status;
    size_t n = 0;
    fflush(NULL);
    CHECK(pipe(to) == 0, "pipe");
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (!child) {
        dup2(to[1], 2);
        f();
        _exit(0);
    }
    close(to[1]);
    for (ssize_t got; n + 1 < sizeof text && (got = read(to[0], text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
    close(to[0]);
    CHECK(waitpid(child, &status, 0) == child, "waitpid");
    CHECK(!(WIFEXITED(status) && !WEXITSTATUS(status)) && strstr(text, words), "wanted '%s', it said: %s", words, text);
}

static void memory(void **state)
{
    (void)state;
    ends(case_odd_block, "a block of 33 threads");
#if defined(__SANITIZE_ADDRESS__)
    ends(case_read_beyond, "AddressSanitizer");
    ends(case_shared_beyond, "AddressSanitizer");
#endif
}

static void graphs(void **state)
{
    (void)state;
    const char *wrong = case_replay();
    CHECK(!wrong, "%s", wrong);
    wrong = case_rejected();
    CHECK(!wrong, "%s", wrong);
    ends(case_list_allocates, "dev_alloc inside a CUDA graph capture");
    ends(case_list_puts, "dev_put inside a CUDA graph capture");
    ends(case_list_gets, "dev_get inside a CUDA graph capture");
}

/* Small whole numbers: every sum is exact, so that a correct result is correct to the bit. */
static const char *product(const struct wgmma_case *c, int order, bool *right)
{
    static float a[64 * 64], b[128 * 64], d[64 * 128];
    *right = true;
    for (int i = 0; i < 64 * 64; i++) a[i] = (float)(i * 7 % 11 - i % 5);
    for (int i = 0; i < 128 * 64; i++) b[i] = (float)(i * 5 % 13 - i % 3 * (i / 64 % 4));
    const char *said = case_wgmma(c, order, a, b, d);
    for (int r = 0; r < 64; r++)
        for (int j = 0; j < c->n; j++) {
            float want = 0;
            for (int k = 0; k < 64; k++) want += a[r * 64 + k] * b[j * 64 + k];
            if (d[r * c->n + j] != want) *right = false;                    /* NaN too */
        }
    return said;
}

static void warpgroup_products(void **state)
{
    (void)state;
    static const struct wgmma_case cases[] = {
        { .n = 64 }, { .n = 64, .turn_a = true }, { .n = 64, .turn_b = true },
        { .n = 64, .turn_a = true, .turn_b = true }, { .n = 64, .a_in_registers = true },
        { .n = 64, .a_in_registers = true, .turn_b = true }, { .n = 128, .a_in_registers = true },
        { .n = 128, .a_in_registers = true, .turn_b = true },
    };
    bool right;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int order = 0; order < 4; order++) {
            const char *said = product(&cases[c], order, &right);
            CHECK(!said && right, "case %zu, order %d: %s", c, order, said ? said : "wrong numbers");
        }
}

/* The words of the message; NULL: no message, the numbers are wrong. */
static void wrong_products_are_found(void **state)
{
    (void)state;
    static const struct { enum wgmma_fault fault; const char *words; } cases[] = {
        { WGMMA_NO_FENCE, "a group of wgmma products does not begin with a fence" }, { WGMMA_NO_CLOSE, NULL },
        { WGMMA_NO_WAIT, NULL }, { WGMMA_NO_COPY_WAIT, NULL }, { WGMMA_NO_PROXY_FENCE, NULL },
        { WGMMA_A_WRITTEN, "an operand of wgmma has changed before the wait" },
        { WGMMA_D_WRITTEN, "an accumulator of wgmma was written before the wait" },
        { WGMMA_OPERAND_WRITTEN, "an operand of wgmma has changed before the wait" }, { WGMMA_NOT_SWIZZLED, NULL },
        { WGMMA_LEAD, NULL }, { WGMMA_STRIDE, NULL },
        { WGMMA_SWIZZLE_MODE, "a descriptor of wgmma that is not of 128-byte swizzling" },
        { WGMMA_BEYOND, "reaches beyond the block's shared memory" },
        { WGMMA_OTHER_DESCRIPTOR, "lanes of one warpgroup give different descriptors" },
        { WGMMA_ABSENT, "a warpgroup operation waits for lanes that never come" },
    };
    bool right;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int order = 0; order < 2; order++) {
            const struct wgmma_case c = { .n = 128, .a_in_registers = true, .turn_b = true, .fault = cases[i].fault };
            const char *said = product(&c, order, &right);
            if (cases[i].words)
                CHECK(said && strstr(said, cases[i].words), "fault %zu, order %d: %s", i, order,
                      said ? said : "nothing said");
            else CHECK(!said && !right, "fault %zu, order %d: %s", i, order, said ? said : "the numbers are right");
        }
}

static void wrong_calls_of_nccl_are_rejected(void **state)
{
    (void)state;
    const char *wrong = case_nccl();
    CHECK(!wrong, "%s", wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(right_kernels_are_left_alone),
                                        cmocka_unit_test(wrong_kernels_are_found),
                                        cmocka_unit_test(lanes),
                                        cmocka_unit_test(atomics),
                                        cmocka_unit_test(memory),
                                        cmocka_unit_test(graphs),
                                        cmocka_unit_test(warpgroup_products),
                                        cmocka_unit_test(wrong_products_are_found),
                                        cmocka_unit_test(wrong_calls_of_nccl_are_rejected) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
