/* rollout_calls.c: what the tokens of an sequence lead to: its end, calls, results. In tags, a call runs as soon as it
 * is complete; in turns, all calls of a turn run when an id of the policy's own has ended it, and their results come
 * back together, in order, whichever is first. */
#include "engine/rollout/rollout_in.h"
#include "base/err.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool ends_text(const struct rollout *r, int id)
{
    for (int i = 0; i < r->m->c.n_eos; i++) if (id == r->m->c.eos[i]) return true;
    return false;
}

/* What a seat's tools wrote. What was generated before it can no longer be part of a call. */
static void put_ids(struct rollout *r, struct seq_slot *s, const struct ids *ids)
{
    r->stats.tool_tokens += ids->n;
    for (int i = 0; i < ids->n; i++) sequence_put(s->seq, ids->p[i], false, 0, 0);
    str_clear(&s->tail);
    s->tail_at = s->seq->n;
    s->state = SLOT_DECODE;
    if (s->seq->n >= s->limit) slot_release(r, s, FINISH_LENGTH);
}

static int max_text(const struct rollout *r) { return r->c.max_tool_tokens > 0 ? r->c.max_tool_tokens : -1; }

static void put_result(struct rollout *r, struct seq_slot *s, const char *text, size_t n)
{
    struct ids ids = { 0 };
    tools_result_ids(r->t, &ids, text, n, max_text(r), s->limit - s->seq->n);
    put_ids(r, s, &ids);
    ids_free(&ids);
}

/* The results of all calls of a turn. */
static void put_results(struct rollout *r, struct seq_slot *s)
{
    struct ids ids = { 0 };
    turn_result_ids(r->c.form, &ids, s->result, s->turn.n, max_text(r), s->limit - s->seq->n);
    for (int k = 0; k < s->turn.n; k++) str_free(&s->result[k]);
    free(s->result);
    s->result = NULL;
    turn_calls_free(&s->turn);
    put_ids(r, s, &ids);
    ids_free(&ids);
}

static bool blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) if (!strchr(" \t\r\n\v\f", p[i]) || !p[i]) return false;
    return true;
}

/* The tokens since tail_at that hold any byte of text [begin, end), as response positions. */
static void span(const struct rollout *r, const struct seq_slot *s, size_t begin, size_t end, struct call *c)
{
    const struct sequence *seq = s->seq;
    size_t at = 0;
    c->begin = INT_MAX;
    for (int i = s->tail_at; i < seq->n; i++) {
        int bytes;
        tokenizer_bytes(r->t, seq->ids[i], &bytes);
        if (at < end && at + (size_t)bytes > begin) {
            if (c->begin == INT_MAX) c->begin = i - seq->prompt_len;
            c->end = i - seq->prompt_len + 1;
        }
        at += (size_t)bytes;
    }
    if (c->begin == INT_MAX) c->begin = c->end = c->close;
}

/* The note of call number k of those that the last token made, by its place in the sequence's list; made here unless a
 * fork brought it along. */
static int note_call(struct rollout *r, struct seq_slot *s, int k, int tool, size_t begin, size_t end)
{
    struct sequence *seq = s->seq;
    struct call c = { .tool = tool, .close = sequence_response(seq) - 1 };
    int first = seq->calls;
    while (first && seq->call[first - 1].close == c.close) first--;
    if (first + k < seq->calls) return first + k;
    span(r, s, begin, end, &c);
    c.over_limit = seq->calls_spent + sequence_calls(seq) >= r->c.call_limit;
    if (!c.over_limit) seq->calls_by[tool]++;
    if (seq->calls == seq->calls_cap) {
        seq->calls_cap = seq->calls_cap ? 2 * seq->calls_cap : 4;
        seq->call = xrealloc(seq->call, (size_t)seq->calls_cap * sizeof *seq->call);
    }
    seq->call[seq->calls] = c;
    r->stats.calls++;
    return seq->calls++;
}

/* Runs call number k of a seat. */
static void run_tool(struct rollout *r, struct seq_slot *s, int k, int tool, const char *query, size_t n)
{
    /* rollout.max_num_seqs is at most 2^20 */
    _Static_assert(CALLS_MAX <= INT_MAX >> 20, "a tag must hold a call's number and its seat");
    if (!r->pool) r->pool = tools_make(&r->box, r->c.tool_threads, r->c.tool_timeout_s);
    s->state = SLOT_TOOL;
    r->in_tools++;
    tools_call(r->pool, k * r->c.max_seqs + (int)(s - r->seq_slot), sequence_caller(s->seq), tool, query, n);
}

