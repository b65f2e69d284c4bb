/* demonstration.h: an expert's transcript as token ids: what was generated is marked, tool results are not. */
#pragma once
#include "data/tasks/task.h"
#include "model/chat/chat.h"

struct demo { struct ids ids; unsigned char *m; int prompt; };
/* Prompt, transcript, end token. m[i] = 1 where the expert speaks (the end token included). */
void demo_make(struct demo *d, const struct chat *c, const struct question *q, const struct transcript *t);
void demo_free(struct demo *d);
