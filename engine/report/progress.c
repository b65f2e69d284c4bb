/* progress.c: one line on stderr about how far a run is. On a terminal it is redrawn in place and never wider than it;
 * elsewhere it is a plain line. */
#include "engine/report/metrics.h"
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

void progress_text(char *out, size_t n, int width, const char *unit, int first, int done, int total, double elapsed,
                   const char *what, double reward, double tokens_per_s)
{
    char text[256], left[32];
    int used = snprintf(text, sizeof text, "%.20s %d/%d", unit, done, total);
    if (what && *what) used += snprintf(text + used, sizeof text - (size_t)used, "  %.60s", what);
    if (isfinite(reward)) used += snprintf(text + used, sizeof text - (size_t)used, "  reward %.3f", reward);
    if (isfinite(tokens_per_s))
        used += snprintf(text + used, sizeof text - (size_t)used, "  %.3g k tokens/s", tokens_per_s / 1000);
    if (done > first && done < total) {
        put_time(left, sizeof left, elapsed / (done - first) * (total - done));
        used += snprintf(text + used, sizeof text - (size_t)used, "  %s left", left);
    }
    int room = width - used - 4;                            /* brackets, a space, the last column */
    if (width <= 0 || room < 5) {
        snprintf(out, n, "%.*s", width > 0 ? width - 1 : 255, text);
        return;
    }
    char bar[61];
    if (room > 60) room = 60;
    int full = total > 0 ? (int)((int64_t)room * done / total) : room;
    for (int i = 0; i < room; i++) bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[room] = 0;
    snprintf(out, n, "[%s] %s", bar, text);
}

/* Off a terminal: is it time for a line? */
static bool time_to_say(struct progress *p, int done)
{
    double t = seconds() - p->started, since = t - p->said_at;
    bool tenth = (int64_t)(done - p->said) * 10 >= p->total, end = done >= p->total;
    if (end ? !p->any : p->any ? !tenth && since < fmax(30, t / 10) : t < 2) return false;
    p->any = true;
    p->said_at = t;
    p->said = done;
    return true;
}

void progress_step(struct progress *p, int done, const char *what, double reward, double tokens_per_s)
{
    char line[512];
    struct winsize w = { 0 };
    int width = 0;
    if (!p->tty && !time_to_say(p, done)) return;
    if (p->tty) width = ioctl(fileno(p->f), TIOCGWINSZ, &w) || w.ws_col < 20 ? 80 : w.ws_col;
    progress_text(line, sizeof line, width, p->unit ? p->unit : "step", p->first, done, p->total,
                  seconds() - p->started, what, reward, tokens_per_s);
    fprintf(p->f, p->tty ? "\r%s\033[K" : "%s\n", line);
    fflush(p->f);
}

void progress_clear(struct progress *p)
{
    if (p->tty) fputs("\r\033[K", p->f);
    fflush(p->f);
}
