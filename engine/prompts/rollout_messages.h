/* rollout_messages.h: conversations as rollouts produce them. With calls in tags a rollout encodes each text of the
 * policy and each result by itself. A conversation from a file must be cut at the same places, or the model learns from
 * tokens that it never meets: `</result><think>` in one piece has a token `><`, and the model learns that `</result`
 * `>` ends a turn. */
#pragma once
#include "data/messages.h"
#include "engine/tools/tool_calls.h"

/* start with { 0 } */
struct rollout_messages {
    struct chat_message *m;         /* [n] */
    int n;
    struct chat_piece *piece;       /* [pieces] of all messages */
    int pieces, cap;
    struct ids *ids;                /* [results] */
    int results;
};

/* The messages as chat_write takes them; texts stay m's. With calls in turns, and for texts without a call, they are m.
 * In tags:
 * - tags_cut cuts an assistant's text. Results become the ids of tools_result_ids, whatever white space stood around
 *   their tags.
 * - A tool's message behind an assistant's that ends with a call is that call's result, and a following assistant's
 *   message continues the same turn, because no rollout ends a turn there. A tool's message at the end of the
 *   conversation stays a message.
 * - A text with several thoughts is written unchanged: Qwen3's template would leave out the text between them.
 * learn_results: results inside an assistant's text are marked as the model's own (sft.mask_results=false); a tool's
 * message never is. */
void rollout_messages_make(struct rollout_messages *x, const struct chat_message *m, int n,
                           const struct call_form *form, bool learn_results);
void rollout_messages_free(struct rollout_messages *x);
