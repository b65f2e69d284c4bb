/* token_kind.h: the part of a response that a token belongs to (TOKEN_THINK, ... of step_metrics.h), by the tags before
 * it, whether they are single tokens or ordinary text. */
#pragma once
#include "engine/report/step_metrics.h"
#include "engine/session/session.h"

/* The kind of the generated token at response position pos. */
int token_kind(const struct session *s, const struct sequence *seq, int pos);
