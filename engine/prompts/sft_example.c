/* sft_example.c: transcripts to ids and masks. */
#include "engine/prompts/sft_example.h"
#include "engine/tools/tool_calls.h"
#include <limits.h>
#include <string.h>

static void mark(struct sft_example *d, int from, unsigned char value)
{
    d->m = xrealloc(d->m, (size_t)d->ids.n);
    memset(d->m + from, value, (size_t)(d->ids.n - from));
}

void sft_example_make(struct sft_example *d, const struct chat *c, const struct task *q, const struct transcript *t)
{
    *d = (struct sft_example){ 0 };
    chat_prompt(c, &d->ids, q->text);
    d->prompt = d->ids.n;
    mark(d, 0, 0);
    for (int i = 0; i < t->n; i++) {
        const struct transcript_piece *p = &t->piece[i];
        int from = d->ids.n;
        if (p->kind == PIECE_RESULT) tools_result_ids(c->t, &d->ids, p->text, strlen(p->text), -1, INT_MAX);
        else ENSURE(tokenizer_encode(c->t, &d->ids, p->text, strlen(p->text), true));
        mark(d, from, p->kind == PIECE_GENERATED);
    }
    int from = d->ids.n;
    ids_put(&d->ids, c->end);
    mark(d, from, 1);
}

void sft_example_free(struct sft_example *d)
{
    ids_free(&d->ids);
    free(d->m);
    *d = (struct sft_example){ 0 };
}
