/* metrics.h: the numbers of a step: metrics.jsonl, the line on the console, TensorBoard event files, and the progress
 * bar. Names are verl's. */
#pragma once
#include "base/err.h"
#include "base/hash.h"
#include <stdint.h>
#include <stdio.h>

/* Names and values in the order they were first put. Start with struct metrics m = {0}; clear it for the next step,
 * free it at the end. */
struct metric { char *name; double value; };
struct metrics { struct metric *v; int n, cap; };
void metrics_put(struct metrics *m, const char *name, double value);        /* a name put again gets the new value */
double metrics_get(const struct metrics *m, const char *name);              /* NaN where there is none */
void metrics_clear(struct metrics *m);
void metrics_free(struct metrics *m);

/* Names that say how long something took ("timing_...", "perf/..."): they differ between two runs that are otherwise
 * the same. */
bool metrics_is_timing(const char *name);

struct tensorboard;

/* metrics.jsonl: one line {"step":N,"data":{name:value,...}} a step, values with the fewest digits that read back, null
 * where not finite; flushed a line. */
struct metrics_log {
    FILE *f;
    char *path;
    struct tensorboard *board;
    struct hash hash;               /* of the file so far; hash.n: its bytes */
    /* steps of the last line that was kept, and of the last one found, by metrics_open; -1: none */
    int64_t kept, seen;
};

/* after < 0: a new file. Otherwise the lines of steps > after and a half-written last line are dropped (the file is
 * replaced whole) and the file is continued, so that a resumed run ends with the file of one that never stopped.
 * board_dir: folder for TensorBoard event files, NULL: none. False: cannot be read or written, or a line is not of this
 * kind. */
bool metrics_open(struct metrics_log *l, const char *path, int64_t after, const char *board_dir, struct err *e);
/* Are the first bytes of the file those with this checksum? False: it is shorter, damaged, or cannot be read; the
 * sentence says which. */
bool metrics_check(const char *path, int64_t bytes, uint64_t hash, struct err *e);
/* what was written is on the disk */
bool metrics_sync(struct metrics_log *l, struct err *e);
/* false: disk full */
bool metrics_write(struct metrics_log *l, int64_t step, const struct metrics *m, struct err *e);
bool metrics_close(struct metrics_log *l, struct err *e);

/* `step:3 - actor/pg_loss:0.0123 - ...`, only the names in keys (ends with NULL), in that order, those that are there;
 * keys NULL: all. */
void metrics_console(FILE *f, int64_t step, const struct metrics *m, const char *const *keys);

/* TensorBoard event file in dir: TFRecord frames of Event messages with simple_value summaries. after >= 0 tells the
 * reader to forget later steps. */
struct tensorboard *tensorboard_open(const char *dir, int64_t after, struct err *e);
/* false: disk full */
bool tensorboard_write(struct tensorboard *b, int64_t step, const struct metrics *m, struct err *e);
/* NULL is nothing */
bool tensorboard_close(struct tensorboard *b, struct err *e);
/* Castagnoli, as in RFC 3720 B.4 */
uint32_t crc32c(const void *bytes, size_t n);

/* The state of a run on stderr: redrawn in place on a terminal; elsewhere a plain line after 2 s, and then for every
 * tenth of the whole or after 30 s, later after a tenth of the time so far. unit: what is counted ("step" where
 * NULL). */
struct progress {
    FILE *f;
    bool tty;
    int total, first;
    double started;
    const char *unit;
    double said_at;
    int said;
    bool any;
};
void progress_start(struct progress *p, FILE *f, int first, int total);     /* steps first .. total-1 are still to do */
void progress_step(struct progress *p, int done, const char *what, double reward, double tokens_per_s);
void progress_clear(struct progress *p);                                    /* before other lines are printed */
/* The text of a line, of `unit` done of total: elapsed seconds for done - first of total - first steps. reward,
 * tokens_per_s: NaN leaves them out. width 0: no bar. */
void progress_text(char *out, size_t n, int width, const char *unit, int first, int done, int total, double elapsed,
                   const char *what, double reward, double tokens_per_s);
