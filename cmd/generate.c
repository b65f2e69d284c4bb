/* generate.c: `appo generate`: answers to prompts, or a conversation, printed token by token. The sampler is that of
 * training; its hook for sampled tokens prints. A conversation keeps its keys and values, so a turn costs only what it
 * adds. */
#include "cmd/cmd.h"
#include "cmd/lines.h"
#include "engine/session/memory_estimate.h"
#include "base/arith.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: appo generate [model.path=DIR] [--prompt TEXT] [--system TEXT] [--greedy] [--max N] [--raw] [--ids] "
    "[key=value ...] [<PROMPTS]\n"
    "  --prompt   answers this prompt; without it, lines of stdin: plain text, or JSON {\"prompt\"}, {\"messages\"}, "
    "{\"text\"} or {\"ids\"}, each answered by\n"
    "             JSON {\"text\", \"finish\"} in the same order, rollout.max_num_seqs lines at a time; at a terminal, "
    "a conversation (/help there)\n"
    "  --system   a system message before plain prompts\n"
    "  --greedy   the most likely token each time; else rollout.temperature, rollout.top_p, rollout.top_k and "
    "trainer.seed count\n"
    "  --max      tokens of an answer (512); rollout.max_len bounds prompt and answer together (4096, or less if "
    "the model takes less)\n"
    "  --raw      no chat format: the model continues the text\n"
    "  --ids      token ids in place of text, or beside it in JSON\n"
    "tools: calls are answered (python: the calculator; search: tools.search_cache), tools.call_limit of them, if "
    "written as tools.format states:\n"
    "  in tags, as the embedded policy does (the default), or as the model's chat format does (hermes, llama3_json, "
    "auto): then prompts declare the tools";

struct job {
    struct session s;
    struct config *c;
    struct err no_chat;
    const char *prompt, *system;
    char *own_system;               /* memory of the text given with /system */
    bool greedy, raw, ids, chat, color;
    int max;
    struct rollout_config r;
    /* the output in progress */
    struct tokenizer_stream stream;
    struct str out;
    int shown;                      /* tokens of the sequence that are printed */
    bool dim;                       /* the last text was part of a result */
    int held;                       /* an end token not yet printed: it is printed when a turn follows; -1: none */
};

static bool is_end(const struct job *j, int id)
{
    for (int i = 0; i < j->s.m.c.n_eos; i++) if (id == j->s.m.c.eos[i]) return true;
    return false;
}

/* result: the token belongs to a tool's result; on a terminal such text is dim. */
static void show(struct job *j, int id, bool result)
{
    str_clear(&j->out);
    if (j->color && result != j->dim) str_puts(&j->out, result ? "\033[2m" : "\033[m");
    j->dim = result;
    if (j->held >= 0) tokenizer_stream_put(j->s.tok, &j->stream, &j->out, j->held, true);
    j->held = !j->ids && is_end(j, id) ? id : -1;
    if (j->ids) str_printf(&j->out, "%d ", id);
    else if (j->held < 0) tokenizer_stream_put(j->s.tok, &j->stream, &j->out, id, true);
    fwrite(j->out.p, 1, j->out.n, stdout);
}

/* Called when the sampler has sampled *id: prints the tokens since the last one (a tool's result) and this one. */
static void on_sampled(void *ctx, const struct sequence *seq, int *id)
{
    struct job *j = ctx;
    for (; j->shown < seq->n; j->shown++) show(j, seq->ids[j->shown], !seq->m[j->shown]);
    show(j, *id, false);
    j->shown++;
    fflush(stdout);
}

/* Runs one sequence and prints it as it comes. */
static bool stream(struct job *j, struct sequence *seq, bool keep, struct err *e)
{
    j->shown = seq->n;
    j->held = -1;
    j->dim = false;
    j->stream = (struct tokenizer_stream){ { 0 }, 0 };
    j->r.force = on_sampled;
    j->r.force_ctx = j;
    rollout_set(j->s.ro, &j->r);
    rollout_run(j->s.ro, &seq, 1, keep, NULL, NULL, NULL);
    for (; j->shown < seq->n; j->shown++) show(j, seq->ids[j->shown], !seq->m[j->shown]);
    str_clear(&j->out);
    if (j->color && j->dim) str_puts(&j->out, "\033[m");
    if (!j->ids) tokenizer_stream_end(&j->stream, &j->out);
    str_putc(&j->out, '\n');
    fwrite(j->out.p, 1, j->out.n, stdout);
    return (fflush(stdout) == 0 && !ferror(stdout)) || fail(e, "stdout: %s", strerror(errno));
}

/* Prompt and answer together, if rollout.max_len is not given. */
enum { LENGTH = 4096 };

