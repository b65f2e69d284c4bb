/* group.c: opens, forks, grades and closes the rollouts of a prompt. */
#include "engine/train/group.h"
#include "data/grade/reward.h"
#include <stdlib.h>
#include <string.h>

static struct trajectory *add(struct group *g)
{
    if (g->rows == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 8;
        g->row = xrealloc(g->row, (size_t)g->cap * sizeof *g->row);
    }
    struct trajectory *r = xcalloc(1, sizeof *r);
    r->orig = r->idx = -1;
    return g->row[g->rows++] = r;
}

/* An embedded question. A model that is to call in turns must be told of the tools; one that calls in tags is the
 * embedded policy, which knows them. */
static void write_question(struct ids *out, const struct session *s, const char *text)
{
    struct chat_message m = { CHAT_USER, text, strlen(text) };
    if (!call_form_turns(&s->form)) chat_prompt(&s->chat, out, text);
    else {
        struct err e;
        if (!prompt_write(out, &m, 1, s->c->data.system_prompt, &s->form, &e))
            die("the question \"%.80s\": %s", text, e.text);
    }
}

struct trajectory *group_root(struct group *g, struct session *s, uint32_t step)
{
    struct trajectory *r = add(g);
    struct ids prompt = { 0 };
    if (!g->task.prompt) write_question(&prompt, s, g->task.q.text);
    if (prompt.n > s->c->data.max_prompt_length)
        die("a prompt of %d tokens is longer than data.max_prompt_length=%d: \"%.80s\"", prompt.n,
            s->c->data.max_prompt_length, g->task.q.text);
    const struct ids *ids = g->task.prompt ? g->task.prompt : &prompt;
    sequence_begin(&r->seq, ids->p, ids->n);
    ids_free(&prompt);
    r->seq.step = step;
    r->seq.prompt = g->number;
    r->seq.rollout = g->next_rollout++;
    r->seq.scope = g->task.scope;
    r->seq.user = &g->task;
    return r;
}

void group_begin(struct group *g, struct session *s, int family, enum split split, uint64_t seed, uint64_t index,
                 uint32_t step, uint32_t number, int n)
{
    *g = (struct group){ .number = number, .index = (int64_t)index };
    env_prompt_begin(&s->env, &g->task, family, split, seed, index);
    for (int i = 0; i < n; i++) group_root(g, s, step);
    g->initial = n;
}

void group_begin_row(struct group *g, struct session *s, const struct prompt_set *q, int row, uint32_t step,
                     uint32_t number, int n)
{
    *g = (struct group){ .number = number,
                         .index = row,
                         .task = { .from_data = &q->rows.row[row], .prompt = &q->prompt[row] } };
    for (int i = 0; i < n; i++) group_root(g, s, step);
    g->initial = n;
}

static void row_free(struct trajectory *r, struct session *s)
{
    sequence_free(&r->seq, &s->kv);
    free(r->logp);
    free(r->entropy);
    free(r->logp_omega);
    free(r->logp_ref);
    free(r->logp_old);
    free(r->omega);
    free(r->bs);
    free(r);
}

void group_drop_branches(struct group *g, struct session *s)
{
    while (g->rows > g->initial) row_free(g->row[--g->rows], s);
}

void group_end(struct group *g, struct session *s)
{
    while (g->rows > 0) row_free(g->row[--g->rows], s);
    free(g->row);
    env_prompt_end(&s->env, &g->task);
    *g = (struct group){ 0 };
}

struct trajectory *group_fork(struct group *g, struct session *s, int orig, int cut)
{
    struct trajectory *r = add(g), *from = g->row[orig];
    sequence_fork(&r->seq, &from->seq, from->seq.prompt_len + cut, &s->kv);
    r->seq.rollout = g->next_rollout++;
    r->seq.parent = orig;
    r->branch = true;
    r->orig = orig;
    return r;
}

void trajectory_text(const struct trajectory *r, const struct session *s, struct str *out)
{
    int n = sequence_response(&r->seq) - (r->seq.finish == FINISH_END);
    str_clear(out);
    tokenizer_decode(s->tok, out, r->seq.ids + r->seq.prompt_len, n, true);
}

/* Is the released rule asked for, which reads results as if the policy had written them? */
static bool released(const struct session *s) { return s->c->reward.kind == RULE_DEEP_RESEARCH; }

/* What the format rules read: what the policy wrote. A page must not decide a score, whatever tags or boxes it holds:
 * each result in tags is read as an empty one, also where the length limit cut it. Where calls run in turns, the rules
 * for tags have nothing to say of calls and results: these are left out, and each turn has the thinking that it opens
 * with. */
