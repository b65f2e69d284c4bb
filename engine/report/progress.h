/* progress.h: the progress of a run on stderr. On a terminal a bar is redrawn in place. Elsewhere plain lines are
 * printed: the first after 2 s, then one after each tenth of the whole or after 30 s, later after a tenth of the
 * elapsed time. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *f;
    bool tty;
    int total;                      /* steps first .. total - 1 are still to do */
    int first;
    double started;
    const char *unit;               /* of what is counted; NULL: "step" */
    double printed_at;              /* of plain lines: seconds since the start, */
    int printed;                    /* the count they gave, */
    bool any;                       /* and whether there was one */
};
void progress_start(struct progress *p, FILE *f, int first, int total);
/* reward, tokens_per_s: NaN leaves them out. */
void progress_step(struct progress *p, int done, const char *what, double reward, double tokens_per_s);
/* Clears the bar before other lines are printed. */
void progress_clear(struct progress *p);

/* What a line shows: `done` of `total` units; `elapsed` seconds for those after the first `first`. */
struct progress_line {
    const char *unit;
    int first;
    int done;
    int total;
    double elapsed;
    const char *what;               /* may be NULL */
    double reward;
    double tokens_per_s;
};
/* The text of a line. width: of the terminal; 0: no bar. */
void progress_text(char *out, size_t n, int width, const struct progress_line *l);
