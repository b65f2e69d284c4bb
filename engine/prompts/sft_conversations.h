/* sft_conversations.h: conversations from files as token ids, with what the model is to learn marked: what an assistant
 * says and the token that ends its turn. */
#pragma once
#include "engine/prompts/sft_example.h"
#include "engine/prompts/prompts.h"

struct sft_conversations {
    struct sft_example *example;                   /* [n] */
    int n;
    int64_t tokens, targets;        /* of all */
    struct record_order record_order;
};

/* Reads data.train_files. Where calls run in turns, a conversation that says nothing of tools declares the program's
 * own, as prompts will; where they are written in tags, its ids are those of a rollout that says the same
 * (engine/prompts/rollout_messages.h). A conversation of more than data.max_length or `most` tokens is treated as
 * data.truncation says; one with nothing to learn in what is left of it is left out. What is left out is counted in a
 * line on stderr. Tool results inside an assistant's text (<result> to </result>, as ARPO's demonstrations have them)
 * are not marked where sft.mask_results is set; a <result> that nothing closes is text, and with calls in turns all
 * tags are. */
bool sft_conversations_open(struct sft_conversations *t, const struct config *c, const struct call_form *form, int most,
                            struct err *e);
void sft_conversations_free(struct sft_conversations *t);
