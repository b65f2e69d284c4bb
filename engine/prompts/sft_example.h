/* sft_example.h: an expert's transcript as token ids: what was generated is marked, tool results are not. */
#pragma once
#include "data/tasks/task_expert.h"
#include "model/chat/chat.h"

struct sft_example { struct ids ids; unsigned char *m; int prompt; };
/* Prompt, transcript, end token. m[i] = 1 where the expert speaks (the end token included). */
void sft_example_make(struct sft_example *d, const struct chat *c, const struct task *q, const struct transcript *t);
void sft_example_free(struct sft_example *d);