static void graded_text(const struct trajectory *r, const struct session *s, struct str *out)
{
    static const char *const opens[] = { [CHAT_THINK_NONE] = "",
                                         [CHAT_THINK_FREE] = "",
                                         [CHAT_THINK_OFF] = "<think>\n\n</think>\n\n",
                                         [CHAT_THINK_OPEN] = "<think>\n" };
    const struct sequence *seq = &r->seq;
    bool turns = call_form_turns(&s->form);
    if (!turns && released(s)) { trajectory_text(r, s, out); return; }
    str_clear(out);
    for (int i = seq->prompt_len; i < seq->n - (seq->finish == FINISH_END); i++) {
        bool begins = i == seq->prompt_len || seq->m[i] != seq->m[i - 1];
        if (turns && begins && seq->m[i])
            str_puts(out, opens[chat_variant_of(&s->chat, call_form_turns(&s->form))->think]);
        if (!turns && begins && !seq->m[i]) str_puts(out, RESULT_BEFORE RESULT_AFTER);
        if (seq->m[i]) tokenizer_decode(s->tok, out, seq->ids + i, 1, true);
    }
}

static bool both_tools(const struct sequence *seq) { return seq->calls_by[TOOL_PYTHON] && seq->calls_by[TOOL_SEARCH]; }

/* What an answer gets that used both tools: by the calls that were made, not by tags that stand in the text. In tags,
 * the released rule has seen to it itself. */
static double tools_bonus(const struct reward *w, const struct trajectory *r, const struct session *s)
{
    double bonus = released(s) ? reward_both_tools : s->c->reward.tool_bonus;
    if (released(s) && !call_form_turns(&s->form)) return 0;
    return w->f1 > 0 && both_tools(&r->seq) ? bonus : 0;
}

/* reward.kind = task is the embedded tasks' own rule; for rows it is exact. */
static void grade_sample(const struct prompt *x, struct trajectory *r, const struct session *s, const struct str *text,
                         struct str *answer)
{
    struct reward w = { 0 };
    const char *const *refs = (const char *const *)x->refs;
    if (released(s)) reward_deep_research(&w, answer, text->p, text->n, refs, x->n_refs);
    else reward_exact(&w, answer, text->p, text->n, refs, x->n_refs, prompt_is_math(x), 0);
    r->seq.reward = w.score + tools_bonus(&w, r, s);
    r->well_formed = w.kind != REWARD_BAD_FORMAT && w.kind != REWARD_BOX_ERROR;
    r->correct = w.f1 >= 1;
}

/* The embedded tasks' own grammar is one of tags. In turns: the format rules of the released code, and the very answer
 * in the box. */
static struct task_grade grade_turns(const struct task *q, const struct str *text, struct str *answer)
{
    str_clear(answer);
    bool formed = !reward_format(text->p, text->n) && reward_box(answer, text->p, text->n);
    const char *box = formed ? answer->p + strspn(answer->p, " \n\t\r") : "";
    size_t n = strlen(box), len = strlen(q->answer);
    while (n && strchr(" \n\t\r", box[n - 1])) n--;
    return (struct task_grade){ formed, formed && n == len && !memcmp(box, q->answer, n) };
}

static void grade_question(const struct task *q, struct trajectory *r, const struct session *s, const struct str *text,
                           struct str *answer)
{
    const struct config *c = s->c;
    struct reward w = { 0 };
    const char *ref = q->answer;
    struct task_grade grade =
        call_form_turns(&s->form) ? grade_turns(q, text, answer) : task_grade(q, text->p, text->n);
    bool ended = r->seq.finish == FINISH_END;
    r->well_formed = grade.well_formed && ended;
    r->correct = grade.correct && ended;
    switch (c->reward.kind) {
    case RULE_TASK:
        r->seq.reward = r->correct ? 1 : r->well_formed ? c->reward.wrong : c->reward.malformed;
        if (r->correct && both_tools(&r->seq)) r->seq.reward += c->reward.tool_bonus;
        break;
    case RULE_EXACT:
        reward_exact(&w, answer, text->p, text->n, &ref, 1, q->kind == ANSWER_NUMBER, 0);
        r->seq.reward = w.score + tools_bonus(&w, r, s);
        break;
    case RULE_DEEP_RESEARCH:
        reward_deep_research(&w, answer, text->p, text->n, &ref, 1);
        r->seq.reward = w.score + tools_bonus(&w, r, s);
        break;
    }
}

void group_grade(const struct group *g, struct trajectory *r, const struct session *s)
{
    struct str text = { 0 }, answer = { 0 };
    graded_text(r, s, &text);
    if (g->task.from_data) grade_sample(g->task.from_data, r, s, &text, &answer);
    else grade_question(&g->task.q, r, s, &text, &answer);
    str_free(&text);
    str_free(&answer);
}
