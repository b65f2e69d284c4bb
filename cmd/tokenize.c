/* tokenize.c: `appo tokenize`: text to ids and back, to inspect a model's input and to compare with other software. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "engine/prompts/prompts.h"
#include "engine/session/session.h"
#include "base/json_partial.h"
#include "base/clock.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: appo tokenize [model.path=DIR] [--decode | --chat] [--special] [--time]: text on "
                            "stdin to token ids on stdout\n"
                            "  --decode   ids on stdin, bytes on stdout\n"
                            "  --special  the text of special and added tokens becomes their ids (without: ordinary "
                            "text); with --decode they are printed\n"
                            "  --chat     stdin is JSON: {\"messages\": [{\"role\", \"content\"} ...], \"tools\": "
                            "[...]}; the ids of the conversation in the\n"
                            "             model's chat format (model.chat_format=auto), ended by the tokens that begin "
                            "the assistant's turn unless its last message is one\n"
                            "             or \"add_generation_prompt\": false stands beside the messages\n"
                            "  --time     seconds and bytes a second on stderr, reading and printing not counted\n"
                            "model.path: a Hugging Face folder or a .gguf file; without it the embedded policy's "
                            "tokenizer";

enum { TEXT_MAX = 1 << 30 };

struct job { const char *path, *format; bool decode, chat, special, time; };

static bool read_stdin(struct str *out, struct err *e)
{
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;) {
        if (out->n + n > TEXT_MAX) return fail(e, "stdin: longer than %d bytes", TEXT_MAX);
        str_put(out, chunk, n);
    }
    return !ferror(stdin) || fail(e, "stdin: %s", strerror(errno));
}

static bool print_ids(const struct ids *x, struct err *e)
{
    for (int i = 0; i < x->n; i++) printf(i + 1 < x->n ? "%d " : "%d", x->p[i]);
    putchar('\n');
    return (fflush(stdout) == 0 && !ferror(stdout)) || fail(e, "stdout: %s", strerror(errno));
}

static bool encode(const struct tokenizer *t, const struct job *j, struct err *e)
{
    struct str text = { 0 };
    struct ids x = { 0 };
    bool ok = read_stdin(&text, e);
    double start = seconds();
    ok = ok && (tokenizer_encode(t, &x, text.p ? text.p : "", text.n, j->special) || fail(e, "stdin: the tokenizer's "
                                                                                             "regular expression gave "
                                                                                             "up on this text"));
    double took = seconds() - start;
    if (ok && j->time)
        fprintf(stderr, "%zu bytes, %d ids, %.4f s, %.1f MB/s\n", text.n, x.n, took,
                1e-6 * (double)text.n / took);
    ok = ok && print_ids(&x, e);
    ids_free(&x);
    str_free(&text);
    return ok;
}

/* Reads the next word of stdin, cut after n - 1 bytes, which are too many for an id. A zero byte is part of a word,
 * shown as '?'. False: there are no more. */
static bool next_word(char *word, int n)
{
    int c, used = 0;
    while ((c = getchar()) != EOF && isspace(c)) {}
    for (; c != EOF && !isspace(c) && used < n - 1; c = getchar()) word[used++] = c ? (char)c : '?';
    word[used] = 0;
    return used > 0;
}

/* Decodes one id at a time, so that an input of any length streams through. */
static bool decode(const struct tokenizer *t, const struct job *j, struct err *e)
{
    struct str out = { 0 };
    char word[32];
    bool ok = true;
    for (long n = 1; ok && next_word(word, sizeof word); n++) {
        char *end;
        long id = strtol(word, &end, 10);
        if (*end || !isdigit((unsigned char)*word) || strlen(word) > 10 || id < 0 || id >= tokenizer_vocab(t)) {
            ok = fail(e, "stdin: word %ld: '%s' is not an id from 0 to %d", n, word, tokenizer_vocab(t) - 1);
            break;
        }
        str_clear(&out);
        tokenizer_decode(t, &out, &(int){ (int)id }, 1, j->special);
        ok = fwrite(out.p, 1, out.n, stdout) == out.n || fail(e, "stdout: %s", strerror(errno));
    }
    str_free(&out);
    if (ok && ferror(stdin)) ok = fail(e, "stdin: %s", strerror(errno));
    return ok && (fflush(stdout) == 0 || fail(e, "stdout: %s", strerror(errno)));
}

/* *reply: whether the conversation ends with the tokens that begin a reply. As in transformers: by default if the last
 * message is not the assistant's. */
