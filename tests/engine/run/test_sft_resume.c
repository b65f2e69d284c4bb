/* test_sft_resume.c: a fine-tuning that was stopped goes on as if it had not been: the same weights to the bit, tokens
 * counted from the start; with other conversations, or other marks on the same ones, it does not. */
#define _GNU_SOURCE     /* nftw */
#include "base/dir.h"
#include "engine/run/sft_checkpoint.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { STEPS = 4, BATCH = 2 };

static const char rows[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"}]}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"7\"},{\"role\":\"assistant\",\"content\":\"a <search> b</search> "
    "<result>\\nc\\n</result> d\"}]}\n"
    "{\"prompt\":\"plain\",\"response\":\"words\"}\n";

struct tuning {
    struct config c;
    struct session s;
    struct sft_conversations t;
    struct sft_checkpoints keep;
    struct sft_rule r;
    int64_t tokens;
    int stop, steps;            /* stop: after this step */
    struct err e;
};

static bool after(void *ctx, const struct sft_report *r)
{
    struct tuning *x = ctx;
    if (r->part < r->whole) return true;
    x->tokens = r->tokens;
    x->steps++;
    return sft_checkpoints_step(&x->keep, r, &x->e) && r->step != x->stop;
}

/* False: the folder is one of another fine-tuning. */
static bool tune(struct tuning *x, const char *folder, int stop, const char *const *set)
{
    *x = (struct tuning){ .stop = stop };
    x->r = (struct sft_rule){ .steps = STEPS, .batch = BATCH, .lr = 1e-2, .floor = 1, .beta1 = 0.9, .beta2 = 0.98,
        .max_norm = 1 };
    chatty_set(&x->c, dir, KEYS("actor.ppo_max_token_len_per_gpu", "128", "data.train_files", in_dir("rows.jsonl"),
        "trainer.save_freq", "2", "sft.save", folder));
    mini_set(&x->c, set);
    if (!session_load(&x->s, &x->c, NULL, &x->e)) die("%s", x->e.text);
    session_open_learner(&x->s);
    if (!sft_conversations_open(&x->t, &x->c, &x->s.form, 4096, &x->e)) die("%s", x->e.text);
    bool ok = dir_make(folder, &x->e) &&
              sft_checkpoints_open(&x->keep, &x->s, &x->r, sft_conversations_hash(&x->t), &x->e);
    return ok && sft_run_conversations(&x->s.learner, &x->t, &x->c, &x->r, after, x, &x->e);
}

static void end(struct tuning *x)
{
    struct err e;
    sft_checkpoints_close(&x->keep, false, &e);
    sft_conversations_free(&x->t);
    session_close(&x->s);
    config_free(&x->c);
}

static void goes_on(void **state)
{
    (void)state;
    struct tuning whole, part;
    char a[200], b[200];
    snprintf(a, sizeof a, "%s", in_dir("whole"));
    snprintf(b, sizeof b, "%s", in_dir("part"));
    CHECK(tune(&whole, a, 0, NULL) && whole.steps == STEPS, "%s", whole.e.text);
    CHECK(tune(&part, b, 2, NULL) && part.steps == 2, "%s", part.e.text);
    int64_t half = part.tokens;
    end(&part);
    CHECK(tune(&part, b, 0, NULL), "%s", part.e.text);
    CHECK(part.r.begin == 2 && part.steps == 2 && part.r.tokens_before == half, "begins after step %d with %lld tokens",
          part.r.begin, (long long)part.r.tokens_before);
    CHECK(part.tokens == whole.tokens && half < whole.tokens, "%lld tokens of %lld", (long long)part.tokens,
          (long long)whole.tokens);
    CHECK(!memcmp(part.s.m.w, whole.s.m.w, (size_t)whole.s.m.count * sizeof *whole.s.m.w), "the weights differ");
    CHECK(part.s.learner.steps == STEPS, "%lld updates", (long long)part.s.learner.steps);
    end(&part);
    end(&whole);
}

static void other_data(void **state)
{
    (void)state;
    struct tuning x;
    char folder[200];
    snprintf(folder, sizeof folder, "%s", in_dir("other"));
    CHECK(tune(&x, folder, 2, NULL), "%s", x.e.text);
    end(&x);
    /* results are learned, too: the same tokens with other marks; the key is no part of what is compared by name */
    struct sft_conversations t;
    chatty_set(&x.c, dir, KEYS("data.train_files", in_dir("rows.jsonl")));
    if (!session_load(&x.s, &x.c, NULL, &x.e)) die("%s", x.e.text);
    CHECK(sft_conversations_open(&t, &x.c, &x.s.form, 4096, &x.e), "%s", x.e.text);
    uint64_t hash = sft_conversations_hash(&t);
    t.example[1].m[t.example[1].ids.n - 1] ^= 1;
    CHECK(sft_conversations_hash(&t) != hash, "another mark has the same hash");
    t.example[1].m[t.example[1].ids.n - 1] ^= 1;
    t.example[1].ids.p[2] ^= 1;
    CHECK(sft_conversations_hash(&t) != hash, "another token has the same hash");
    sft_conversations_free(&t);
    session_close(&x.s);
    config_free(&x.c);
    CHECK(!tune(&x, folder, 0, KEYS("sft.mask_results", "false")), "goes on with other marks");
    end(&x);
}

static int open_all(void **state)
{
    if (make_dir(state)) return -1;
    chatty_model(dir);
    chatty_write(dir, "rows.jsonl", rows);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(goes_on), cmocka_unit_test(other_data) };
    return cmocka_run_group_tests_name("sft resume", tests, open_all, drop_dir);
}
