/* score.c: `appo score`: log-probs of given tokens. Lines are scored in batches and printed in their order. */
#include "cmd/cmd.h"
#include "cmd/lines.h"
#include "engine/learner/token_scores.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: appo score [model.path=DIR] [--top N] [key=value ...] <LINES: log-probabilities of given tokens\n"
    "  each line of stdin: {\"ids\": [...]}, {\"text\": \"...\"} (nothing is put before it; \"special\": true "
    "recognises added tokens) or {\"messages\": [...]}\n"
    "  each line of stdout: {\"ids\", \"logp\", \"entropy\", \"top\"}: per token its log-probability given those "
    "before it, the entropy of the distribution\n"
    "  it stands in (nats), and the N (5) most likely tokens there as [id, logp]; null for the first token\n"
    "  a batch has up to actor.ppo_max_token_len_per_gpu tokens; rollout.temperature divides the logits";

enum { LINES_AT_ONCE = 1024 };      /* limit of a batch beside its rows: empty and one-token lines take none */

struct job {
    struct session s;
    struct token_scorer token_scorer;
    struct err no_chat;
    int top, n, max_rows;
    int64_t rows, done;             /* of the n waiting sequences; sequences already printed */
    struct ids ids[LINES_AT_ONCE];
    struct str out;
};

/* Enough digits to read the same bits back. */
static void put_number(struct str *out, acc_t x)
{
    str_printf(out, "%.*g", sizeof x == sizeof(float) ? 9 : 17, (double)x);
}

/* Rejects NaN and infinities, which JSON cannot hold. */
static bool finite_numbers(const struct job *j, int line, const acc_t *logp, const acc_t *ent, const acc_t *top, int n,
                           struct err *e)
{
    for (int i = 1; i < n; i++) {
        bool fine = isfinite(logp[i]) && isfinite(ent[i]);
        for (int k = 0; fine && k < j->top; k++) fine = isfinite(top[(int64_t)i * j->top + k]);
        if (!fine)
            return fail(e,
                        "%s: the log-probabilities of token %d of text %lld are not finite: the model's weights, or "
                        "rollout.temperature, are out of range",
                        j->s.path, i, (long long)j->done + line + 1);
    }
    return true;
}

/* The numbers of one array: null, then one for each further token. */
static void put_numbers(struct str *out, const char *key, const acc_t *x, int n)
{
    str_printf(out, ", \"%s\": [", key);
    for (int i = 0; i < n; i++) {
        if (i) { str_puts(out, ", "); put_number(out, x[i]); } else str_puts(out, "null");
    }
    str_putc(out, ']');
}

static void put_top(struct str *out, const int *id, const acc_t *logp, int n, int top)
{
    str_puts(out, ", \"top\": [");
    for (int i = 0; i < n; i++) {
        if (!i) { str_puts(out, "null"); continue; }
        str_puts(out, ", [");
        for (int k = 0; k < top; k++) {
            str_printf(out, "%s[%d, ", k ? ", " : "", id[i * top + k]);
            put_number(out, logp[i * top + k]);
            str_putc(out, ']');
        }
        str_putc(out, ']');
    }
    str_putc(out, ']');
}

