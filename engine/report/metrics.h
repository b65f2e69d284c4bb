/* metrics.h: the numbers of a step by name, metrics.jsonl and the line on the console. Names are verl's. */
#pragma once
#include "base/err.h"
#include "base/hash.h"
#include <stdint.h>
#include <stdio.h>

struct metric {
    char *name;
    double value;
};

/* Names and values in the order they were first put. Start with { 0 }, clear it for the next step, free it at the
 * end. */
struct metrics {
    struct metric *v;
    int n;
    int cap;
};
void metrics_put(struct metrics *m, const char *name, double value);        /* replaces the value of the same name */
double metrics_get(const struct metrics *m, const char *name);              /* NaN: no such name */
void metrics_clear(struct metrics *m);
void metrics_free(struct metrics *m);

/* Whether a metric measures time, or who did what ("timing_...", "perf/...", "ranks/..."): only these differ
 * between two otherwise equal runs. */
bool metrics_is_timing(const char *name);

/* metrics.jsonl: one line {"step":N,"data":{name:value,...}} a step, flushed line by line. Values have the fewest
 * digits that read back to the same number; null: not finite. */
struct metrics_log {
    FILE *f;
    char *path;
    struct tensorboard *board;
    struct hash hash;               /* of the file so far; hash.n: its bytes */
    int64_t kept;                   /* step of the last line that metrics_open kept; -1: none */
    int64_t seen;                   /* step of the last line that metrics_open found; -1: none */
};

/* after < 0: a new file. Otherwise continues the file: the lines of steps > after and an incomplete last line are
 * dropped (the file is replaced atomically), so that a resumed run ends with the file of one that never stopped.
 * board_dir: folder for TensorBoard event files; NULL: none. False: the file cannot be read or written, or has a line
 * that is not a metrics line. */
bool metrics_open(struct metrics_log *l, const char *path, int64_t after, const char *board_dir, struct err *e);
/* Compares the first `bytes` bytes of the file with a checksum. False: it is shorter, damaged or cannot be read, as the
 * message states. */
bool metrics_check(const char *path, int64_t bytes, uint64_t hash, struct err *e);
/* Brings what was written to the disk. */
bool metrics_sync(struct metrics_log *l, struct err *e);
/* False: the disk is full. */
bool metrics_write(struct metrics_log *l, int64_t step, const struct metrics *m, struct err *e);
bool metrics_close(struct metrics_log *l, struct err *e);

/* Prints `step:3 - actor/pg_loss:0.0123 - ...`: of the names in keys (ends with NULL), in that order, those that m has;
 * keys NULL: all of m. */
void metrics_console(FILE *f, int64_t step, const struct metrics *m, const char *const *keys);
