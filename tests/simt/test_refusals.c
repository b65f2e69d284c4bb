/* test_refusals.c: unusable machines, emulated by the shim: each gives one message with the requirement and what was
 * found. And a GPU that is lost in the middle of a run: the message names the call and its place, then die_hook prints
 * its table. */
#include "kernels/cuda/attn.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void opens(void) { dev_sync(); }
static void allocates(void) { for (int i = 0; i < 3; i++) dev_alloc(40 << 20); }
static void table(void) { fputs("arena of the test\n", stderr); }
static void copies(void)
{
    int x = 0, *d = dev_alloc(sizeof x);
    die_hook = table;
    for (int i = 0; i < 9; i++) dev_get(&x, d, sizeof x);
}
static void looks_on_after_the_loss(void)
{
    int *d = dev_alloc(2 * sizeof *d);
    dev_copy(d + 1, d, sizeof *d);
    dev_sync();
}

/* After APPO_ATTN=...: attention by wgmma exists on 9.0 alone, and is used only on request. */
static void by_wgmma(void)
{
    setenv("APPO_ATTN", "wgmma", 1);
    if (!attn_by_wgmma()) die("not by wgmma");
}
static void by_mma(void)
{
    unsetenv("APPO_ATTN");
    if (attn_by_wgmma()) die("by wgmma");
}
static void by_neither(void)
{
    setenv("APPO_ATTN", "fast", 1);
    attn_by_wgmma();
}
static void chooses(void)
{
    const bool two = sizeof(elem_t) == 2;         /* numerics=fast is what bf16 has by itself */
    unsetenv("APPO_ATTN");
    if (attn_choose(ATTN_WGMMA) != (two ? ATTN_MMA : ATTN_NO_CHOICE) || attn_by_wgmma() != two)
        die("wgmma was not chosen");
    if (attn_choose(ATTN_NO_CHOICE) != (two ? ATTN_WGMMA : ATTN_NO_CHOICE) || attn_by_wgmma() != two)
        die("asking has changed it");
}
static void no_choice(void)
{
    if (attn_choose(ATTN_WGMMA) != ATTN_NO_CHOICE || attn_by_wgmma() || attn_wgmma_takes((struct heads){ 1, 1, 64 }))
        die("a choice");
}

static const struct { const char *gpu; void (*what)(void); const char *words[3]; } cases[] = {
    { "none", opens, { "no NVIDIA GPU can be used: no CUDA-capable device is detected", "no driver is loaded",
      "make BACKEND=cpu" } },
    { "old-driver", opens, { "the NVIDIA driver is too old", "runs CUDA up to 11.4, this build needs 13.0",
      "newer driver" } },
    { "cc=7.5", opens, { "simt has compute capability 7.5, for which this build has no code", "make BACKEND=cpu" } },
    { "cc=8.9", opens, { NULL } },
    { "cc=10.0", opens, { "compute capability 10.0", "arch=compute_100,code=sm_100'" } },
    { "memory=100000000", allocates,
      { "out of GPU memory: 41943040 bytes asked for, 16113920 of 100000000 free on simt" } },
    { "cc=9.0", by_wgmma, { NULL } },
    { "cc=9.0", by_mma, { NULL } },
    { "cc=9.0", by_neither, { "APPO_ATTN=fast: it is mma or wgmma" } },
    { "cc=9.0", chooses, { NULL } },
    { "cc=8.0", by_wgmma,
      { "APPO_ATTN=wgmma: that needs compute capability 9.0 (H100, H200), which simt does not have" } },
    { "cc=8.0", no_choice, { NULL } },
    { "cc=12.0", no_choice, { NULL } },
    { "lost=3", copies, { "kernels/cuda/dev.cu:", "cudaMemcpyAsync(",
      "an illegal memory access was encountered\narena of the test\n" } },
    { "lost=9", copies, { "cudaMemcpyAsync(" } },
    { "lost=10", copies, { NULL } },
    { "lost=1", looks_on_after_the_loss, { "kernels/cuda/dev.cu:", "an illegal memory access" } },
};

static void each_is_one_message(void **state)
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
            setenv("APPO_SIMT_GPU", cases[i].gpu, 1);
            cases[i].what();
            _exit(0);
        }
        close(to[1]);
        for (ssize_t got; n + 1 < sizeof text && (got = read(to[0], text + n, sizeof text - 1 - n)) > 0;)
            n += (size_t)got;
        close(to[0]);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "%s", cases[i].gpu);
        CHECK(WEXITSTATUS(status) == (cases[i].words[0] ? 70 : 0), "%s: status %d: %s", cases[i].gpu,
              WEXITSTATUS(status), text);
        for (int k = 0; k < 3 && cases[i].words[k]; k++)
            CHECK(strstr(text, cases[i].words[k]), "%s: no '%s' in: %s", cases[i].gpu, cases[i].words[k], text);
    }
}

static void shapes(void **state)
{
    (void)state;
    const int row = 16384 / (int)sizeof(elem_t);
    const struct { struct op_shape s; const char *words; } shape[] = {
        { { "m", { 32, 8, 128 }, 4096, 151936, true }, NULL },
        { { "m", { 4, 1, 256 }, row, 1 << 18, true }, NULL },
        { { "m", { 32, 8, 258 }, 4096, 151936, false },
          "m: a head size of 258; the attention kernels take even sizes up to 256" },
        { { "m", { 32, 8, 63 }, 4096, 151936, false }, "a head size of 63" },
        { { "m", { 30, 8, 64 }, 4096, 151936, false }, "30 query heads and 8 key heads" },
        { { "m", { 32, 8, 64 }, 4096, (1 << 18) + 1, false },
          "a vocabulary of 262145; the sampler takes up to 262144" },
        { { "m", { 32, 8, 64 }, row + 2, 1000, true }, "the norm's backward pass takes up to" },
        { { "m", { 32, 8, 64 }, row + 2, 1000, false }, NULL },
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        struct err e = { "" };
        bool ok = ops_support(&shape[i].s, &e);
        CHECK(ok == !shape[i].words && (ok || strstr(e.text, shape[i].words)), "shape %zu: '%s'", i, e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_is_one_message), cmocka_unit_test(shapes) };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