/* Opens the sampler for `seqs` sequences at once, none longer than `longest` tokens. No branches keep pages. Halves
 * seqs until it fits memory. */
static bool open_sampler(struct job *j, int seqs, int longest, struct err *e)
{
    struct config *c = j->c;
    struct err why;
    int rows = c->rollout.max_num_batched_tokens;
    c->algorithm.adv_estimator = ALGO_GRPO;
    c->rollout.max_len = MIN(longest, c->rollout.max_len);
    do {
        c->rollout.max_num_seqs = seqs;
        c->rollout.max_num_batched_tokens = MAX(seqs == 1 ? MIN(rows, c->rollout.max_len) : rows, seqs);
    } while (!session_fits(c, j->s.path, false, &why) && (seqs /= 2) > 0);
    if (!session_open_sampler(&j->s, e)) return false;
    j->r = session_sampling(&j->s);
    if (j->greedy) j->r.temperature = 0;
    return true;
}

static bool has_room(const struct job *j, int n, struct err *e)
{
    if (n == 0) return fail(e, "an empty prompt: there is nothing to continue");
    return n < j->r.max_len ||
           fail(e, "a prompt of %d tokens leaves no room in rollout.max_len=%d (the model takes %d)", n, j->r.max_len,
                j->s.m.c.max_len);
}

static bool plain_ids(struct ids *x, const struct job *j, const char *text, size_t n, struct err *e)
{
    x->n = 0;
    if (!j->raw) return user_prompt_ids(x, &j->s, j->system, text, n, e);
    return tokenizer_encode(j->s.tok, x, text, n, false) || fail(e, "the tokenizer gave up on this text");
}

/* number keys the random numbers, so that the same prompt on two lines has two answers. */
static bool answer(struct job *j, const char *text, size_t n, long long number, struct err *e)
{
    struct ids x = { 0 };
    struct sequence seq = { 0 };
    bool ok = plain_ids(&x, j, text, n, e) && has_room(j, x.n, e) &&
              (j->s.ro || open_sampler(j, j->prompt ? 1 : MIN(j->c->rollout.max_num_seqs, 16), INT_MAX, e));
    if (ok) {
        sequence_begin(&seq, x.p, x.n);
        seq.prompt = (uint32_t)number;
        ok = stream(j, &seq, false, e);
        sequence_free(&seq, &j->s.kv);
    }
    ids_free(&x);
    return ok;
}

/* ---- JSON lines: as many at a time as decode together ---- */

static void print_answer(const struct job *j, const struct sequence *seq)
{
    struct str text = { 0 };
    int n = sequence_response(seq) - (seq->finish == FINISH_END);
    str_clear(&text);
    struct tokenizer_stream whole = { { 0 }, 0 };            /* JSON cannot hold bytes that are not UTF-8 */
    for (int i = 0; i < n; i++) tokenizer_stream_put(j->s.tok, &whole, &text, seq->ids[seq->prompt_len + i], true);
    tokenizer_stream_end(&whole, &text);
    json_t *o = json_object(), *ids = json_array();
    json_object_set_new(o, "text", json_stringn(text.p, text.n));
    json_object_set_new(o, "finish", json_string(seq->finish == FINISH_END ? "stop" : "length"));
    for (int i = seq->prompt_len; j->ids && i < seq->n; i++) json_array_append_new(ids, json_integer(seq->ids[i]));
    if (j->ids) json_object_set(o, "ids", ids);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(ids);
    json_decref(o);
    str_free(&text);
}

static bool run_batch(struct job *j, struct sequence **seq, int n, struct err *e)
{
    j->r.force = NULL;
    rollout_set(j->s.ro, &j->r);
    rollout_run(j->s.ro, seq, n, false, NULL, NULL, NULL);
    for (int i = 0; i < n; i++) {
        print_answer(j, seq[i]);
        sequence_free(seq[i], &j->s.kv);
        free(seq[i]);
    }
    return (fflush(stdout) == 0 && !ferror(stdout)) || fail(e, "stdout: %s", strerror(errno));
}

/* Lines of JSON that are answered together. */
struct batch {
    struct sequence **seq;
    int n;
    int longest;                /* tokens of the longest prompt */
};

/* Reads lines, from the JSON line in l on, until there are `most` or no more. *state: as lines_next returned. False: a
 * line is invalid; those before it are in x. */
