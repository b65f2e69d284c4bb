/* near_names.c: edit distance, and the choice of names to show. */
#include "data/near_names.h"
#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 64, SHOWN = 12, SHOWN_BYTES = 240, NAMES = 512 };

/* Levenshtein distance with a swap of neighbours as one step (a common typo); the distance to an over-long word is its
 * length */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b), row[3][WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX) return n > m ? n : m;
    for (int j = 0; j <= m; j++) row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *above = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above[j - 2] + 1 < best)
                best = above[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

static const char *tail(const char *s)
{
    const char *dot = strrchr(s, '.');
    return dot ? dot + 1 : s;
}

void near_names(struct str *out, const char *missing, const struct str *names)
{
    const char *name[NAMES], *best = NULL;
    int n = 0, nearest = WORD_MAX, shown = 0;
    for (const char *p = names->p; p && p < names->p + names->n && n < NAMES; p += strlen(p) + 1) name[n++] = p;
    for (int k = 0; k < n; k++) {
        int d = distance(missing, name[k]), t = distance(tail(missing), tail(name[k])) + 1;
        if (t < d) d = t;
        if (d < nearest) { nearest = d; best = name[k]; }
    }
    if (!n) { str_puts(out, "; it has no columns"); return; }
    str_puts(out, "; there are ");
    size_t from = out->n;
    for (int k = 0; k < n && shown < SHOWN && out->n - from < SHOWN_BYTES; k++)
        str_printf(out, "%s%.100s", shown++ ? ", " : "", name[k]);
    if (shown < n) str_printf(out, " and %d more", n - shown);
    if (best && nearest == 0) str_printf(out, "; \"%.100s\" is null here", best);
    int allowed = (int)strlen(tail(missing)) / 3 + 1;
    if (best && nearest && nearest <= allowed) str_printf(out, ". Did you mean %.100s?", best);
}
