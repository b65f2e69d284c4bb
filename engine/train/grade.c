/* grade.c: grades trajectories. Only the policy's own tokens count: each tool result is read as an empty one, so that
 * no retrieved page can decide a score. reward.kind=deep_research is the exception: its released rule reads them. */
#include "engine/train/grade.h"
#include "data/grade/reward.h"
#include "data/tasks/task_grade.h"
#include <string.h>

/* Whether reward.kind asks for the released rule, which reads results as if the policy had written them. */
static bool released(const struct session *s) { return s->c->reward.kind == RULE_DEEP_RESEARCH; }

/* The text that the format rules read: the policy's own tokens. With calls in tags each result is replaced by an empty
 * one, also where the length limit cut it, so that tags or boxes on a page cannot decide a score. With calls in turns
 * the rules for tags do not apply to calls and results: these are left out, and each turn starts with the thinking that
 * its chat format opens. */
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

/* Whether the trajectory called every tool that counts for the bonus. */
static bool bonus_tools(const struct sequence *seq)
{
    int bonus = 0, called = 0;
    for (int k = 0; k < tool_table.n; k++) {
        bonus += tool_table.row[k].bonus;
        called += tool_table.row[k].bonus && seq->calls_by[k];
    }
    return bonus && called == bonus;
}

/* The bonus of a scoring answer that used every such tool. Counts the calls that were made, not the tags in the text.
 * With calls in tags the released rule adds its bonus itself. */
static double tools_bonus(const struct reward *w, const struct trajectory *r, const struct session *s)
{
    double bonus = released(s) ? reward_all_tools : s->c->reward.tool_bonus;
    if (released(s) && !call_form_turns(&s->form)) return 0;
    return w->f1 > 0 && bonus_tools(&r->seq) ? bonus : 0;
}

/* A prompt from data. reward.kind = task is the embedded tasks' own rule; a prompt from data is graded by exact. */
static void grade_record(const struct prompt *p, struct trajectory *r, const struct session *s, const struct str *text,
                         struct str *answer)
{
    struct reward w = { 0 };
    struct tool_tags tags;
    const char *const *refs = (const char *const *)p->refs;
    tools_tags(&tags);
    if (released(s)) reward_deep_research(&w, answer, text->p, text->n, refs, p->n_refs, &tags);
    else reward_exact(&w, answer, text->p, text->n, refs, p->n_refs, &tags, prompt_is_math(p), 0);
    r->seq.reward = w.score + tools_bonus(&w, r, s);
    r->well_formed = w.kind != REWARD_BAD_FORMAT && w.kind != REWARD_BOX_ERROR;
    r->correct = w.f1 >= 1;
}

/* An embedded task with calls in turns: the tasks' own grammar is one of tags, so the format rules of the released code
 * apply, and the box must hold exactly the answer. */
static struct task_grade grade_turns(const struct task *q, const struct str *text, const struct tool_tags *tags,
                                     struct str *answer)
{
    str_clear(answer);
    bool formed = !reward_format(text->p, text->n, tags) && reward_box(answer, text->p, text->n);
    const char *box = formed ? answer->p + strspn(answer->p, " \n\t\r") : "";
    size_t n = strlen(box), len = strlen(q->answer);
    while (n && strchr(" \n\t\r", box[n - 1])) n--;
    return (struct task_grade){ formed, formed && n == len && !memcmp(box, q->answer, n) };
}

static void grade_task(const struct task *q, struct trajectory *r, const struct session *s, const struct str *text,
                           struct str *answer)
{
    const struct config *c = s->c;
    struct reward w = { 0 };
    struct tool_tags tags;
    const char *ref = q->answer;
    tools_tags(&tags);
    struct task_grade grade =
        call_form_turns(&s->form) ? grade_turns(q, text, &tags, answer) : task_grade(q, text->p, text->n, &tags);
    bool ended = r->seq.finish == FINISH_END;
    r->well_formed = grade.well_formed && ended;
    r->correct = grade.correct && ended;
    switch (c->reward.kind) {
    case RULE_TASK:
        r->seq.reward = r->correct ? 1 : r->well_formed ? c->reward.wrong : c->reward.malformed;
        if (r->correct && bonus_tools(&r->seq)) r->seq.reward += c->reward.tool_bonus;
        break;
    case RULE_EXACT:
        reward_exact(&w, answer, text->p, text->n, &ref, 1, &tags, q->kind == ANSWER_NUMBER, 0);
        r->seq.reward = w.score + tools_bonus(&w, r, s);
        break;
    case RULE_DEEP_RESEARCH:
        reward_deep_research(&w, answer, text->p, text->n, &ref, 1, &tags);
        r->seq.reward = w.score + tools_bonus(&w, r, s);
        break;
    }
}

void trajectory_grade(const struct group *g, struct trajectory *r, const struct session *s)
{
    struct str text = { 0 }, answer = { 0 };
    graded_text(r, s, &text);
    if (g->prompt.from_data) grade_record(g->prompt.from_data, r, s, &text, &answer);
    else grade_task(&g->prompt.task, r, s, &text, &answer);
    str_free(&text);
    str_free(&answer);
}
