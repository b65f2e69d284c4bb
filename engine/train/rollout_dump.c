/* rollout_dump.c: writes JSON by hand instead of building a tree of values, because a step holds a million numbers. Two
 * equal runs write equal bytes but for the milliseconds of their calls. */
#include "engine/train/rollout_dump.h"
#include "engine/train/token_tags.h"
#include "base/text.h"
#include "base/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void dump_string(struct str *out, const char *text, size_t n)
{
    str_putc(out, '"');
    for (size_t i = 0; i < n; ) {
        uint32_t c;
        int len = utf8_get(text + i, n - i, &c);
        if (!len) {
            str_puts(out, "\xef\xbf\xbd");
            i += (size_t)utf8_part(text + i, n - i);
            continue;
        }
        if (c == '"' || c == '\\') str_printf(out, "\\%c", (int)c);
        else if (c == '\n') str_puts(out, "\\n");
        else if (c < 0x20 || c == 0x7f) str_printf(out, "\\u%04x", (unsigned)c);
        else str_put(out, text + i, (size_t)len);
        i += (size_t)len;
    }
    str_putc(out, '"');
}

static void put_name(struct str *o, const char *name)
{
    if (o->p[o->n - 1] != '{') str_putc(o, ',');
    str_printf(o, "\"%s\":", name);
}

static void put_text(struct str *o, const char *name, const char *text, size_t n)
{
    put_name(o, name);
    dump_string(o, text, n);
}

static void put_word(struct str *o, const char *name, const char *word) { put_text(o, name, word, strlen(word)); }

/* Enough digits to read the same number back; null for NaN and infinities, which JSON lacks. */
static void put_number(struct str *o, double x, bool narrow)
{
    char text[40];
    if (x == 0) str_putc(o, '0');
    else if (!isfinite(x)) str_puts(o, "null");
    else {
        snprintf(text, sizeof text, narrow ? "%.9g" : "%.17g", x);
        str_puts(o, text);
    }
}

static void put_float(struct str *o, const char *name, double x)
{
    put_name(o, name);
    put_number(o, x, false);
}

static void put_int(struct str *o, const char *name, int64_t x)
{
    put_name(o, name);
    str_printf(o, "%lld", (long long)x);
}

static void put_bool(struct str *o, const char *name, bool x) { put_name(o, name); str_puts(o, x ? "true" : "false"); }
static void put_null(struct str *o, const char *name) { put_name(o, name); str_puts(o, "null"); }

static void put_accs(struct str *o, const char *name, const acc_t *x, int n)
{
    put_name(o, name);
    str_putc(o, '[');
    for (int i = 0; i < n; i++) {
        if (i) str_putc(o, ',');
        put_number(o, (double)x[i], sizeof(acc_t) == 4);
    }
    str_putc(o, ']');
}

static void put_ids(struct str *o, const struct sequence *seq)
{
    put_name(o, "ids");
    for (int i = 0; i < seq->n; i++) str_printf(o, "%c%d", i ? ',' : '[', seq->ids[i]);
    str_puts(o, seq->n ? "]" : "[]");
    put_name(o, "mask");
    for (int i = 0; i < seq->n; i++) str_printf(o, "%c%d", i ? ',' : '[', seq->m[i]);
    str_puts(o, seq->n ? "]" : "[]");
}

/* ---- kinds ---- */

static const char kind_letter[TOKEN_KINDS] = { 't', 'c', 'a', 'g' };

/* The letter of what begins behind the last tag of text that ends after byte `from`; 0: no tag ends there. */
static char last_tag(const struct token_tags *tags, const struct str *text, size_t from)
{
    for (size_t n = text->n; n > from; n--)
        for (int k = 0; text->p[n - 1] == '>' && k < tags->n; k++) {
            if (bytes_end_with(text->p, n, tags->p[k].open)) return kind_letter[tags->p[k].kind];
            if (bytes_end_with(text->p, n, tags->p[k].close)) return kind_letter[TOKEN_TAG];
        }
    return 0;
}

static void kinds_by_text(char *kind, const struct token_tags *tags, const struct session *s,
                          const struct sequence *seq)
{
    struct str text = { 0 };
    char now = 'g';
    str_clear(&text);
    for (int i = 0; i < sequence_response(seq); i++) {
        size_t before = text.n;
        tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len + i, 1, true);
        char fresh = last_tag(tags, &text, before);
        kind[i] = fresh ? 'g' : now;
        if (fresh) now = fresh;
    }
    str_free(&text);
}

