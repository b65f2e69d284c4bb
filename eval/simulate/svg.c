/* svg.c: two panels over one axis of ranks, which is logarithmic; throughput is logarithmic too, with the line of
 * perfect scaling from the first point of the first rule. */
#include "eval/simulate/svg.h"
#include "base/arith.h"
#include <math.h>
#include <string.h>

enum { WIDTH = 960, HEIGHT = 420, PANEL = 380, TALL = 270, TOP = 76, COLOURS = 6 };

struct panel {
    double x, lo, hi;               /* left edge; range of the values, logarithms of throughput */
    bool log;
};

struct figure {
    FILE *f;
    const struct sim_report *p;
    double first, last;             /* log2 of the ranks */
};

static double at_x(const struct figure *g, const struct panel *a, int ranks)
{
    double range = g->last - g->first;
    return a->x + (range > 0 ? (log2(ranks) - g->first) / range : 0.5) * PANEL;
}

static double at_y(const struct panel *a, double v)
{
    double x = a->log ? log10(v) : v;
    return TOP + TALL - (x - a->lo) / (a->hi - a->lo) * TALL;
}

/* Names come from files: what XML reads as markup is escaped, what it forbids becomes '?'. */
static void text(FILE *f, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '<') fputs("&lt;", f);
        else if (c == '&') fputs("&amp;", f);
        else if (c == '"') fputs("&quot;", f);
        else fputc(c < 0x20 || c >= 0x7f ? '?' : c, f);
    }
}

static void style(FILE *f)
{
    static const char *const light[COLOURS] = { "#0b62c4", "#c2410c", "#15803d", "#7e22ce", "#b91c5c", "#57534e" },
                            *const dark[COLOURS] = { "#6cb2ff", "#fb9a5b", "#5fd38a", "#c99bff", "#ff8fb8", "#b8b2ac" };
    fprintf(f, "<style>\n"
               "text { font: 13px system-ui, sans-serif; fill: #1f2328 }\n"
               ".small { font-size: 11px; fill: #57606a } .title { font-size: 15px; font-weight: 600 }\n"
               ".grid { stroke: #d0d7de; stroke-width: 1 } .ideal { stroke: #57606a; stroke-dasharray: 5 5 }\n"
               ".line { fill: none; stroke-width: 2.2 } .back { fill: #ffffff }\n");
    for (int i = 0; i < COLOURS; i++)
        fprintf(f, ".c%d { stroke: %s } .d%d { fill: %s; stroke: none }\n", i, light[i], i, light[i]);
    fprintf(f, "@media (prefers-color-scheme: dark) {\n"
               "text { fill: #e6edf3 } .small { fill: #9da7b1 } .back { fill: #0d1117 } .grid { stroke: #30363d }\n"
               ".ideal { stroke: #9da7b1 }\n");
    for (int i = 0; i < COLOURS; i++)
        fprintf(f, ".c%d { stroke: %s } .d%d { fill: %s }\n", i, dark[i], i, dark[i]);
    fprintf(f, "}\n</style>\n");
}