static bool read_batch(struct job *j, struct batch *x, int most, struct lines *l, int *state, struct err *e)
{
    struct ids ids = { 0 };
    bool ok = true;
    for (x->n = 0; ok && *state && x->n < most;) {
        ok = *state > 0 && line_ids(&ids, l, &j->s, true, &j->no_chat, e) &&
             (has_room(j, ids.n, e) || fail_in(e, "line %lld", l->number));
        if (!ok) break;
        struct sequence *seq = x->seq[x->n++] = xcalloc(1, sizeof *seq);
        sequence_begin(seq, ids.p, ids.n);
        seq->prompt = (uint32_t)l->number;
        x->longest = MAX(x->longest, ids.n);
        *state = lines_next(l, e);
    }
    if (*state < 0) ok = false;
    ids_free(&ids);
    return ok;
}

/* Answers lines from the JSON line in l to the end of the input. The number and length of the first batch set the size
 * of the sampler. */
static bool json_lines(struct job *j, struct lines *l, struct err *e)
{
    int most = j->c->rollout.max_num_seqs, state = 1;
    struct batch x = { xcalloc((size_t)most, sizeof *x.seq), 0, 0 };
    struct err late;
    bool ok = true;
    while (ok && state) {
        ok = read_batch(j, &x, most, l, &state, e);
        bool all = state <= 0 || !ok;
        if (!j->s.ro && x.n && !open_sampler(j, all ? x.n : most, all ? x.longest + j->max : INT_MAX, ok ? e : &late)) {
            for (int i = 0; i < x.n; i++) {
                sequence_free(x.seq[i], NULL);
                free(x.seq[i]);
            }
            ok = false;
            break;
        }
        /* lines before an invalid one are still answered */
        if (x.n && !run_batch(j, x.seq, x.n, ok ? e : &late)) ok = false;
    }
    free(x.seq);
    return ok;
}

static bool read_prompts(struct job *j, struct err *e)
{
    struct lines l = { .f = stdin };
    int state;
    bool ok = true;
    while (ok && (state = lines_next(&l, e)) != 0) {
        if (state < 0) { ok = false; break; }
        if (line_is_json(&l)) { ok = json_lines(j, &l, e); break; }
        ok = answer(j, l.p, l.n, l.number, e) || fail_in(e, "line %lld", l.number);
    }
    lines_free(&l);
    return ok;
}

/* ---- a conversation ---- */

/* Appends the user's next message to the conversation. The new sequence shares its pages, so that only new tokens are
 * run. */
static bool next_turn(struct job *j, struct sequence *next, const struct sequence *last, const char *text, size_t n,
                      int turn, struct err *e)
{
    struct ids x = { 0 };
    struct chat_message m = { CHAT_USER, text, .n = n };
    bool ok;
    if (last->n) {
        if (last->finish != FINISH_END && last->ids[last->n - 1] != j->s.chat.end) ids_put(&x, j->s.chat.end);
        ok = chat_more(&j->s.chat, &x, NULL, &m, 1, true) || fail(e, "the tokenizer gave up on this text");
    } else {
        ok = user_prompt_ids(&x, &j->s, j->system, text, n, e);
    }
    ok = ok && has_room(j, last->n + x.n, e);
    if (ok && last->n) {
        sequence_fork(next, last, last->n, &j->s.kv);
        for (int i = 0; i < x.n; i++) sequence_put(next, x.p[i], false, 0, 0);
        next->prompt_len = next->born = next->n;
        next->calls = 0;                                     /* the call limit counts within a turn */
        memset(next->calls_by, 0, sizeof next->calls_by);
    } else if (ok) {
        sequence_begin(next, x.p, x.n);
    }
    next->rollout = (uint32_t)turn;
    ids_free(&x);
    return ok;
}

static const char commands[] = "  /reset          forget the conversation\n"
                               "  /system [TEXT]  begin anew with this system message, or with none\n"
                               "  /help           this\n"
                               "  /quit           end, as ctrl-D does; a line that begins with // is sent, with one / "
                               "less\n";

/* Prints the model's name and, for the embedded policy, prompts of the kinds that it answers. */
static void print_greeting(const struct job *j)
{
    if (*j->c->model.path) {
        printf("%s, %.3g million weights; up to %d tokens of conversation. /help lists commands, ctrl-D ends.\n",
               j->s.path, (double)j->s.m.count / 1e6, j->r.max_len);
        return;
    }
    printf("The embedded policy, %.2g million weights. It knows one small language: prompts like these, which need "
           "no search.\n",
           (double)j->s.m.count / 1e6);
    for (int family = 0, shown = 0; family < FAMILIES && shown < 5; family++) {
        struct task q;
        task_make(&q, family, SPLIT_TRAIN, 1, 0);
        if (!q.n_pages) {
            printf("  %s\n", q.text);
            shown++;
        }
        task_free(&q);
    }
    printf("A model for conversations: ./run.sh fetch-model smollm2-135m DIR, then model.path=DIR. /help lists "
           "commands, ctrl-D ends.\n");
}

