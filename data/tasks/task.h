/* task.h: the embedded tasks: thirteen generated families of questions that need a calculator or a search, the expert
 * that shows how to answer them, and the exact grader. Facts are drawn afresh for every question, and the test split
 * has names and computations that training never sees. */
#pragma once
#include "data/grade/tool_tags.h"
#include "base/philox.h"
#include <stdbool.h>
#include <stddef.h>

enum { FAMILIES = 13, TASK_STEPS = 4, TASK_PAGES = 4 };
enum family {
    FAM_ARITH,
    FAM_MOD,
    FAM_LINEQ,
    FAM_SEQ,
    FAM_UNITS,
    FAM_ONEHOP,
    FAM_BRIDGE,
    FAM_COMPARE,
    FAM_THREEHOP,
    FAM_DISTRACT,
    FAM_LINKS,
    FAM_GATHER,
    FAM_CONTRA
};
extern const char *const family_name[FAMILIES];

/* What corpus_search is called with for these questions; python is calc_run with calc_embedded. */
enum { TASK_MAX_PAGES = 3, TASK_MAX_CHARS = 200 };

enum split { SPLIT_TRAIN, SPLIT_TEST };
enum task_tool { TASK_PYTHON, TASK_SEARCH };
enum answer_kind { ANSWER_NUMBER, ANSWER_COLOR, ANSWER_JOB, ANSWER_NAME };

struct page { char *title, *text; };
struct step { enum task_tool tool; char *plan, *call; };        /* the expert thinks plan, then makes the call */

struct task {
    int family;
    enum split split;
    char *text, *answer;
    int n_pages;
    struct page *pages;                 /* the scope to load into the corpus; NULL for computations */
    enum answer_kind kind;              /* what kind of value answer is */
    int n_steps;
    struct step step[TASK_STEPS];   /* what the expert does */
    /* what it thinks before it answers: the key that precedes the answer, or "done" */
    char *last;
};

/* Fills q from nothing but its arguments: the same (family, split, seed, index) is the same question on every machine.
 * Names are 2 or 3 syllables; a name, or for computations the whole question text, belongs to the test split when
 * task_is_test says so, and generation draws until it is in its split. */
void task_make(struct task *q, int family, enum split split, uint64_t seed, uint64_t index);
void task_free(struct task *q);
bool task_is_test(const char *text);                                        /* FNV-1a of the bytes, mod 5, is 0 */
/* bytes of a name with its 0; colors, and jobs, there are */
enum { TASK_NAME = 8, TASK_WORDS = 8 };
extern const char *const task_color[TASK_WORDS], *const task_job[TASK_WORDS];
void task_name(char name[TASK_NAME], enum split split, struct rng *r);      /* a fresh name of the split */

/* What the tool answers to a call of this question, byte for byte what calc_run(calc_embedded) gives, or corpus_search
 * over q->pages for a query in ASCII (FTS5 also folds accents). Appends to out. */
struct str;
void task_call(struct str *out, const struct task *q, enum task_tool tool, const char *call);

/* A transcript is a list of pieces. PIECE_GENERATED holds tags and all: <think> plan</think><search> name</search>, at
 * the end <think> last</think><answer>\boxed{ x}</answer>. PIECE_RESULT holds the tool's text alone: the engine puts "
 * <result>\n" before and "\n</result>" after. Words in calls and answers follow a space, numbers do not, so that a name
 * is tokenised alike wherever it stands. */
enum piece_kind { PIECE_GENERATED, PIECE_RESULT };
struct transcript_piece { enum piece_kind kind; char *text; };

/* Demonstrations are of mixed quality on purpose: reinforcement learning selects among behaviours, so the flawed ones
 * must be there to be selected against. GUESS answers without a tool; EARLY stops before the last call; SLIP makes one
 * call wrong and believes the result. All three end in a wrong answer. EARLY needs two calls: a question of one call
 * gets SLIP instead, which keeps the share of flawed demonstrations the same in every family. */
enum flaw { FLAW_NONE, FLAW_GUESS, FLAW_EARLY, FLAW_SLIP };
/* flaw: the one actually shown */
struct transcript { int n; struct transcript_piece *piece; enum flaw flaw; };
void expert_write(struct transcript *t, const struct task *q, enum flaw flaw, struct rng *r);
void transcript_free(struct transcript *t);

/* Draws the flaw of a demonstration: GUESS with guess_high in arith, lineq, units, onehop, threehop and links,
 * guess_low in the others; then EARLY, SLIP. */
enum flaw flaw_sample(int family, double guess_high, double guess_low, double early, double slip, struct rng *r);

/* Grades a whole response, tool results included (whatever is in them: training puts empty ones there), the end token
 * not. Well formed is exactly
 *   (<think>T</think> (<python>T</python> | <search>T</search> | ...) " <result>\n" any "\n</result>")*
 *   <think>T</think><answer>\boxed{T}</answer> where T holds no '<' or '>' (and no '{' or '}' in the box), white space
 *   around the box is allowed. correct implies well_formed: the text in the box, white space stripped, equals q->answer
 *   byte for byte. response may hold any bytes. */
struct task_grade { bool well_formed, correct; };
struct task_grade task_grade(const struct task *q, const char *response, size_t n, const struct tool_tags *tools);
