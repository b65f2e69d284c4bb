/* doctor.c: `appo doctor`: the machine, the build, and whether the embedded policy loads. The memory of a run is the
 * subject of `appo plan`. */
#include "cmd/build.h"
#include "cmd/cmd.h"
#include "engine/comm/comm.h"
#include "engine/session/session.h"
#include "kernels/dev.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The implementation of matrix products in this build. */
static const char *products(void)
{
    if (!strcmp(dev_name(), "simt")) return "by the shim: the CUDA sources on the CPU, for tests only";
    if (strcmp(dev_name(), "cpu")) return "cuBLASLt";
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return "AVX-512";
    if (__builtin_cpu_supports("avx2")) return "AVX2";
#endif
    return "portable";
}

/* Of the first line of a small file that begins with these words, the text after them and the blanks and colon that
 * follow; "" without such a line. */
static void line_of(const char *path, const char *words, char *out, size_t n)
{
    char line[512];
    FILE *f = fopen(path, "r");
    *out = 0;
    while (f && !*out && fgets(line, sizeof line, f)) {
        if (strncmp(line, words, strlen(words))) continue;
        const char *p = line + strlen(words);
        p += strspn(p, " \t:");
        snprintf(out, n, "%.*s", (int)strcspn(p, "\n"), p);
    }
    if (f) fclose(f);
}

/* How many ranks make sense here. */
static void print_ranks(void)
{
    char path[32];
    int gpus = 0;
    do snprintf(path, sizeof path, "/dev/nvidia%d", gpus);
    while (access(path, F_OK) == 0 && ++gpus < 64);
    if (!comm_mpi()) puts(": one process only; ./run.sh setup --ranks, then make");
    else if (!strcmp(build_backend(), "cuda")) printf("; up to %d here, one a GPU\n", gpus);
    else printf("; up to %d here, one a core\n", dev_threads());
}

static void print_build(void)
{
    build_name(stdout);
    printf("\ncompiler    %s\nlibraries   ", build_compiler());
    build_libraries(stdout);
    printf("\nranks       by ");
    build_ranks(stdout);
    print_ranks();
}

static void print_machine(void)
{
    char text[512];
    size_t left, total;
    struct statvfs disk;
    line_of("/proc/cpuinfo", "model name", text, sizeof text);
    printf("processor   %s, %ld cores, %d threads used; matrix products by %s\n", *text ? text : "unknown",
           sysconf(_SC_NPROCESSORS_ONLN), dev_threads(), products());
    dev_memory(&left, &total);
    printf("memory      %.1f of %.1f GiB free%s\n", (double)left / 0x1p30, (double)total / 0x1p30,
           strcmp(build_backend(), "cuda") ? "" : " on the GPU");
    line_of("/proc/driver/nvidia/version", "NVRM version", text, sizeof text);
    bool there = access("/dev/nvidia0", F_OK) == 0;
    if (!strcmp(build_backend(), "cuda")) printf("GPU         %s; driver: %s\n", dev_name(), *text ? text : "unknown");
    else
        printf("GPU         %s%s%s\n",
               there ? "there is one, and this build does not use it (APPO_BACKEND=cuda)" : "none",
               *text ? "; driver: " : "", text);
    if (statvfs(".", &disk) == 0)
        printf("disk        %.1f GiB free here\n", (double)disk.f_bavail * (double)disk.f_frsize / 0x1p30);
}

int cmd_doctor(int argc, char **argv)
{
    struct config c;
    struct session s = { 0 };
    struct err e;
    int status;
    if (!cmd_config(&c, argc, argv, "usage: appo doctor", 0, &status)) {
        config_free(&c);
        return status;
    }
    print_build();
    print_machine();
    printf("policy      %s\n", session_embedded_policy());
    fflush(stdout);
    if (session_open(&s, &c, true, &e)) {
        printf("            loads: %s, %lld weights, %d layers of %d, vocabulary %d\n", s.m.c.arch,
               (long long)s.m.count, s.m.c.layers, s.m.c.dim, s.m.c.vocab);
        status = 0;
    } else status = cmd_fail(&e);
    session_close(&s);
    config_free(&c);
    return status;
}