enum input { INPUT_MESSAGE, INPUT_COMMAND, INPUT_QUIT };

/* A line that begins with '/' is a command; any other is a message, *text. */
static enum input command_of(struct job *j, struct sequence *last, const char **text, size_t *n)
{
    static const char *const name[] = { "/reset", "/system", "/help", "/quit", "/exit" };
    size_t len = 0;
    int k = 0;
    if (!*n || **text != '/') return INPUT_MESSAGE;
    if (*n > 1 && (*text)[1] == '/') { ++*text; --*n; return INPUT_MESSAGE; }
    while (len < *n && (*text)[len] != ' ') len++;
    while (k < 5 && (strlen(name[k]) != len || memcmp(name[k], *text, len))) k++;
    if (k >= 3 && k < 5) return INPUT_QUIT;
    if (k == 2) fputs(commands, stdout);
    else if (k == 5) printf("(there is no %.*s; there are:)\n%s", (int)MIN(len, 40), *text, commands);
    else {
        while (len < *n && (*text)[len] == ' ') len++;
        if (k == 1) {
            free(j->own_system);
            j->own_system = len < *n ? xcalloc(1, *n - len + 1) : NULL;
            if (j->own_system) memcpy(j->own_system, *text + len, *n - len);
            j->system = j->own_system;
        }
        sequence_free(last, &j->s.kv);
        printf("(a new conversation%s)\n", k == 1 && j->system ? " with this system message" : "");
    }
    return INPUT_COMMAND;
}

static bool converse(struct job *j, struct err *e)
{
    struct lines l = { .f = stdin };
    struct sequence last = { 0 };
    int state = 1, turn = 0;
    bool ok = open_sampler(j, 1, INT_MAX, e);
    if (ok) print_greeting(j);
    while (ok && state) {
        struct sequence next = { 0 };
        fputs(j->color ? "\033[1m> \033[m" : "> ", stdout);
        fflush(stdout);
        state = lines_next(&l, e);
        if (state <= 0) { ok = state == 0; break; }
        const char *text = l.p;
        size_t n = l.n;
        enum input input = command_of(j, &last, &text, &n);
        if (input == INPUT_QUIT) break;
        if (input == INPUT_COMMAND) continue;
        if (!next_turn(j, &next, &last, text, n, turn++, e)) {
            printf("(%s; the conversation continues without this message)\n", e->text);
            continue;
        }
        /* its pages are now next's alone, which may need every other one */
        sequence_free(&last, &j->s.kv);
        last = next;
        ok = stream(j, &last, true, e);
    }
    putchar('\n');
    sequence_free(&last, &j->s.kv);
    lines_free(&l);
    free(j->own_system);
    return ok;
}

static int run(struct job *j, struct config *c)
{
    struct err e;
    bool ok = session_load(&j->s, c, j->raw ? &j->no_chat : NULL, &e);
    if (j->raw) fail(&j->no_chat, "--raw writes no chat format: give \"text\" or \"ids\"");
    if (ok) {
        int longest = config_given(c, "rollout.max_len") ? c->rollout.max_len : LENGTH;
        j->c = c;
        j->r.max_len = c->rollout.max_len = MIN(longest, j->s.m.c.max_len);
        c->data.max_response_length = j->max;
        if (j->prompt) ok = answer(j, j->prompt, strlen(j->prompt), 0, &e);
        else ok = j->chat ? converse(j, &e) : read_prompts(j, &e);
    }
    session_close(&j->s);
    str_free(&j->out);
    return ok ? 0 : cmd_fail(&e);
}

int cmd_generate(int argc, char **argv)
{
    struct config c;
    struct job j = { .max = 512 };
    const char *max = NULL;
    int status;
    cmd_option(&argc, argv, "--prompt", &j.prompt);
    cmd_option(&argc, argv, "--system", &j.system);
    cmd_option(&argc, argv, "--max", &max);
    j.greedy = cmd_option(&argc, argv, "--greedy", NULL);
    j.raw = cmd_option(&argc, argv, "--raw", NULL);
    j.ids = cmd_option(&argc, argv, "--ids", NULL);
    j.chat = !j.prompt && !j.raw && isatty(0);
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    j.color = isatty(1) && term && strcmp(term, "dumb") && !(no_color && *no_color);
    if (max) {
        char *end;
        long n = strtol(max, &end, 10);
        if (*end || end == max || n < 1 || n > 16777216) {
            fprintf(stderr, "appo: --max %s: a number of tokens from 1 to 16777216 is needed\n", max);
            return 2;
        }
        j.max = (int)n;
    }
    if (cmd_config(&c, argc, argv, usage, 0, &status)) status = run(&j, &c);
    config_free(&c);
    return status;
}