/* Runs the waiting sequences and prints their lines. */
static bool flush_batch(struct job *j, struct err *e)
{
    int64_t tokens = 0;
    struct seq_view *v = xcalloc((size_t)j->n, sizeof *v);
    for (int i = 0; i < j->n; i++) {
        uint8_t *m = xmalloc((size_t)j->ids[i].n);
        memset(m, 1, (size_t)j->ids[i].n);
        v[i] = (struct seq_view){ .ids = j->ids[i].p, .m = m, .n = j->ids[i].n, .group = i, .flat = tokens };
        tokens += j->ids[i].n;
    }
    size_t each = (size_t)tokens + 1;
    acc_t *logp = xcalloc(each, sizeof *logp), *ent = xcalloc(each, sizeof *ent),
          *top_logp = xcalloc(each * (size_t)j->top, sizeof *top_logp);
    int *top_id = xcalloc(each * (size_t)j->top, sizeof *top_id);
    struct pack p;
    pack_make(&p, v, j->n);
    double temperature = j->s.c->rollout.temperature;
    if (p.n) token_scorer_run(&j->token_scorer, &p, temperature > 0 ? 1 / temperature : 1, logp, ent, top_id, top_logp);
    pack_free(&p);
    bool ok = true;
    for (int i = 0; i < j->n; i++) free((void *)v[i].m);
    for (int i = 0; ok && i < j->n; i++) {
        int64_t at = v[i].flat;
        str_clear(&j->out);
        ok = finite_numbers(j, i, logp + at, ent + at, top_logp + at * j->top, v[i].n, e);
        if (!ok) break;
        str_puts(&j->out, "{\"ids\": [");
        for (int k = 0; k < v[i].n; k++) str_printf(&j->out, k ? ", %d" : "%d", v[i].ids[k]);
        str_putc(&j->out, ']');
        put_numbers(&j->out, "logp", logp + at, v[i].n);
        put_numbers(&j->out, "entropy", ent + at, v[i].n);
        if (j->top) put_top(&j->out, top_id + at * j->top, top_logp + at * j->top, v[i].n, j->top);
        str_puts(&j->out, "}\n");
        fwrite(j->out.p, 1, j->out.n, stdout);
    }
    free(v); free(logp); free(ent); free(top_logp); free(top_id);
    j->done += j->n;
    j->n = 0;
    j->rows = 0;
    if (!ok) return false;
    return (fflush(stdout) == 0 && !ferror(stdout)) || fail(e, "stdout: %s", strerror(errno));
}

/* Adds a line to the batch, which is run first if it is full. */
static bool take_line(struct job *j, const struct lines *l, struct ids *x, struct err *e)
{
    if (!line_ids(x, l, &j->s, false, &j->no_chat, e)) return false;
    int max = j->s.m.c.max_len;
    if (x->n > max)
        return fail(e, "line %lld: %d tokens, more than the model's max_position_embeddings=%d", l->number, x->n, max);
    if (x->n > j->max_rows)
        return fail(e, "line %lld: %d tokens, more than a batch has: raise actor.ppo_max_token_len_per_gpu=%d",
                    l->number, x->n, j->max_rows);
    if ((j->n == LINES_AT_ONCE || j->rows + x->n > j->max_rows) && !flush_batch(j, e)) return false;
    struct ids swap = j->ids[j->n];
    j->ids[j->n++] = *x;
    *x = swap;
    j->rows += j->ids[j->n - 1].n;
    return true;
}

/* Lines before an invalid one are still printed. */
static bool score_lines(struct job *j, struct err *e)
{
    struct lines l = { .f = stdin };
    struct ids x = { 0 };
    struct err late;
    int state;
    bool ok = true;
    while (ok && (state = lines_next(&l, e)) != 0) ok = state > 0 && take_line(j, &l, &x, e);
    if (!flush_batch(j, ok ? e : &late)) ok = false;
    for (int i = 0; i < LINES_AT_ONCE; i++) ids_free(&j->ids[i]);
    ids_free(&x);
    lines_free(&l);
    return ok;
}

static int run(const struct config *c, int top)
{
    struct job *j = xcalloc(1, sizeof *j);
    struct err e;
    j->top = top;
    j->max_rows = c->actor.ppo_max_token_len_per_gpu;
    bool ok = session_load(&j->s, c, &j->no_chat, &e);
    if (ok) {
        token_scorer_make(&j->token_scorer, &j->s.m, j->max_rows, j->top);
        j->top = j->token_scorer.top;
        ok = score_lines(j, &e);
        token_scorer_free(&j->token_scorer);
    }
    session_close(&j->s);
    str_free(&j->out);
    free(j);
    return ok ? 0 : cmd_fail(&e);
}

int cmd_score(int argc, char **argv)
{
    struct config c;
    int status, top = 5;
    const char *value;
    if (!cmd_option(&argc, argv, "--top", &value)) value = NULL;
    if (value &&
        (strspn(value, "0123456789") != strlen(value) || !*value || atoi(value) > SCORER_TOP || strlen(value) > 2)) {
        fprintf(stderr, "appo: --top %s: a number from 0 to %d is needed\n", value, SCORER_TOP);
        return 2;
    }
    if (value) top = atoi(value);
    if (cmd_config(&c, argc, argv, usage, 0, &status)) status = run(&c, top);
    config_free(&c);
    return status;
}