static bool wants_reply(const json_t *root, const struct messages *x, bool *reply, struct err *e)
{
    const json_t *asked = json_object_get(root, "add_generation_prompt"),
                 *go_on = json_object_get(root, "continue_final_message");
    *reply = asked ? json_is_true(asked) : x->p[x->n - 1].role != ROLE_ASSISTANT;
    if (asked && !json_is_boolean(asked)) return fail(e, "stdin: add_generation_prompt must be true or false");
    return !go_on || json_is_false(go_on) || json_is_null(go_on) ||
           fail(e, "stdin: continue_final_message: a turn for the model to continue is not supported");
}

static bool converse(const struct chat *c, json_t *root, struct err *e)
{
    const json_t *list = json_is_array(root) ? root : json_object_get(root, "messages");
    struct messages x = { 0 };
    struct chat_tools tools = { 0 };
    struct ids ids = { 0 };
    bool reply = false, ok = json_array_size(list) > 0 || fail(e, "stdin: must be a JSON array of messages, or an "
                                                                  "object with messages");
    ok = ok && (messages_read(&x, list, json_array_size(list), "messages", e) || fail_in(e, "stdin")) &&
         wants_reply(root, &x, &reply, e);
    ok = ok && tools_value(&tools, c, json_object_get(root, "tools"), e);
    struct chat_message *m = ok ? chat_messages(&x) : NULL;
    ok = ok && (chat_check(c, m, x.n, tools.n > 0, e) || fail_in(e, "stdin"));
    ok = ok && (chat_write(c, &ids, NULL, m, x.n, &tools, reply) || fail(e, "stdin: the tokenizer's regular expression "
                                                                            "gave up on this text"));
    ok = ok && print_ids(&ids, e);
    chat_tools_free(&tools);
    ids_free(&ids);
    free(m);
    messages_free(&x);
    return ok;
}

/* Reads the columns used of an object, or a list of messages; other columns may hold invalid JSON. */
static json_t *read_json(const struct str *text, struct err *e)
{
    static const char *const columns[] = { "messages", "tools", "add_generation_prompt", "continue_final_message",
                                           NULL };
    struct json_text x = { .p = text->p ? text->p : "", .n = text->n };
    if (x.n >= 3 && !memcmp(x.p, "\xEF\xBB\xBF", 3)) x.at = 3;                        /* a byte order mark */
    size_t blank = x.at + strspn(x.p + x.at, " \t\r\n");
    if (x.p[blank] == '{') x.columns = columns;
    json_t *root = json_partial(&x, e);
    while (root && x.at < x.n && isspace((unsigned char)x.p[x.at])) x.at++;
    if (root && x.at < x.n) { json_decref(root); root = NULL; fail(e, "more text behind the value"); }
    if (!root) fail_in(e, "stdin: not JSON: byte %zu", x.at + 1);
    str_free(&x.odd);
    return root;
}

static bool chat(const struct tokenizer *t, const struct job *j, struct err *e)
{
    struct chat c;
    struct str text = { 0 };
    bool ok = chat_open(&c, t, j->path, j->format, e) && read_stdin(&text, e);
    json_t *root = ok ? read_json(&text, e) : NULL;
    ok = root && converse(&c, root, e);
    json_decref(root);
    str_free(&text);
    return ok;
}

int cmd_tokenize(int argc, char **argv)
{
    struct job j = { .path = session_embedded_policy(), .format = "auto" };
    struct err e;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) { puts(usage); return 0; }
        if (!strncmp(a, "model.path=", 11) && a[11]) j.path = a + 11;
        else if (!strncmp(a, "model.chat_format=", 18)) j.format = a + 18;
        else if (!strcmp(a, "--decode")) j.decode = true;
        else if (!strcmp(a, "--chat")) j.chat = true;
        else if (!strcmp(a, "--special")) j.special = true;
        else if (!strcmp(a, "--time")) j.time = true;
        else {
            fprintf(stderr, "appo: %s: not understood here. %s\n", a, usage);
            return 2;
        }
    }
    if (j.decode && j.chat) {
        fprintf(stderr, "appo: --decode and --chat cannot be combined. %s\n", usage);
        return 2;
    }
    struct tokenizer *t = tokenizer_open(j.path, &e);
    bool ok = t && (j.decode ? decode(t, &j, &e) : j.chat ? chat(t, &j, &e) : encode(t, &j, &e));
    tokenizer_free(t);
    return ok ? 0 : cmd_fail(&e);
}
