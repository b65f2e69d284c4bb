/* session.c: opens a run. Reports what is wrong before any work is done. */
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
    for (int up = 1; up <= 3; up++) {
        char *slash = strrchr(exe, '/');
        if (slash) *slash = 0;
        if (up == 2) snprintf(path, sizeof path, "%s/share/appo/policy", exe);      /* <prefix>/bin/appo */
    }
    if (file_exists(path)) return path;
    snprintf(path, sizeof path, "%s/policy", *exe ? exe : ".");                     /* <source>/build/cpu/appo */
#ifdef APPO_SOURCE
    /* the program was copied or linked to elsewhere */
    if (!file_exists(path)) snprintf(path, sizeof path, "%s/policy", APPO_SOURCE);
#endif
    return path;
}

/* Appends to the end tokens of config.json those of generation_config.json and those that end a turn of the chat
 * format. Only the first are written when the model is saved; generation_config.json is copied unchanged. */
static bool add_stops(struct session *s, struct err *e)
{
    struct model_config *c = &s->m.c;
    _Static_assert(2 * CONFIG_EOS_FILE + CHAT_STOPS <= CONFIG_EOS_MAX, "all end tokens have room");
    s->own_eos = c->n_eos;
    if (!model_generation_read(c, s->path, e)) return false;
    for (int i = 0; i < s->chat.stops; i++) {
        int k = 0;
        while (k < c->n_eos && c->eos[k] != s->chat.stop[i]) k++;
        if (k == c->n_eos) c->eos[c->n_eos++] = s->chat.stop[i];
    }
    return true;
}

/* die() prints the memory table of the open session after its message. */
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

/* Whether a token is white space only; an incomplete character is not. */
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

struct rollout_config session_sampling(const struct session *s) { return rollout_config_of(s->c, &s->form); }

struct rollout_config session_eval_sampling(const struct session *s, bool greedy)
{
    struct rollout_config r = session_sampling(s);
    r.temperature = greedy ? 0 : s->c->rollout.val_kwargs_temperature;
    r.top_p = greedy ? 1 : s->c->rollout.val_kwargs_top_p;
    r.top_k = greedy || s->c->rollout.val_kwargs_top_k < 0 ? 0 : s->c->rollout.val_kwargs_top_k;
    return r;
}

static void lay_out_pool(struct session *s, struct arena *a, const struct toolbox *box, const struct rollout_config *r)
{
    kv_make(&s->kv, &s->m, (int)session_pages(s->c), a);
    s->ro = rollout_make(&s->m, s->tok, &s->kv, box, r, a);
}

/* Touches the memory of a training run with a model of the user's own before it starts, so that no other process takes
 * it in between and the usage is what `plan` prints. Page faults of 10 GiB cost 2 s of CPU time. The embedded policy's
 * few hundred MiB are not worth it. */
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
    size_t bytes = s->pool.peak;
    rollout_free(s->ro);
    kv_destroy(&s->kv);
    arena_make(&s->pool, "rollout", bytes);
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
        return fail(e, "trainer.total_epochs=%d of %d prompts are more steps than can be counted",
                    c->trainer.total_epochs, s->train.rows.n);
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
        if (s->learner.host_bytes)
            fprintf(f, "host memory      %10.2f MiB, optimizer\n", (double)s->learner.host_bytes / 0x1p20);
    }
    arena_print(&s->pool, f);
    if (dev_scratch()) fprintf(f, "scratch          %10.2f MiB\n", (double)dev_scratch() / 0x1p20);
}
