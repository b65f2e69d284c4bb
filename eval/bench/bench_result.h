/* bench_result.h: a measurement as a line of text and as a JSON object, and its shape. */
#pragma once
#include "eval/bench/bench_in.h"
#include <jansson.h>

struct bench_result {
    const char *name;
    const struct bench_dims *d;
    double us, rate;
    double share;                       /* of the measured rate `of` */
    const char *unit;
    const char *of;                     /* "copy", "product", "staged" */
    int runs;
    json_t *extra;                      /* further keys; may be NULL; the reference is taken over */
};
void bench_report(struct bench *b, const struct bench_result *r);

/* A size as a JSON object; such an object as text: "causal n=4096 hd=64". */
struct str;
json_t *bench_shape(const struct bench_dims *d);
void bench_shape_text(const json_t *shape, struct str *s);

/* A planned measurement as a line; the reference to more is taken over. */
void bench_case(FILE *f, const char *name, const struct bench_dims *d, json_t *more);
