/* reward.h: what a whole response is worth: -1 for a broken format, else how well its last \boxed{} answers, and a
 * little more when both tools were called. Format rules and the official score: compute_score of the official APPO code
 * (verl/utils/reward_score/deep_research.py). */
#pragma once
#include "base/str.h"
#include "data/grade/tool_tags.h"
#include <stdbool.h>

enum reward_kind { REWARD_BAD_FORMAT, REWARD_BOX_ERROR, REWARD_WRONG, REWARD_CORRECT, REWARD_CORRECT_BOTH_TOOLS };
/* f1 is 1 or 0 where mathematics is compared; any f1 > 0 is CORRECT */
struct reward { double score, f1; enum reward_kind kind; };

/* "bad_format", "box_error", "wrong", "correct", "correct_both_tools" */
const char *reward_kind_name(enum reward_kind kind);

/* Why a response text[0..n) has a broken format, or NULL where it has none: as many <think> as </think>, at least one;
 * one <answer>, one </answer> behind it, "\boxed{" and "}" between; each opening tag of a tool followed by its
 * closing tag, then <result>, then </result>. */
const char *reward_format(const char *text, size_t n, const struct tool_tags *tools);

/* The last box of the answer of a well-formed response, appended to box: "\boxed x" (up to a $) wins over any
 * "\boxed{x}". False: no such box. */
bool reward_box(struct str *box, const char *text, size_t n);

extern const double reward_all_tools;       /* 0.1: what the official reward adds */

/* The official reward: token F1, the best over refs, between the box and a reference, lower-cased, without punctuation
 * and articles; yes, no and noanswer must match whole; + 0.1 with F1 > 0 when the text holds the closing tag
 * of every bonus tool.
 * answer is set to the box, "" where none was reached. */
void reward_deep_research(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs,
                          int n_refs, const struct tool_tags *tools);

/* The default here: the same format rules; math: 1 where the box has the value of a reference
 * (data/grade/math_value.h), else 0; not math: the F1 above. tool_bonus takes the place of 0.1, 0 for none. */
void reward_exact(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs, int n_refs,
                  const struct tool_tags *tools, bool math, double tool_bonus);
