/* build.h: what this build is: release, commit, compiler, libraries, backend, storage type; `appo version` and the
 * first lines of `appo doctor`. */
#pragma once
#include <stdio.h>

#define APPO_RELEASE "0.2"      /* the Makefile reads it for `make dist` */

const char *build_backend(void);            /* cpu, simt or cuda */
/* "appo 0.2, commit C, B backend, numbers stored as T", without an end of line */
void build_name(FILE *f);
const char *build_compiler(void);           /* the C compiler and, of a CUDA build, nvcc */
/* "Open MPI v4.1.4, NCCL", "none": what joins several ranks */
void build_ranks(FILE *f);
void build_libraries(FILE *f);              /* "jansson 2.14, pcre2 10.42, ...", without an end of line */
