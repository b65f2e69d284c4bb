/* session.c: opens a run, and says what is wrong before any work is done. */
#include "engine/session/session.h"
#include "base/file.h"
#include "engine/session/memory_estimate.h"
#include "base/utf8.h"
#include "model/load.h"
#include "model/model_place.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *session_embedded_policy(void)
{
    static char path[4200];
    const char *home = getenv("APPO_HOME");
    if (home) { snprintf(path, sizeof path, "%.4000s/policy", home); return path; }
    char exe[4000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    for (int up = 0; up < 3; up++) {                     /* <home>/build/cpu/appo */
        char *slash = strrchr(exe, '/');
        if (slash) *slash = 0;
    }
    snprintf(path, sizeof path, "%s/policy", *exe ? exe : ".");
#ifdef APPO_SOURCE
    /* the program was copied or linked to elsewhere */
    if (!file_exists(path)) snprintf(path, sizeof path, "%s/policy", APPO_SOURCE);
#endif
    return path;
}

/* What generation_config.json names ends a text, and every id that ends a turn of the chat format, too. Those of
 * config.json come first and alone are written there when the model is saved; generation_config.json goes along as it
 * is. */
static bool add_stops(struct session *s, struct err *e)
{
    struct model_config *c = &s->m.c;
    _Static_assert(2 * CONFIG_EOS_FILE + CHAT_STOPS <= CONFIG_EOS_MAX, "none is ever left out");
    s->own_eos = c->n_eos;
    if (!model_generation_read(c, s->path, e)) return false;
    for (int i = 0; i < s->chat.stops; i++) {
        int k = 0;
        while (k < c->n_eos && c->eos[k] != s->chat.stop[i]) k++;
        if (k == c->n_eos) c->eos[c->n_eos++] = s->chat.stop[i];
    }
    return true;
}

/* What die() prints after its message: where the memory is. */
static const struct session *opened;
static void print_opened(void) { if (opened) session_print_memory(opened, stderr); }

bool session_load(struct session *s, const struct config *c, struct err *no_chat, struct err *e)
{
    *s = (struct session){ .c = c, .steps = c->trainer.total_training_steps };
    s->path = *c->model.path ? c->model.path : session_embedded_policy();
    opened = s;
    die_hook = print_opened;
    if (c->trainer.threads > 0) dev_set_threads(c->trainer.threads);
    if (!model_place(s->path, e)) return false;
    s->tok = tokenizer_open(s->path, e);
    if (!s->tok) return false;
    if (no_chat) *no_chat = (struct err){ "" };
    if (!chat_open(&s->chat, s->tok, s->path, c->model.chat_format, no_chat ? no_chat : e)) {
        if (!no_chat) return false;
        s->chat = (struct chat){ .t = s->tok };
    }
    if (!call_form_open(&s->form, c->tools.format, &s->chat, e)) return false;
    if (!model_load_as(&s->m, s->path, c->model.check == CHECK_NAN, e)) return false;
    if (tokenizer_vocab(s->tok) > s->m.c.vocab)
        return fail(e, "%s: the tokenizer has %d ids, the model only %d rows of embedding: they do not belong together",
                    s->path, tokenizer_vocab(s->tok), s->m.c.vocab);
    return add_stops(s, e);
}

/* Nothing but white space; bytes that are no whole character are something else. */
static bool is_blank(const char *text, int n)
{
    uint32_t c;
    for (int at = 0, len; at < n; at += len) {
        len = utf8_get(text + at, (size_t)(n - at), &c);
        if (!len || !utf8_is_space(c)) return false;
    }
    return true;
}

static void mark_never(struct session *s)
{
    s->never = xcalloc((size_t)s->m.c.vocab, 1);
    if (s->c->branch.candidates == CANDIDATES_ANY) return;
    for (int id = 0; id < s->m.c.vocab; id++) {
        int n = 0;
        const char *b = tokenizer_bytes(s->tok, id, &n);
        s->never[id] = !b || is_blank(b, n);
    }
    for (int i = 0; s->c->branch.candidates == CANDIDATES_OPEN && i < s->m.c.n_eos; i++) s->never[s->m.c.eos[i]] = 1;
}

int trainer_updates(const struct config *c)
{
    return c->data.train_batch_size / c->actor.ppo_mini_batch_size * c->actor.ppo_epochs;
}

struct weight_copies trainer_weight_copies(const struct config *c)
{
    bool appo = c->algorithm.adv_estimator == ALGO_APPO, previous = c->branch.omega == OMEGA_PREVIOUS;
    /* branches of earlier rounds are scored under pi_old, which the weights no longer are after the step's first
     * update */
    bool rounds = c->branch.omega == OMEGA_ROLLOUT && c->branch.rounds > 1 && c->branch.when == BRANCH_MINIBATCH &&
                  trainer_updates(c) > 1;
    return (struct weight_copies){ c->actor.kl_loss_coef > 0 || (appo && c->branch.omega == OMEGA_REFERENCE),
                                   appo && previous, appo && (previous || rounds) };
}

struct rollout_config session_sampling(const struct session *s)
{
    const struct config *c = s->c;
    return (struct rollout_config){
        .temperature = c->rollout.temperature,
        .top_p = c->rollout.top_p,
        .top_k = c->rollout.top_k < 0 ? 0 : c->rollout.top_k,
        .seed = (uint64_t)c->trainer.seed,
        .max_len = c->rollout.max_len,
        .max_response = c->data.max_response_length,
        .call_limit = c->tools.call_limit,
        .max_tool_tokens = c->tools.max_tokens,
        .form = &s->form,
        .max_rows = c->rollout.max_num_batched_tokens,
        .max_seqs = c->rollout.max_num_seqs,
        .tool_threads = c->tools.threads,
        .tool_timeout_s = c->tools.timeout,
    };
}

struct rollout_config session_eval_sampling(const struct session *s, bool greedy)
{
    struct rollout_config r = session_sampling(s);
    r.temperature = greedy ? 0 : s->c->rollout.val_kwargs_temperature;
    r.top_p = greedy ? 1 : s->c->rollout.val_kwargs_top_p;
    r.top_k = greedy || s->c->rollout.val_kwargs_top_k < 0 ? 0 : s->c->rollout.val_kwargs_top_k;
    return r;
}

int branched_prompts(const struct config *c)
{
    return c->branch.when == BRANCH_STEP ? c->data.train_batch_size : c->actor.ppo_mini_batch_size;
}

const char *branched_prompts_key(const struct config *c)
{
    return c->branch.when == BRANCH_STEP ? "data.train_batch_size" : "actor.ppo_mini_batch_size";
}

int64_t session_pages(const struct config *c)
{
    int64_t kept =
        c->algorithm.adv_estimator == ALGO_APPO ? (int64_t)branched_prompts(c) * c->rollout.initial_rollouts : 0;
    return kv_need(c->rollout.max_len) * (c->rollout.max_num_seqs + kept);        /* at most 2^20 x 2^37 */
}

static void lay_out_pool(struct session *s, struct arena *a, const struct toolbox *box, const struct rollout_config *r)
{
    kv_make(&s->kv, &s->m, (int)session_pages(s->c), a);
    s->ro = rollout_make(&s->m, s->tok, &s->kv, box, r, a);
}

struct learner_rule learner_rule_of(const struct config *c)
{
    return (struct learner_rule){ .max_rows = c->actor.ppo_max_token_len_per_gpu,
                                  .recompute = c->model.recompute,
                                  .bf16_moments = c->actor.optim_state_dtype == STATE_BF16,
                                  .seed = (uint64_t)c->trainer.seed };
}

/* For a model of one's own what training was found to fit in is taken before it starts: another process cannot take it
 * in between, and what `plan` says is what is used. Faults of 10 GiB cost 2 s of CPU time. The embedded policy's few
 * hundred MiB are not worth it. */
static void commit(const struct session *s, const struct arena *a)
{
    if (s->trains && *s->c->model.path) dev_commit(a->base, a->size);
}

void session_open_learner(struct session *s)
{
    s->trains = true;
    learner_make(&s->learner, &s->m, learner_rule_of(s->c));
    commit(s, &s->learner.state);
    commit(s, &s->learner.work);
}

bool session_pages_count(const struct config *c, struct err *e)
{
    if (session_pages(c) <= INT32_MAX / KV_PAGE) return true;
    return fail(e,
                "%s=%d x rollout.initial_rollouts=%d and rollout.max_num_seqs=%d rollouts of rollout.max_len=%d tokens "
                "are more keys and values than a pool can "
                "number: make one of them smaller",
                branched_prompts_key(c), branched_prompts(c), c->rollout.initial_rollouts, c->rollout.max_num_seqs,
                c->rollout.max_len);
}

static bool lengths_fit(const struct session *s, struct err *e)
{
    const struct config *c = s->c;
    if (c->rollout.max_len > s->m.c.max_len)
        return fail(e,
                    "rollout.max_len=%d is more than the model's max_position_embeddings=%d: give a smaller "
                    "rollout.max_len",
                    c->rollout.max_len, s->m.c.max_len);
    return session_pages_count(c, e);
}

bool session_open_sampler(struct session *s, struct err *e)
{
    const struct config *c = s->c;
    if (!lengths_fit(s, e)) return false;
    if (!env_open(&s->env, c->tools.search_cache, c->tools.search_miss == SEARCH_MISS_NEAREST, c->tools.max_pages,
                  c->tools.max_chars, e))
        return false;
    struct toolbox box = env_tools(&s->env);
    struct rollout_config r = session_sampling(s);
    arena_dry(&s->pool, "rollout");
    lay_out_pool(s, &s->pool, &box, &r);
    size_t need = s->pool.peak;
    rollout_free(s->ro);
    kv_destroy(&s->kv);
    arena_make(&s->pool, "rollout", need);
    commit(s, &s->pool);
    lay_out_pool(s, &s->pool, &box, &r);
    mark_never(s);
    return true;
}

bool session_open(struct session *s, const struct config *c, bool trains, struct err *e)
{
    *s = (struct session){ .c = c };
    if (!tool_table_check(&tool_table, e)) return false;
    if (!session_fits(c, *c->model.path ? c->model.path : session_embedded_policy(), trains, e)) return false;
    if (!session_load(s, c, NULL, e) || !lengths_fit(s, e)) return false;
    if (trains) session_open_learner(s);
    return session_open_sampler(s, e);
}

bool session_open_prompts(struct session *s, bool train, struct err *e)
{
    const struct config *c = s->c;
    if (train && !prompt_set_open(&s->train, "data.train_files", c->data.train_files, c, &s->form, e)) return false;
    if (!prompt_set_open(&s->val, "data.val_files", c->data.val_files, c, &s->form, e)) return false;
    int64_t batch = c->data.train_batch_size, all = (int64_t)c->trainer.total_epochs * s->train.rows.n,
            steps = ceil_div(all, batch);
    if (steps > INT32_MAX)
        return fail(e, "trainer.total_epochs=%d of %d rows are more steps than can be counted", c->trainer.total_epochs,
                    s->train.rows.n);
    if (steps && !config_given(c, "trainer.total_training_steps")) s->steps = (int)steps;
    return true;
}

void session_close(struct session *s)
{
    opened = NULL;
    die_hook = NULL;
    rollout_free(s->ro);
    if (s->kv.ref) kv_destroy(&s->kv);
    if (s->pool.base) arena_free(&s->pool);
    if (s->learner.m) learner_free(&s->learner);
    if (s->env.tools.corpus) env_close(&s->env);
    prompt_set_free(&s->train);
    prompt_set_free(&s->val);
    if (s->m.w) model_free(&s->m);
    call_form_close(&s->form);
    tokenizer_free(s->tok);
    free(s->never);
    *s = (struct session){ 0 };
}

void session_print_memory(const struct session *s, FILE *f)
{
    fprintf(f, "weights          %10.2f MiB\n", (double)((size_t)s->m.count * sizeof(elem_t)) / 0x1p20);
    if (s->trains) {
        arena_print(&s->learner.state, f);
        arena_print(&s->learner.work, f);
    }
    arena_print(&s->pool, f);
    if (dev_scratch()) fprintf(f, "scratch          %10.2f MiB\n", (double)dev_scratch() / 0x1p20);
}