static void kinds_by_id(char *kind, const struct token_tags *tags, const struct session *s,
                        const struct sequence *seq)
{
    int open[TOOLS_MAX + 3], close[TOOLS_MAX + 3];
    char now = 'g';
    for (int k = 0; k < tags->own; k++) {
        open[k] = tokenizer_id(s->tok, tags->p[k].open);
        close[k] = tokenizer_id(s->tok, tags->p[k].close);
    }
    for (int i = 0; i < sequence_response(seq); i++) {
        int token = seq->ids[seq->prompt_len + i];
        kind[i] = tokenizer_special(s->tok, token) ? 'g' : now;
        for (int k = 0; k < tags->own; k++) {
            if (token == open[k]) now = kind_letter[tags->p[k].kind];
            if (token == close[k]) now = kind_letter[TOKEN_TAG];
        }
    }
}

void dump_kinds(char *kind, const struct session *s, const struct sequence *seq)
{
    struct token_tags tags;
    bool ids = true;
    token_tags_make(&tags);
    for (int k = 0; k < tags.own; k++) ids = ids && tokenizer_id(s->tok, tags.p[k].open) >= 0;
    (ids ? kinds_by_id : kinds_by_text)(kind, &tags, s, seq);
    for (int i = 0; i < sequence_response(seq); i++) if (!seq->m[seq->prompt_len + i]) kind[i] = 'r';
    kind[sequence_response(seq)] = 0;
}

/* ---- calls ---- */

/* The query of a call. With calls in tags the query need not end at a token boundary, so it is searched for as the
 * sampler did, in the text since the last result. */
static void query_of(struct str *out, const struct session *s, const struct sequence *seq, const struct call *c)
{
    struct str text = { 0 };
    struct found_call f;
    int first = c->close, bytes = 0;
    str_clear(out);
    str_clear(&text);
    while (first > 0 && seq->m[seq->prompt_len + first - 1]) first--;
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len + first, c->close - first + 1, true);
    tokenizer_bytes(s->tok, seq->ids[seq->prompt_len + c->close], &bytes);
    bool found = !call_form_turns(&s->form) && tools_find_call(&f, text.p, text.n, (size_t)bytes);
    if (found) str_put(out, text.p + f.begin, f.end - f.begin);
    else tokenizer_decode(s->tok, out, seq->ids + seq->prompt_len + c->begin, c->end - c->begin, true);
    str_free(&text);
}

static void put_calls(struct str *o, const struct session *s, const struct sequence *seq)
{
    struct str query = { 0 };
    put_name(o, "calls");
    str_putc(o, '[');
    for (int k = 0; k < seq->calls; k++) {
        const struct call *c = &seq->call[k];
        query_of(&query, s, seq, c);
        str_puts(o, k ? ",{" : "{");
        put_word(o, "tool", tool_name(c->tool));
        put_text(o, "query", query.p, query.n);
        put_int(o, "start", c->begin);
        put_int(o, "end", c->close + 1);
        put_name(o, "ms");
        str_printf(o, "%.3f", 1e3 * (c->ended - c->begun));
        put_word(o, "status", call_status_name[c->status]);
        put_bool(o, "over_limit", c->over_limit);
        str_putc(o, '}');
    }
    str_putc(o, ']');
    str_free(&query);
}

/* ---- a rollout ---- */

static void put_answers(struct str *o, const struct env_prompt *t)
{
    put_name(o, "gts");
    if (!t->from_data) { dump_string(o, t->task.answer, strlen(t->task.answer)); return; }
    if (t->from_data->n_refs == 1) {
        dump_string(o, t->from_data->ground_truth, strlen(t->from_data->ground_truth));
        return;
    }
    str_putc(o, '[');
    for (int i = 0; i < t->from_data->n_refs; i++) {
        if (i) str_putc(o, ',');
        dump_string(o, t->from_data->refs[i], strlen(t->from_data->refs[i]));
    }
    str_putc(o, ']');
}

static void put_branch(struct str *o, const struct group *g, const struct trajectory *r)
{
    static const char *const names[] = { "parent", "branch_index", "branch_score", "branch_rank", "branch_strict",
                                         "branch_fallback" };
    put_bool(o, "branch", r->branch);
    for (int i = 0; r->orig < 0 && i < 6; i++) put_null(o, names[i]);
    if (r->orig < 0) return;
    put_int(o, "parent", g->traj[r->orig]->seq.rollout);
    put_int(o, "branch_index", r->idx);
    put_float(o, "branch_score", r->score);
    put_int(o, "branch_rank", r->rank);
    put_bool(o, "branch_strict", r->strict);
    put_bool(o, "branch_fallback", r->fallback);
}

