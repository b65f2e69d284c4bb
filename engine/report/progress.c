/* progress.c: the bar is never wider than the terminal, since a wrapped line cannot be redrawn in place. */
#include "engine/report/progress.h"
#include "base/clock.h"
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void progress_start(struct progress *p, FILE *f, int first, int total)
{
    *p = (struct progress){ .f = f, .tty = isatty(fileno(f)), .first = first, .total = total, .started = seconds() };
}

static void put_time(char *out, size_t n, double seconds)
{
    long s = lround(fmin(fmax(seconds, 0), 359999));
    if (s < 60) snprintf(out, n, "%ld s", s);
    else if (s < 3600) snprintf(out, n, "%ld:%02ld", s / 60, s % 60);
    else snprintf(out, n, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

void progress_text(char *out, size_t n, int width, const struct progress_line *l)
{
    char text[256], left[32];
    int used = snprintf(text, sizeof text, "%.20s %d/%d", l->unit, l->done, l->total);
    if (l->what && *l->what) used += snprintf(text + used, sizeof text - (size_t)used, "  %.60s", l->what);
    if (isfinite(l->reward)) used += snprintf(text + used, sizeof text - (size_t)used, "  reward %.3f", l->reward);
    if (isfinite(l->tokens_per_s))
        used += snprintf(text + used, sizeof text - (size_t)used, "  %.3g k tokens/s", l->tokens_per_s / 1000);
    if (l->done > l->first && l->done < l->total) {
        put_time(left, sizeof left, l->elapsed / (l->done - l->first) * (l->total - l->done));
        used += snprintf(text + used, sizeof text - (size_t)used, "  %s left", left);
    }
    int room = width - used - 4;                            /* brackets, a space, the last column */
    if (width <= 0 || room < 5) {
        snprintf(out, n, "%.*s", width > 0 ? width - 1 : 255, text);
        return;
    }
    char bar[61];
    if (room > 60) room = 60;
    int full = l->total > 0 ? (int)((int64_t)room * l->done / l->total) : room;
    for (int i = 0; i < room; i++) bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[room] = 0;
    snprintf(out, n, "[%s] %s", bar, text);
}

/* Whether a plain line is due. */
static bool line_due(struct progress *p, int done)
{
    double t = seconds() - p->started, since = t - p->printed_at;
    bool tenth = (int64_t)(done - p->printed) * 10 >= p->total, end = done >= p->total;
    if (end ? !p->any : p->any ? !tenth && since < fmax(30, t / 10) : t < 2) return false;
    p->any = true;
    p->printed_at = t;
    p->printed = done;
    return true;
}

void progress_step(struct progress *p, int done, const char *what, double reward, double tokens_per_s)
{
    char line[512];
    struct winsize w = { 0 };
    int width = 0;
    if (!p->tty && !line_due(p, done)) return;
    if (p->tty) width = ioctl(fileno(p->f), TIOCGWINSZ, &w) || w.ws_col < 20 ? 80 : w.ws_col;
    progress_text(line, sizeof line, width,
                  &(struct progress_line){ .unit = p->unit ? p->unit : "step",
                                           .first = p->first,
                                           .done = done,
                                           .total = p->total,
                                           .elapsed = seconds() - p->started,
                                           .what = what,
                                           .reward = reward,
                                           .tokens_per_s = tokens_per_s });
    fprintf(p->f, p->tty ? "\r%s\033[K" : "%s\n", line);
    fflush(p->f);
}

void progress_clear(struct progress *p)
{
    if (p->tty) fputs("\r\033[K", p->f);
    fflush(p->f);
}
