/* cold_start.c: makes the embedded policy. */
#include "engine/run/cold_start.h"
#include "base/dir.h"
#include "base/file.h"
#include "engine/session/session.h"
#include "engine/session/model_export.h"
#include "model/tokenizer/bpe_train.h"
#include <stdlib.h>

struct cold_start_rule cold_start_default(const struct config *c)
{
    struct sft_rule skill = {
        .steps = c->sft.steps, .batch = c->sft.batch_size, .warmup = c->sft.warmup_steps, .lr = c->sft.lr,
        .floor = c->sft.min_lr_ratio, .decay = c->sft.weight_decay, .beta1 = c->actor.optim_beta1,
        .beta2 = c->sft.beta2, .max_norm = c->sft.grad_clip, .seed = (uint64_t)c->trainer.seed,
    };
    struct sft_rule behaviour = skill;
    behaviour.steps = 240;
    behaviour.warmup = 20;
    behaviour.lr = skill.lr / 3;
    behaviour.guess_high = 0.50;
    behaviour.guess_low = 0.15;
    behaviour.early = behaviour.slip = 0.06;
    behaviour.first = (uint64_t)1 << 31;
    return (struct cold_start_rule){
        .transcripts = 4000,
        .merges = 240,
        .skill = skill,
        .behaviour = behaviour,
        .max_rows = c->actor.ppo_max_token_len_per_gpu,
        .shape = { .arch = "LlamaForCausalLM",
                   .dim = 96,
                   .layers = 4,
                   .heads = 4,
                   .kv_heads = 2,
                   .head_dim = 24,
                   .ff = 320,
                   .max_len = 512,
                   .tied = true,
                   .rms_eps = 1e-5,
                   .rope_theta = 10000,
                   .bos = -1,
                   .n_eos = 1 },
    };
}

/* The text of a clean transcript with its prompt, as the tokenizer will see it. */
static char *transcript_text(int family, uint64_t seed, uint64_t index)
{
    struct task q;
    struct transcript t;
    struct str s = { 0 };
    struct rng r = rng_make(seed, 0x62706574u, (uint32_t)index);
    task_make(&q, family, SPLIT_TRAIN, seed, index);
    expert_write(&t, &q, FLAW_NONE, &r);
    str_puts(&s, q.text);
    for (int i = 0; i < t.n; i++) {
        if (t.piece[i].kind == PIECE_RESULT) str_printf(&s, " <result>\n%s\n</result>", t.piece[i].text);
        else str_puts(&s, t.piece[i].text);
    }
    transcript_free(&t);
    task_free(&q);
    return s.p;
}

/* Opening and closing tags of all tools among the special tokens. Returns how many tokens that are. */
static int special_tokens(const char **token)
{
    int n = 0;
    for (int k = 0; k < chat_specials; k++) {
        for (int t = 0; k == CHAT_TOOL_TAGS && t < tool_table.n; t++) {
            token[n++] = tool_table.row[t].open;
            token[n++] = tool_table.row[t].close;
        }
        token[n++] = chat_special[k];
    }
    return n;
}

static bool make_tokenizer(const char *path, const struct cold_start_rule *r, struct err *e)
{
    char **text = xcalloc((size_t)r->transcripts, sizeof *text);
    for (int i = 0; i < r->transcripts; i++)
        text[i] = transcript_text(i % FAMILIES, r->skill.seed, ((uint64_t)1 << 33) + (uint64_t)i);
    const char **special = xcalloc((size_t)(chat_specials + 2 * tool_table.n), sizeof *special);
    bool ok = bpe_train(path, (const char *const *)text, r->transcripts, special, special_tokens(special),
                        chat_pattern, r->merges, e);
    free(special);
    for (int i = 0; i < r->transcripts; i++) free(text[i]);
    free(text);
    return ok;
}

bool cold_start_run(const char *folder, const struct cold_start_rule *r, sft_after *after, void *ctx, struct err *e)
{
    struct str path = { 0 };
    struct chat chat;
    if (!dir_make(folder, e)) return false;
    str_printf(&path, "%s/tokenizer.json", folder);
    struct tokenizer *tok = make_tokenizer(path.p, r, e) ? tokenizer_read(path.p, e) : NULL;
    str_free(&path);
    bool ok = tok && chat_open(&chat, tok, NULL, "appo", e);
    if (ok) {
        struct model_config shape = r->shape;
        struct model m;
        struct learner l;
        shape.vocab = tokenizer_vocab(tok);
        shape.eos[0] = chat.end;
        shape.pad = chat.pad;
        model_make(&m, &shape);
        model_init(&m, r->skill.seed);
        learner_make(&l, &m, (struct learner_rule){ .max_rows = r->max_rows });
        ok = sft_run_tasks(&l, &chat, &r->skill, after, ctx, e);
        learner_free(&l);
        /* the second phase starts with an empty optimizer */
        learner_make(&l, &m, (struct learner_rule){ .max_rows = r->max_rows });
        ok = ok && sft_run_tasks(&l, &chat, &r->behaviour, after, ctx, e) && policy_save(&m, tok, folder, e);
        learner_free(&l);
        model_free(&m);
    }
    tokenizer_free(tok);
    return ok;
}