/* Vectors by response position. Branches that only give credit have none but those they were sampled with. */
static void put_credit(struct str *o, const struct trainer *t, const struct trajectory *r, const struct update_batch *f,
                       int at)
{
    int n = trajectory_len(r);
    if (r->branch && !r->bs && !t->c->branch.train) return;
    put_accs(o, "logp_now", r->logp, n);
    put_accs(o, "entropy_now", r->entropy, n);
    if (r->logp_old) put_accs(o, "logp_old", r->logp_old, n);
    if (r->bs) {
        put_accs(o, "logp_omega", r->logp_omega, n);
        put_accs(o, "omega", r->omega, n);
        put_accs(o, "bs", r->bs, n);
    }
    if (r->logp_ref) put_accs(o, "logp_ref", r->logp_ref, n);
    if (r->branch && !t->c->branch.train) return;
    put_accs(o, "advantage", f->adv + f->begin[at], n);
    put_accs(o, "grad", f->g + f->begin[at], n);
    if (t->c->actor.entropy_coeff != 0) put_accs(o, "grad_entropy", f->ge + f->begin[at], n);
}

static void put_update(struct str *o, const struct trainer *t, const struct dump_info *u)
{
    put_int(o, "epoch", t->epoch);
    put_int(o, "mini_batch", t->mini_batch);
    put_int(o, "weights", u->weights);
    put_name(o, "update");
    str_putc(o, '{');
    put_float(o, "loss", u->loss->loss);
    put_float(o, "pg", u->loss->pg);
    put_float(o, "kl", u->loss->kl);
    put_float(o, "entropy", u->loss->entropy);
    put_float(o, "tokens", u->loss->tokens_all);
    put_int(o, "rows", u->loss->rows_all);
    put_int(o, "rows_dropped", u->loss->rows_dropped);
    put_float(o, "grad_norm", u->norm);
    str_putc(o, '}');
}

static void put_trajectory(struct str *o, const struct trainer *t, const struct group *g, const struct trajectory *r,
                           const struct update_batch *f, int at, const struct dump_info *u)
{
    static const char *const finish[] = { "none", "end", "length" };
    const struct session *s = t->s;
    const struct sequence *seq = &r->seq;
    struct str text = { 0 };
    char *kind = xmalloc((size_t)trajectory_len(r) + 1);
    trajectory_text(r, s, &text);
    dump_kinds(kind, s, seq);
    str_clear(o);
    str_putc(o, '{');
    put_word(o, "input", env_prompt_text(&g->prompt));
    put_text(o, "output", text.p, text.n);
    put_answers(o, &g->prompt);
    put_float(o, "score", seq->reward);
    put_bool(o, "acc", r->correct);
    put_int(o, "step", t->step + 1);
    put_word(o, g->prompt.from_data ? "data_source" : "family", env_prompt_source(&g->prompt));
    put_int(o, "row", g->index);
    put_int(o, "prompt", g->number);
    put_int(o, "rollout", seq->rollout);
    put_branch(o, g, r);
    put_word(o, "finish", finish[seq->finish]);
    put_update(o, t, u);
    put_calls(o, s, seq);
    put_int(o, "prompt_len", seq->prompt_len);
    put_ids(o, seq);
    put_accs(o, "logp", seq->logp, seq->n);
    put_accs(o, "entropy", seq->entropy, seq->n);
    put_text(o, "kind", kind, (size_t)trajectory_len(r));
    put_credit(o, t, r, f, at);
    str_puts(o, "}\n");
    str_free(&text);
    free(kind);
}

void dump_update(FILE *out, const struct trainer *t, const struct group *g, int n, const struct update_batch *f,
                 const struct dump_info *u)
{
    int limit = t->c->trainer.rollout_data_prompts;
    struct str line = { 0 };
    for (int i = 0, first = 0, branch = f->initial; i < n; i++)
        for (int j = 0; j < g[i].n; j++) {
            int at = j < g[i].initial ? first++ : branch++;
            ENSURE(f->traj[at] == g[i].traj[j]);
            if (limit >= 0 && (int)g[i].number >= limit) continue;
            put_trajectory(&line, t, &g[i], g[i].traj[j], f, at, u);
            fwrite(line.p, 1, line.n, out);
        }
    str_free(&line);
}
