/* task_expert.h: demonstrations of the embedded tasks, for the cold start. Their quality is mixed on purpose:
 * reinforcement learning selects among behaviours, so the flawed ones must be there to be selected against. */
#pragma once
#include "data/tasks/task.h"
#include "base/str.h"

/* Appends what the tool answers to a call for this task, byte for byte what calc_run(calc_embedded) gives, or
 * corpus_search over q->pages for a query in ASCII (FTS5 also folds accents). */
void task_call(struct str *out, const struct task *q, enum task_tool tool, const char *call);

/* A transcript is a list of pieces. PIECE_GENERATED holds the tags too: <think> plan</think><search> name</search>, and
 * at the end <think> last</think><answer>\boxed{ x}</answer>. PIECE_RESULT holds the tool's text alone: the engine puts
 * " <result>\n" before and "\n</result>" after it. Words in calls and answers follow a space, numbers do not, so that a
 * name has the same tokens everywhere. */
enum piece_kind { PIECE_GENERATED, PIECE_RESULT };
struct transcript_piece { enum piece_kind kind; char *text; };

/* GUESS answers without a tool; EARLY stops before the last call; SLIP makes one call wrong and believes the result.
 * All three end in a wrong answer. EARLY needs two calls: a task of one call gets SLIP instead, which keeps the share
 * of flawed demonstrations the same in every family. */
enum flaw { FLAW_NONE, FLAW_GUESS, FLAW_EARLY, FLAW_SLIP };
struct transcript {
    int n;
    struct transcript_piece *piece;
    enum flaw flaw;             /* the one actually shown */
};
void expert_write(struct transcript *t, const struct task *q, enum flaw flaw, struct rng *r);
void transcript_free(struct transcript *t);

/* Samples the flaw of a demonstration: GUESS with probability guess_high in arith, lineq, units, onehop, threehop and
 * links, guess_low in the others; then EARLY, SLIP. */
enum flaw flaw_sample(int family, double guess_high, double guess_low, double early, double slip, struct rng *r);
