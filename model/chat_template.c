/* chat_template.c: which family a Jinja template belongs to. It is not run: its literals are read. A template is known when each literal is one that this
 * program's writer stands for, so that a fork with another word in it is refused, while spacing, order of tests and names of variables may differ. */
#include "model/chat_in.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* What the writer of a family writes, in the pieces that templates cut it into; and literals that only appear in tests and calls. */
static const char *const chatml_words[] = {
    "", "<|im_start|>", "<|im_end|>", "<|im_end|>\n", "\n", "\n\n", "<|im_start|>system\n", "<|im_start|>user", "<|im_start|>user\n", "<|im_start|>assistant\n",
    CHAT_TOOLS_HEAD, "\n\n" CHAT_TOOLS_HEAD, CHAT_TOOLS_TAIL "<|im_end|>\n", "\n<tool_response>\n", "\n</tool_response>", "<tool_response>", "</tool_response>",
    "\n<tool_call>\n{\"name\": \"", "<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "\n<think>\n", "\n</think>\n\n", "<think>", "</think>",
    "<think>\n\n</think>\n\n", "<|im_start|>assistant\n<think>\n", NULL,
};
static const char *const llama_words[] = {
    "", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|start_header_id|>system<|end_header_id|>\n\n", "<|start_header_id|>user<|end_header_id|>\n\n", "<|start_header_id|>ipython<|end_header_id|>\n\n",
    "Environment: ipython\n", "Tools: ", ", ", "\n\n", CHAT_CUTOFF, "Today Date: ", "%d %b %Y", CHAT_GIVEN_1, CHAT_GIVEN_2, CHAT_GIVEN_3, CHAT_GIVEN_4,
    "You have access to the following functions. To call a function, please respond with JSON for a function call.",
    "Cannot put tools in the first user message when there's no first user message!", "This model only supports single tool-calls at once!",
    "<|python_tag|>", ".call(", "=\"", "\"", ")", "{\"name\": \"", "\", ", "\"parameters\": ", "}", NULL,
};

/* Keys that are looked up and names that are compared with. */
static const char *const names[] = {
    "role", "content", "system", "user", "assistant", "tool", "ipython", "tool_calls", "function", "name", "arguments", "reasoning_content", "text", "type",
    "equalto", "code_interpreter", NULL,
};

/* The literals of a template one after another. */
struct literals { const char *p, *end; bool inside; struct str text; const char *odd; };

/* A literal begins at the quotation mark at p; what Python makes of its escapes goes to text. */
static void read_literal(struct literals *x)
{
    char quote = *x->p++;
    str_clear(&x->text);
    for (; x->p < x->end && *x->p != quote; x->p++) {
        char c = *x->p;
        if (c == '\\' && x->p + 1 < x->end) {
            c = *++x->p;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        str_putc(&x->text, c);
    }
    x->p += x->p < x->end;
}

/* The next literal inside {{ }} or {% %}; false: no more. odd: text outside of them, which a template prints as it is. */
static bool next_literal(struct literals *x)
{
    while (x->p < x->end) {
        bool two = x->p + 1 < x->end;
        if (x->inside && (*x->p == '\'' || *x->p == '"')) { read_literal(x); return true; }
        if (x->inside && two && (*x->p == '%' || *x->p == '}') && x->p[1] == '}') { x->inside = false; x->p += 2; continue; }
        if (!x->inside && two && *x->p == '{' && (x->p[1] == '%' || x->p[1] == '{')) { x->inside = true; x->p += 2; continue; }
        if (!x->inside && two && *x->p == '{' && x->p[1] == '#') {
            while (x->p + 1 < x->end && (*x->p != '#' || x->p[1] != '}')) x->p++;
            x->p += x->p + 1 < x->end ? 2 : 1;
            continue;
        }
        if (!x->inside && !isspace((unsigned char)*x->p) && !x->odd) x->odd = x->p;
        x->p++;
    }
    return false;
}

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++) if (!strcmp(text, *list)) return true;
    return false;
}

/* "<|im_start|>system\nYou are ...<|im_end|>\n": what stands where there is no system message. */
static bool default_system(struct chat_variant *v, const char *text)
{
    static const char before[] = "<|im_start|>system\n", behind[] = "<|im_end|>\n";
    size_t n = strlen(text), a = sizeof before - 1, b = sizeof behind - 1;
    if (n <= a + b || strncmp(text, before, a) || strcmp(text + n - b, behind) || n - a - b >= sizeof v->system || strstr(text + a, "<|im_start|>")) return false;
    memcpy(v->system, text + a, n - a - b);
    v->system[n - a - b] = 0;
    return true;
}

