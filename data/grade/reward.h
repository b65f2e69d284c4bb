/* reward.h: the reward of a whole response: -1 for a broken format, else the score of its last \boxed{}, plus a bonus
 * when all bonus tools were called. Format rules and the official score: compute_score of the official APPO code
 * (verl/utils/reward_score/deep_research.py). */
#pragma once
#include "base/str.h"
#include "data/grade/tool_tags.h"
#include <stdbool.h>

enum reward_kind { REWARD_BAD_FORMAT, REWARD_BOX_ERROR, REWARD_WRONG, REWARD_CORRECT, REWARD_CORRECT_BOTH_TOOLS };
/* f1 is 1 or 0 if compared as mathematics; any f1 > 0 is CORRECT */
struct reward { double score, f1; enum reward_kind kind; };

/* "bad_format", "box_error", "wrong", "correct", "correct_both_tools" */
const char *reward_kind_name(enum reward_kind kind);

/* Why the format of a response text[0..n) is broken, or NULL if it is not. Rules: as many <think> as </think>, at least
 * one; one <answer> and one </answer> after it, "\boxed{" and "}" between them; each opening tag of a tool followed by
 * its closing tag, then <result>, then </result>. */
const char *reward_format(const char *text, size_t n, const struct tool_tags *tools);

/* Appends the content of the last box in the answer of a well-formed response: "\boxed x" (up to a $) takes precedence
 * over any "\boxed{x}". False: no box. */
bool reward_box(struct str *box, const char *text, size_t n);

extern const double reward_all_tools;       /* 0.1: the bonus of the official reward */

/* The official reward: the best token F1 of the box and a reference, lower-cased, without punctuation and articles;
 * yes, no and noanswer must match exactly; + 0.1 if F1 > 0 and the text holds the closing tag of every bonus tool.
 * answer is set to the content of the box, "" if there is none. */
void reward_deep_research(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs,
                          int n_refs, const struct tool_tags *tools);

/* The default here: the same format rules. math: 1 if the box has the value of a reference (data/grade/math_value.h),
 * else 0; otherwise the F1 above. tool_bonus replaces 0.1; 0: no bonus. */
void reward_exact(struct reward *r, struct str *answer, const char *text, size_t n, const char *const *refs, int n_refs,
                  const struct tool_tags *tools, bool math, double tool_bonus);
