/* token_tags.h: the tags that say what a token is part of: a thought, a call, an answer. Tools' tags come from the
 * table of tools. */
#pragma once
#include "engine/tools/tool_rows.h"

struct token_tag {
    const char *open, *close;
    int kind;                       /* TOKEN_THINK, ...: of what stands between them */
};
/* p[0 .. own): tags of the embedded policy, whose tokenizer has each as one token; behind them those of chat formats */
struct token_tags {
    struct token_tag p[TOOLS_MAX + 3];
    int own, n;
};

void token_tags_make(struct token_tags *x);