static bool is_date(const char *text)
{
    int day, year, n = 0;
    char month[4];
    return sscanf(text, "%2d %3[A-Za-z] %4d%n", &day, month, &year, &n) == 3 && n > 0 && !text[n];
}

/* What the literals say of the variant, noted as they pass. */
struct marks { bool reply, head, result, think, open, dates; char system[CHAT_SYSTEM_MAX]; };

static bool chatml_literal(struct chat_variant *v, struct marks *k, const char *text)
{
    k->reply |= !strcmp(text, "<|im_start|>assistant\n");
    k->open |= !strcmp(text, "<|im_start|>assistant\n<think>\n");
    k->head |= strstr(text, CHAT_TOOLS_HEAD) != NULL;
    k->result |= !strcmp(text, "\n<tool_response>\n");
    k->think |= !strcmp(text, "\n</think>\n\n");
    if (one_of(text, chatml_words) || one_of(text, names) || default_system(v, text)) return true;
    /* Qwen2.5 has its default twice, here without brackets and before the other: decide() compares them */
    if (*k->system || strstr(text, "<|")) return *k->system && !strcmp(text, k->system);
    snprintf(k->system, sizeof k->system, "%s", text);
    return strlen(text) < sizeof k->system;
}

static bool llama_literal(struct chat_variant *v, struct marks *k, const char *text)
{
    k->reply |= !strcmp(text, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    k->dates |= !strcmp(text, CHAT_CUTOFF);
    k->head |= !strcmp(text, CHAT_GIVEN_1);
    k->result |= !strcmp(text, "<|start_header_id|>ipython<|end_header_id|>\n\n");
    if (is_date(text)) {
        snprintf(v->date, sizeof v->date, "%s", text);
        return true;
    }
    return one_of(text, llama_words) || one_of(text, names);
}

static bool decide(struct chat_variant *v, const struct marks *k, struct err *e)
{
    v->tools = k->head && k->result;
    if (*k->system && strcmp(k->system, v->system)) return fail(e, "writes or tests '%.60s', which is not known", k->system);
    if (k->head != k->result) return fail(e, "has only half of what tools need");
    if (!k->reply && !k->open) return fail(e, "nothing in it begins an assistant's turn");
    if (v->family == CHAT_LLAMA3) return k->dates == (*v->date != 0) || fail(e, "has dates in a way that is not known");
    v->think = k->open ? CHAT_THINK_OPEN : k->think ? CHAT_THINK_FREE : CHAT_THINK_NONE;
    return true;
}

bool chat_recognise(struct chat_variant *v, const char *text, size_t n, struct err *e)
{
    struct literals x = { .p = text, .end = text + n };
    struct marks k = { 0 };
    bool ok = true;
    *v = (struct chat_variant){ 0 };
    struct str all = { 0 };
    str_put(&all, text, n);
    bool chatml = all.p && strstr(all.p, "<|im_start|>"), llama = all.p && strstr(all.p, "<|start_header_id|>");
    str_free(&all);
    v->family = llama ? CHAT_LLAMA3 : CHAT_CHATML;
    if (chatml == llama) ok = fail(e, "is of neither family that is known, ChatML (<|im_start|>) or Llama 3 (<|start_header_id|>)");
    while (ok && next_literal(&x)) {
        const char *word = x.text.p;
        if (strlen(word) != x.text.n || !(llama ? llama_literal(v, &k, word) : chatml_literal(v, &k, word)))
            ok = fail(e, "writes or tests '%.80s', which is not known", word);
    }
    if (ok && x.inside) ok = fail(e, "ends inside of a bracket");
    if (ok && x.odd) ok = fail(e, "writes '%.*s' outside of its brackets, which is not known", x.end - x.odd < 40 ? (int)(x.end - x.odd) : 40, x.odd);
    ok = ok && decide(v, &k, e);
    str_free(&x.text);
    if (!ok) fail_in(e, "the template is not one this program writes (say which format to use instead: model.chat_format=%s)", chat_formats);
    return ok;
}