/* How call number k of those that the last token made ended. */
static void note_status(struct rollout *r, struct seq_slot *s, int k, const struct tool_done *d)
{
    struct sequence *seq = s->seq;
    int first = seq->calls;
    while (first && seq->call[first - 1].close == sequence_response(seq) - 1) first--;
    struct call *c = &seq->call[first + k];
    c->status = d->status;
    c->begun = d->begun;
    c->ended = d->ended;
    const struct tool *tool = tool_row(c->tool);
    bool recorded = r->box.recorded && tool && tool->recorded;
    r->stats.search_hits += recorded && d->status == CALL_OK;
    r->stats.search_misses += d->status == CALL_NEAREST || d->status == CALL_NOT_RECORDED;
    r->stats.timeouts += d->status == CALL_TIMEOUT;
}

static void refuse(struct rollout *r, struct seq_slot *s, int k)
{
    note_status(r, s, k, &(struct tool_done){ .status = CALL_REJECTED });
}

static void make_call(struct rollout *r, struct seq_slot *s, const struct found_call *f)
{
    const char *query = s->tail.p + f->begin;
    size_t n = f->end - f->begin;
    int note = note_call(r, s, 0, f->tool, f->begin, f->end);
    const char *said = s->seq->call[note].over_limit ? TOOL_NO_CALLS : blank(query, n) ? TOOL_EMPTY : NULL;
    if (said) {
        refuse(r, s, 0);
        put_result(r, s, said, strlen(said));
    } else run_tool(r, s, 0, f->tool, query, n);
}

/* Makes the calls of the turn that the last token has ended, if it has any and the rollout may go on behind this id. At
 * the limit there is no room for results and none is made. */
static bool make_calls(struct rollout *r, struct seq_slot *s)
{
    const struct call_form *f = r->c.form;
    struct turn_calls *x = &s->turn;
    if (!call_form_turns(f) || !call_form_stop(f, s->seq->ids[s->seq->n - 1]) ||
        !turn_calls_find(x, f, s->tail.p, s->tail.n))
        return false;
    if (s->seq->n >= s->limit) {
        turn_calls_free(x);
        slot_release(r, s, FINISH_LENGTH);
        return true;
    }
    s->result = xcalloc((size_t)x->n, sizeof *s->result);
    s->waits = 0;
    int note = 0;
    for (int k = 0; k < x->n; k++) note = note_call(r, s, k, x->p[k].tool, x->p[k].begin, x->p[k].end);
    for (int k = 0; k < x->n; k++) {
        const struct turn_call *c = &x->p[k];
        bool over = s->seq->call[note - (x->n - 1) + k].over_limit;
        const char *said = over                            ? TOOL_NO_CALLS
                           : c->wrong                      ? c->wrong
                           : blank(c->query.p, c->query.n) ? TOOL_EMPTY
                                                           : NULL;
        s->waits += !said;
        if (said) refuse(r, s, k);
        if (said) str_puts(&s->result[k], said);
        else run_tool(r, s, k, c->tool, c->query.p, c->query.n);
    }
    if (!s->waits) put_results(r, s);
    return true;
}

/* A call in tags that closes at the limit has no room for a result and is not made. */
bool slot_token(struct rollout *r, struct seq_slot *s)
{
    struct sequence *seq = s->seq;
    int bytes, id = seq->ids[seq->n - 1];
    struct found_call f;
    const char *text = tokenizer_bytes(r->t, id, &bytes);
    if (ends_text(r, id)) {
        if (!make_calls(r, s)) slot_release(r, s, FINISH_END);
        return true;
    }
    if (seq->n >= s->limit) { slot_release(r, s, FINISH_LENGTH); return true; }
    if (bytes) str_put(&s->tail, text, (size_t)bytes);
    if (!bytes || call_form_turns(r->c.form) || !tools_find_call(&f, s->tail.p, s->tail.n, (size_t)bytes)) return false;
    make_call(r, s, &f);
    return true;
}

void slots_results(struct rollout *r, bool wait)
{
    struct tool_done d;
    for (; r->in_tools && tools_next(r->pool, &d, wait); wait = false) {
        struct seq_slot *s = &r->seq_slot[d.tag % r->c.max_seqs];
        int k = d.tag / r->c.max_seqs;
        bool late = d.status == CALL_TIMEOUT;
        const char *text = late ? TOOL_TIMEOUT : d.text.n ? d.text.p : "";
        size_t n = late ? strlen(TOOL_TIMEOUT) : d.text.n;
        ENSURE(s->state == SLOT_TOOL);
        r->in_tools--;
        note_status(r, s, k, &d);
        if (!s->result) put_result(r, s, text, n);
        else {
            str_put(&s->result[k], text, n);
            if (--s->waits == 0) put_results(r, s);
        }
        str_free(&d.text);
    }
}
