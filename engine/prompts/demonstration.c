/* demonstration.c: transcripts to ids and masks. */
#include "engine/prompts/demonstration.h"
#include "engine/tools/tool_pool.h"
#include <limits.h>
#include <string.h>

static void mark(struct demo *d, int from, unsigned char value)
{
    d->m = xrealloc(d->m, (size_t)d->ids.n);
    memset(d->m + from, value, (size_t)(d->ids.n - from));
}

void demo_make(struct demo *d, const struct chat *c, const struct question *q, const struct transcript *t)
{
    *d = (struct demo){ 0 };
    chat_prompt(c, &d->ids, q->text);
    d->prompt = d->ids.n;
    mark(d, 0, 0);
    for (int i = 0; i < t->n; i++) {
        const struct piece *p = &t->piece[i];
        int from = d->ids.n;
        if (p->kind == PIECE_RESULT) tools_result_ids(c->t, &d->ids, p->text, strlen(p->text), -1, INT_MAX);
        else ENSURE(tokenizer_encode(c->t, &d->ids, p->text, strlen(p->text), true));
        mark(d, from, p->kind == PIECE_GENERATED);
    }
    int from = d->ids.n;
    ids_put(&d->ids, c->end);
    mark(d, from, 1);
}

void demo_free(struct demo *d)
{
    ids_free(&d->ids);
    free(d->m);
    *d = (struct demo){ 0 };
}
