/* token_tags.c: the list of tags, made from the table of tools. */
#include "engine/train/token_tags.h"
#include "engine/report/step_metrics.h"

void token_tags_make(struct token_tags *x)
{
    x->n = 0;
    x->p[x->n++] = (struct token_tag){ "<think>", "</think>", TOKEN_THINK };
    for (int k = 0; k < tool_table.n; k++)
        x->p[x->n++] = (struct token_tag){ tool_table.row[k].open, tool_table.row[k].close, TOKEN_CALL };
    x->p[x->n++] = (struct token_tag){ "<answer>", "</answer>", TOKEN_ANSWER };
    x->own = x->n;
    x->p[x->n++] = (struct token_tag){ "<tool_call>", "</tool_call>", TOKEN_CALL };
}
