/* sft_conversations.h: conversations from files as token ids. The training targets are marked: an assistant's text and
 * the token that ends its turn. */
#pragma once
#include "engine/prompts/sft_example.h"
#include "engine/prompts/prompts.h"

struct sft_conversations {
    struct sft_example *example;    /* [n] */
    int n;
    int64_t tokens, targets;        /* of all */
    struct record_order record_order;
};

/* Reads data.train_files. With calls in turns, a conversation without a `tools` column gets the built-in tool
 * declarations, the same ones prompts get. With calls in tags, its ids are those of a rollout of the same text
 * (engine/prompts/rollout_messages.h). data.truncation decides on a conversation of more than data.max_length or `most`
 * tokens; a conversation without a target is left out. Lines on stderr count those left out. With sft.mask_results,
 * tool results inside an assistant's text (<result> to </result>, as in ARPO's demonstrations) are not marked; an
 * unclosed <result> is text, and so are all tags with calls in turns. */
bool sft_conversations_open(struct sft_conversations *t, const struct config *c, const struct call_form *form, int most,
                            struct err *e);
void sft_conversations_free(struct sft_conversations *t);
