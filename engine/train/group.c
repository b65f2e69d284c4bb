/* group.c: opens, forks and closes the rollouts of a prompt. */
#include "engine/train/group.h"
#include <stdlib.h>
#include <string.h>

struct trajectory *group_add(struct group *g)
{
    if (g->n == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 8;
        g->traj = xrealloc(g->traj, (size_t)g->cap * sizeof *g->traj);
    }
    struct trajectory *r = xcalloc(1, sizeof *r);
    r->orig = r->idx = -1;
    return g->traj[g->n++] = r;
}

/* The prompt of an embedded task. Turn-based formats need the tools declared in the prompt; the embedded policy, which
 * calls in tags, was trained on them and needs none. */
static void write_task_prompt(struct ids *out, const struct session *s, const char *text)
{
    struct chat_message m = { CHAT_USER, text, .n = strlen(text) };
    if (!call_form_turns(&s->form)) chat_prompt(&s->chat, out, text);
    else {
        struct err e;
        if (!prompt_write(out, &m, 1, s->c->data.system_prompt, &s->form, &e))
            die("the prompt \"%.80s\": %s", text, e.text);
    }
}

struct trajectory *group_root(struct group *g, struct session *s, uint32_t step)
{
    struct trajectory *r = group_add(g);
    struct ids prompt = { 0 };
    if (!g->prompt.ids) write_task_prompt(&prompt, s, g->prompt.task.text);
    if (prompt.n > s->c->data.max_prompt_length)
        die("a prompt of %d tokens is longer than data.max_prompt_length=%d: \"%.80s\"", prompt.n,
            s->c->data.max_prompt_length, g->prompt.task.text);
    const struct ids *ids = g->prompt.ids ? g->prompt.ids : &prompt;
    sequence_begin(&r->seq, ids->p, ids->n);
    ids_free(&prompt);
    r->seq.step = step;
    r->seq.prompt = g->number;
    r->seq.rollout = g->next_rollout++;
    r->seq.scope = g->prompt.scope;
    return r;
}

void group_begin_task(struct group *g, struct session *s, int family, enum split split, uint64_t seed, uint64_t index,
                 uint32_t step, uint32_t number, int n)
{
    *g = (struct group){ .number = number, .index = (int64_t)index };
    env_prompt_begin(&s->env, &g->prompt, family, split, seed, index);
    for (int i = 0; i < n; i++) group_root(g, s, step);
    g->initial = n;
}

void group_begin_record(struct group *g, struct session *s, const struct prompt_set *set, int record, uint32_t step,
                     uint32_t number, int n)
{
    *g = (struct group){ .number = number,
                         .index = record,
                         .prompt = { .from_data = &set->rows.prompt[record], .ids = &set->prompt[record] } };
    for (int i = 0; i < n; i++) group_root(g, s, step);
    g->initial = n;
}

static void trajectory_free(struct trajectory *r, struct session *s)
{
    sequence_free(&r->seq, &s->kv);
    free(r->logp);
    free(r->entropy);
    free(r->logp_omega);
    free(r->logp_ref);
    free(r->logp_old);
    free(r->omega);
    free(r->adv);
    free(r->bs);
    free(r);
}

void group_drop_branches(struct group *g, struct session *s)
{
    while (g->n > g->initial) trajectory_free(g->traj[--g->n], s);
}

void group_end(struct group *g, struct session *s)
{
    while (g->n > 0) trajectory_free(g->traj[--g->n], s);
    free(g->traj);
    env_prompt_end(&s->env, &g->prompt);
    *g = (struct group){ 0 };
}

struct trajectory *group_fork(struct group *g, struct session *s, int orig, int cut)
{
    struct trajectory *r = group_add(g), *from = g->traj[orig];
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

void traj_list_add(struct traj_list *l, const struct group *g, int uid, int first, int last)
{
    size_t n = (size_t)(l->n + last - first) + 1;
    l->traj = xrealloc(l->traj, n * sizeof *l->traj);
    l->uid = xrealloc(l->uid, n * sizeof *l->uid);
    for (int i = first; i < last; i++) {
        l->traj[l->n] = g->traj[i];
        l->uid[l->n++] = uid;
    }
}

void traj_list_free(struct traj_list *l)
{
    free(l->traj);
    free(l->uid);
    *l = (struct traj_list){ 0 };
}
