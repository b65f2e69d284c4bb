/* rollout_messages.c: collects the pieces of all messages in one array. Messages hold indices into it until it is
 * complete, because it may move. */
#define _GNU_SOURCE     /* memmem */
#include "engine/prompts/rollout_messages.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct chat_piece *add_piece(struct rollout_messages *x)
{
    if (x->pieces == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 16;
        x->piece = xrealloc(x->piece, (size_t)x->cap * sizeof *x->piece);
    }
    return &x->piece[x->pieces++];
}

/* Until all results are there a piece holds the number of its result, from 1, because their array may move. */
static void add_result(struct rollout_messages *x, const struct call_form *f, const char *text, size_t n, bool own)
{
    x->ids = xrealloc(x->ids, (size_t)(x->results + 1) * sizeof *x->ids);
    x->ids[x->results] = (struct ids){ 0 };
    tools_result_ids(f->chat->t, &x->ids[x->results], text, n, -1, INT_MAX);
    *add_piece(x) = (struct chat_piece){ .n = (size_t)++x->results, .own = own };
}

/* Whether a message is only text: calls and thoughts beside the text cannot stand inside a turn of several messages. */
static bool plain(const struct chat_message *m) { return !m->calls && !(m->thought && *m->thought); }

static bool thinks_again(const struct chat_message *m)
{
    static const char end[] = "</think>";
    const char *p = m->n ? memmem(m->text, m->n, end, sizeof end - 1) : NULL;
    return p && memmem(p + 1, (size_t)(m->text + m->n - p) - 1, end, sizeof end - 1);
}

/* Whether the text ends with a call, white space aside; *n is the end of the call. */
static bool ends_with_call(const struct chat_message *m, const struct tag_pieces *cut, size_t *n)
{
    size_t end = m->n;
    struct found_call f;
    while (end && strchr(" \n\t\r", m->text[end - 1]) && m->text[end - 1]) end--;
    for (int i = cut->n; i-- > 0;) {
        const struct tag_piece *p = &cut->p[i];
        if (p->begin >= end) continue;
        *n = end;
        return p->part == TAG_POLICY && p->end == end && tools_find_call(&f, m->text + p->begin, end - p->begin, 1);
    }
    return false;
}

/* Adds the pieces of one assistant's message, cut to n bytes. */
static void add_pieces(struct rollout_messages *x, const struct call_form *f, const struct chat_message *m,
                       const struct tag_pieces *cut, size_t n, bool learn_results)
{
    for (int i = 0; i < cut->n; i++) {
        const struct tag_piece *p = &cut->p[i];
        size_t end = p->end < n ? p->end : n;
        const char *text = m->text + p->begin;
        bool own = !m->quiet && (p->part == TAG_POLICY || learn_results);
        if (p->part == TAG_RESULT) add_result(x, f, text, p->end - p->begin, own);
        else if (p->begin < end) *add_piece(x) = (struct chat_piece){ .text = text, .n = end - p->begin, .own = own };
    }
}

/* Adds the turn that begins with the assistant's message m[i], in pieces or unchanged. Returns the number of its
 * messages. */
static int add_turn(struct rollout_messages *x, const struct chat_message *m, int n, int i, const struct call_form *f,
                    bool learn_results)
{
    int from = x->pieces, used = 0;
    bool whole = true;                          /* no message was cut so far */
    for (bool more = true; more; ) {
        const struct chat_message *a = &m[i + used++];
        struct tag_pieces cut = { 0 };
        size_t end = a->n;
        tags_cut(&cut, a->text, a->n);
        /* not the last message, nor one of several results */
        more = i + used + 1 < n && m[i + used].role == CHAT_TOOL && m[i + used + 1].role != CHAT_TOOL && plain(a) &&
               (m[i + used + 1].role != CHAT_ASSISTANT || plain(&m[i + used + 1])) && ends_with_call(a, &cut, &end);
        whole &= !more && (!cut.n || (cut.n == 1 && cut.p[0].part == TAG_POLICY)) &&
                 !(f->chat->v.think != CHAT_THINK_NONE && thinks_again(a));
        add_pieces(x, f, a, &cut, more ? end : a->n, learn_results);
        tag_pieces_free(&cut);
        x->m[x->n] = m[i];
        x->m[x->n].quiet = a->quiet;            /* the end of the turn belongs to the last message */
        if (!more) break;
        add_result(x, f, m[i + used].text, m[i + used].n, false);
        more = m[i + ++used].role == CHAT_ASSISTANT;
    }
    if (whole) x->pieces = from;
    else x->m[x->n].pieces = x->pieces - from;
    x->n++;
    return used;
}

void rollout_messages_make(struct rollout_messages *x, const struct chat_message *m, int n,
                           const struct call_form *form, bool learn_results)
{
    *x = (struct rollout_messages){ .m = xcalloc((size_t)n + 1, sizeof *x->m) };
    for (int i = 0; i < n;) {
        if (m[i].role == CHAT_ASSISTANT && !call_form_turns(form)) i += add_turn(x, m, n, i, form, learn_results);
        else x->m[x->n++] = m[i++];
    }
    for (int i = 0; i < x->pieces; i++) {
        struct chat_piece *p = &x->piece[i];
        if (!p->text) *p = (struct chat_piece){ .ids = &x->ids[p->n - 1], .own = p->own };
    }
    for (int i = 0, at = 0; i < x->n; at += x->m[i++].pieces) x->m[i].piece = x->m[i].pieces ? x->piece + at : NULL;
}

void rollout_messages_free(struct rollout_messages *x)
{
    for (int k = 0; k < x->results; k++) ids_free(&x->ids[k]);
    free(x->ids);
    free(x->piece);
    free(x->m);
    *x = (struct rollout_messages){ 0 };
}
