/* doctor.c: `appo doctor`: what this machine has, what this build is, whether the embedded policy loads. */
#include "cmd/cmd.h"
#include "engine/session.h"
#include "kernels/measure.h"
#include <stdio.h>
#include <string.h>

/* What does the matrix products of this build. */
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

int cmd_doctor(int argc, char **argv)
{
    struct config c;
    struct session s;
    struct err e;
    size_t left, total;
    int status;
    if (!cmd_config(&c, argc, argv, "usage: appo doctor: what this machine has and what this build is", 0, &status)) {
        config_free(&c);
        return status;
    }
    printf("device      %s, %d threads, numbers stored as %s\n", dev_name(), dev_threads(), REAL_NAME);
    measure_memory(&left, &total);
    printf("memory      %.1f of %.1f GiB free\n", (double)left / 0x1p30, (double)total / 0x1p30);
    printf("products    %s\n", products());
    printf("policy      %s\n", session_embedded_policy());
    if (session_open(&s, &c, true, &e)) {
        printf("            %s, %lld parameters, %d layers of %d, vocabulary %d\n", s.m.c.arch, (long long)s.m.count, s.m.c.layers, s.m.c.dim, s.m.c.vocab);
        session_print_memory(&s, stdout);
        status = 0;
    } else status = cmd_fail(&e);
    session_close(&s);
    config_free(&c);
    return status;
}
