/* sft_conversations.c: conversations to ids and masks; every fault is reported before the first step. */
#include "engine/prompts/sft_conversations.h"
#include "engine/prompts/rollout_messages.h"
#include "data/conversations.h"
#include "base/arith.h"
#include <stdio.h>
#include <string.h>

static bool write_conversation(struct sft_example *d, const struct conversation *x, const struct config *c,
                               const struct call_form *form, struct err *e)
{
    const struct chat *chat = form->chat;
    struct chat_tools tools = { 0 };
    struct chat_mask mask = { 0 };
    *d = (struct sft_example){ 0 };
    if (x->tools && !chat_tools_read(&tools, chat, x->tools, strlen(x->tools), e))
        return fail_in(e, "%s: tools", x->where);
    struct chat_message *m = chat_messages(&x->messages);
    struct rollout_messages pieces;
    rollout_messages_make(&pieces, m, x->messages.n, form, !c->sft.mask_results);
    const struct chat_tools *declared = x->tools || !call_form_turns(form) ? &tools : &form->tools;
    bool ok = chat_check(chat, m, x->messages.n, declared->n > 0, e) &&
              (chat_write(chat, &d->ids, &mask, pieces.m, pieces.n, declared, false) ||
               fail(e, "the tokenizer gave up on this conversation"));
    d->m = mask.p;
    rollout_messages_free(&pieces);
    free(m);
    chat_tools_free(&tools);
    return ok || fail_in(e, "%s", x->where);
}

static int64_t marked(const struct sft_example *d)
{
    int64_t n = 0;
    for (int i = 1; i < d->ids.n; i++) n += d->m[i];
    return n;
}

/* Fits d into max tokens. *keep false: it is left out. */
static bool fit(struct sft_example *d, const struct conversation *x, const struct config *c, int max, bool *keep,
                struct err *e)
{
    enum truncation how = c->data.filter_overlong_prompts ? TRUNCATE_FILTER : c->data.truncation;
    *keep = true;
    if (d->ids.n <= max) return true;
    if (how == TRUNCATE_ERROR)
        return fail(e,
                    "%s: a conversation of %d tokens is longer than the %d that data.max_length, "
                    "actor.ppo_max_token_len_per_gpu and the model allow: raise them, "
                    "or choose data.truncation=filter, left, right or middle",
                    x->where, d->ids.n, max);
    if (how == TRUNCATE_FILTER) *keep = false;
    else truncate_ids(&d->ids, d->m, max, how);
    return true;
}

struct reading { struct conversations rows; struct dataset_keys keys; };

static bool read_one(void *ctx, const char *path, struct err *e)
{
    struct reading *r = ctx;
    return conversations_load(&r->rows, path, &r->keys, e);
}

static bool write_all(struct sft_conversations *t, const struct conversations *rows, const struct config *c,
                      const struct call_form *form, int most, struct err *e)
{
    int max = c->data.max_length ? MIN(c->data.max_length, most) : most, longer = 0, idle = 0;
    bool ok = true;
    t->example = xcalloc((size_t)rows->n, sizeof *t->example);
    for (int k = 0; ok && k < rows->n; k++) {
        struct sft_example d;
        bool keep = true;
        ok = write_conversation(&d, &rows->conversation[k], c, form, e) &&
             fit(&d, &rows->conversation[k], c, max, &keep, e);
        int64_t targets = ok && keep ? marked(&d) : 0;
        longer += ok && !keep;
        idle += ok && keep && !targets;
        if (!targets) { sft_example_free(&d); continue; }
        t->tokens += d.ids.n;
        t->targets += targets;
        t->example[t->n++] = d;
    }
    if (longer)
        fprintf(stderr, "data.train_files: %d of %d conversations are longer than %d tokens and were left out\n",
                longer, rows->n, max);
    if (idle)
        fprintf(stderr,
                "data.train_files: %d of %d conversations have no text of an assistant left and were left out\n",
                idle, rows->n);
    return ok && (t->n || fail(e, "data.train_files: no conversation is left to learn from"));
}

bool sft_conversations_open(struct sft_conversations *t, const struct config *c, const struct call_form *form, int most,
                            struct err *e)
{
    *t = (struct sft_conversations){ 0 };
    struct reading r = { { 0 },
                         { *c->data.prompt_key ? c->data.prompt_key : NULL,
                           *c->data.answer_key ? c->data.answer_key : NULL, NULL } };
    bool ok = each_file("data.train_files", c->data.train_files, read_one, &r, e);
    if (ok) print_notes("data.train_files", &r.rows.note);
    ok = ok && write_all(t, &r.rows, c, form, most, e);
    conversations_free(&r.rows);
    return ok;
}

void sft_conversations_free(struct sft_conversations *t)
{
    for (int k = 0; k < t->n; k++) sft_example_free(&t->example[k]);
    free(t->example);
    free(t->record_order.order);
    *t = (struct sft_conversations){ 0 };
}