static void label(const struct figure *g, double x, double y, const char *anchor, const char *class, const char *s)
{
    fprintf(g->f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    text(g->f, s);
    fprintf(g->f, "</text>\n");
}

static void grid(const struct figure *g, const struct panel *a, const char *title)
{
    char s[32];
    label(g, a->x, TOP - 14, "start", "plain", title);
    for (int k = 0; k <= (a->log ? (int)(a->hi - a->lo + 0.5) : 5); k++) {
        double v = a->log ? pow(10, a->lo + k) : a->lo + k * (a->hi - a->lo) / 5, y = at_y(a, v);
        fprintf(g->f, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", a->x, a->x + PANEL, y,
                y);
        if (!a->log) snprintf(s, sizeof s, "%.0f %%", v);
        else snprintf(s, sizeof s, v >= 1e9 ? "%.0fG" : v >= 1e6 ? "%.0fM" : v >= 1e3 ? "%.0fk" : "%.3g",
                      v >= 1e9 ? v / 1e9 : v >= 1e6 ? v / 1e6 : v >= 1e3 ? v / 1e3 : v);
        label(g, a->x - 8, y + 4, "end", "small", s);
    }
    for (int i = 0; i < g->p->n && (i == 0 || g->p->r[i].rule == g->p->r[0].rule); i++) {
        snprintf(s, sizeof s, "%d", g->p->r[i].ranks);
        label(g, at_x(g, a, g->p->r[i].ranks), TOP + TALL + 18, "middle", "small", s);
    }
    label(g, a->x + PANEL / 2.0, TOP + TALL + 38, "middle", "small", "ranks");
}

static double value(const struct panel *a, const struct sim_result *r)
{
    return a->log ? sim_throughput(r) : 100 * r->idle;
}

static void lines(const struct figure *g, const struct panel *a)
{
    int colour = 0;
    for (int i = 0; i < g->p->n; ) {
        const struct sim_rule *rule = g->p->r[i].rule;
        int first = i;
        fprintf(g->f, "<polyline class=\"line c%d\" points=\"", colour);
        for (; i < g->p->n && g->p->r[i].rule == rule; i++)
            fprintf(g->f, "%.1f,%.1f ", at_x(g, a, g->p->r[i].ranks), at_y(a, value(a, &g->p->r[i])));
        fprintf(g->f, "\"/>\n");
        for (int k = first; k < i; k++)
            fprintf(g->f,
                    "<circle class=\"d%d\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\"><title>%d ranks: %.4g</title></circle>\n",
                    colour, at_x(g, a, g->p->r[k].ranks), at_y(a, value(a, &g->p->r[k])), g->p->r[k].ranks,
                    value(a, &g->p->r[k]));
        colour = (colour + 1) % COLOURS;
    }
}

static void legend(const struct figure *g)
{
    int colour = 0, y = HEIGHT - 18;
    double x = 70;
    for (int i = 0; i < g->p->n; i++) {
        if (i && g->p->r[i].rule == g->p->r[i - 1].rule) continue;
        fprintf(g->f, "<line class=\"line c%d\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%d\" y2=\"%d\"/>\n", colour, x, x + 24,
                y - 4, y - 4);
        label(g, x + 30, y, "start", "plain", g->p->r[i].rule->name);
        x += 110;
        colour = (colour + 1) % COLOURS;
    }
    fprintf(g->f, "<line class=\"line ideal\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%d\" y2=\"%d\"/>\n", x, x + 24, y - 4,
            y - 4);
    label(g, x + 30, y, "start", "plain", "perfect scaling");
}

void sim_svg(FILE *f, const struct sim_report *p)
{
    struct figure g = { f, p, 1e9, 0 };
    struct panel speed = { 70, 1e9, -1e9, true }, idle = { 70 + PANEL + 110, 0, 0, false };
    char s[256];
    for (int i = 0; i < p->n; i++) {
        double x = log2(p->r[i].ranks), v = log10(sim_throughput(&p->r[i])),
               ideal = log10(sim_throughput(&p->r[0]) / p->r[0].ranks * p->r[i].ranks);
        g.first = MIN(g.first, x), g.last = MAX(g.last, x);
        speed.lo = MIN(speed.lo, floor(v)), speed.hi = MAX(speed.hi, ceil(MAX(v, ideal) + 1e-9));
        idle.hi = MAX(idle.hi, ceil(10 * p->r[i].idle + 1e-9) * 10);
    }
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
    style(f);
    fprintf(f, "<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    snprintf(s, sizeof s, "Simulated: %.80s, %s scaling; times %.100s", p->model, p->weak ? "weak" : "strong",
             p->source);
    label(&g, 20, 28, "start", "title", s);
    grid(&g, &speed, "tokens a second");
    grid(&g, &idle, "share of the ranks' time spent waiting for one another");
    int last = p->r[0].ranks;
    for (int i = 0; i < p->n; i++) last = MAX(last, p->r[i].ranks);
    double each = sim_throughput(&p->r[0]) / p->r[0].ranks;
    fprintf(f, "<line class=\"line ideal\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            at_x(&g, &speed, p->r[0].ranks), at_y(&speed, each * p->r[0].ranks), at_x(&g, &speed, last),
            at_y(&speed, each * last));
    lines(&g, &speed);
    lines(&g, &idle);
    legend(&g);
    fprintf(f, "</svg>\n");
}
