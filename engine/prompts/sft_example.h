/* sft_example.h: a transcript as token ids: generated tokens are marked as targets, tool results are not. */
#pragma once
#include "data/tasks/task_expert.h"
#include "model/chat/chat.h"

struct sft_example {
    struct ids ids;                 /* prompt, transcript, end token */
    unsigned char *m;               /* 1: target; the end token is one */
    int prompt;                     /* length of the prompt */
};
void sft_example_make(struct sft_example *d, const struct chat *c, const struct task *q, const struct transcript *t);
void sft_example_free(struct sft_example *d);
