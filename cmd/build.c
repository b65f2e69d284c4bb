/* build.c: what this build is. The libraries are asked at run time; snappy and nvcc have nothing to ask, so the
 * Makefile passes their versions. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "cmd/build.h"
#include "engine/comm/comm.h"
#include "engine/run/version.h"
#include "kernels/dev.h"
#include <jansson.h>
#include <pcre2.h>
#include <sqlite3.h>
#include <string.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

#ifndef APPO_SNAPPY
#define APPO_SNAPPY "unknown"
#endif

const char *build_backend(void)
{
    const char *name = dev_name();
    return !strcmp(name, "cpu") || !strcmp(name, "simt") ? name : "cuda";
}

void build_name(FILE *f)
{
    fprintf(f, "appo %s, commit %s, %s backend, numbers stored as %s", APPO_RELEASE, appo_version, build_backend(),
            ELEM_NAME);
}

const char *build_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__
#else
    return "gcc " __VERSION__
#endif
#ifdef APPO_NVCC
        ", nvcc " APPO_NVCC
#endif
        ;
}

void build_ranks(FILE *f)
{
    fputs(comm_mpi() ? comm_mpi() : "none", f);
#ifdef APPO_NCCL
    if (comm_mpi()) fputs(", NCCL", f);
#endif
}

void build_libraries(FILE *f)
{
    char pcre[64] = "?";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    fprintf(f, "jansson %s, pcre2 %.*s, libyaml %s, sqlite %s, zlib %s, snappy %s, zstd %s", jansson_version_str(),
            (int)strcspn(pcre, " "), pcre, yaml_get_version_string(), sqlite3_libversion(), zlibVersion(), APPO_SNAPPY,
            ZSTD_versionString());
}
