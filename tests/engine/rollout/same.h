/* same.h: checks that the tests of rollouts share: sampled numbers against the training forward pass, calls against
 * calls, and the message of a process that dies. */
#pragma once
#include "tests/engine/rollout/tiny.h"
#include "model/forward.h"
#include "model/head.h"
#include "tests/check.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void same_calls(const char *name, int i, const struct sequence *a, const struct sequence *b)
{
    assert_int_equal(a->calls, b->calls);
    for (int k = 0; k < a->calls; k++) {
        const struct call *x = &a->call[k], *y = &b->call[k];
        CHECK(x->tool == y->tool && x->begin == y->begin && x->end == y->end && x->close == y->close &&
                  x->over_limit == y->over_limit,
              "%s, sequence %d, call %d", name, i, k);
    }
}

/* Sampled log-probs and entropies must equal those of a training forward pass over the whole sequence. */
static inline void same_as_training(const struct model *m, const struct sequence *seq, int index, double temperature)
{
    struct arena a;
    struct acts acts;
    int n = seq->n, *pos = xcalloc((size_t)n, sizeof *pos), *end = xcalloc((size_t)n, sizeof *end);
    acc_t *logp = xcalloc((size_t)n, sizeof *logp), *ent = xcalloc((size_t)n, sizeof *ent);
    arena_make(&a, "training", 16u << 20);
    acts_make(&acts, m, n, false, true, &a);
    elem_t *logits = arena_get(&a, (size_t)(n * vocab_ld(m)) * sizeof *logits, "logits"),
           *x = arena_get(&a, (size_t)n * (size_t)m->c.dim * sizeof *x, "x");
    for (int i = 0; i < n; i++) { pos[i] = i; end[i] = n; }
    struct attn_plan *plan_ = attn_plan_make(end, n);
    struct batch b = { .n = n, .ids = seq->ids, .pos = pos, .plan = plan_ };
    model_forward(m, &acts, &b, NULL);
    head_forward(m, logits, x, acts.hidden, NULL, n);
    op_row_stats((struct row_stats_args){
        .logp = logp, .ent = ent, .x = logits, .inv_temp = temperature > 0 ? 1 / temperature : 1, .tgt = seq->ids + 1,
        .n = n - 1, .vocab = m->c.vocab, .ld = vocab_ld(m) });
    for (int i = seq->prompt_len; i < n; i++) {
        if (!seq->m[i]) { assert_true(seq->logp[i] == 0 && seq->entropy[i] == 0); continue; }
        CHECK(seq->logp[i] == logp[i - 1] && seq->logp[i] <= 0,
              "sequence %d, token %d: sampled logp %.9g, training %.9g", index, i, (double)seq->logp[i],
              (double)logp[i - 1]);
        CHECK(seq->entropy[i] == ent[i - 1], "sequence %d, token %d: sampled entropy %.9g, training %.9g", index, i,
              (double)seq->entropy[i], (double)ent[i - 1]);
    }
    attn_plan_free(plan_);
    acts_free(&acts);
    arena_free(&a);
    free(pos), free(end), free(logp), free(ent);
}

/* Runs what() in a child process: it must exit as die() does, and its message must hold these words. */
static inline void dies(const char *name, void (*what)(void), const char *words)
{
    int fd[2], status;
    char text[2048] = { 0 };
    size_t n = 0;
    fflush(NULL);
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], 2);
        what();
        _exit(0);
    }
    close(fd[1]);
    for (ssize_t got; n < sizeof text - 1 && (got = read(fd[0], text + n, sizeof text - 1 - n)) > 0; n += (size_t)got) {
    }
    close(fd[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 70, "%s: status %d", name, status);
    CHECK(strstr(text, words), "%s: says \"%s\"", name, text);
}
