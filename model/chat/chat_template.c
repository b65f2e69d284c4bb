/* chat_template.c: recognises a known template. It is not run: its tokens must be those of a template in
 * chat_forms_*.c, except for the text of a default system message and a date. A fork that differs in a filter, a
 * condition, a loop or a line break is rejected, with its first different token. */
#include "model/chat/chat_in.h"
#include <stdio.h>
#include <string.h>

enum { SYSTEM = 1, DATE };              /* bytes that stand for texts that a form leaves open */

/* The longest match of the template with any form: number and place of the first different token, the form's name, the
 * template's token and the form's. */
struct farthest { long token; const char *at, *name; struct str here, wanted; };

static bool keep(char *to, size_t size, const char *text, size_t n)
{
    if (*to) return strlen(to) == n && !memcmp(to, text, n);        /* occurs twice and must be the same */
    if (n == 0 || n >= size || memchr(text, 0, n)) return false;
    memcpy(to, text, n);
    to[n] = 0;
    return true;
}

/* A literal of the form against one of the template. */
static bool same_literal(struct chat_variant *v, const struct str *form, const struct str *text)
{
    size_t before = 0;
    while (before < form->n && (form->p[before] < 1 || form->p[before] > DATE)) before++;
    if (before == form->n) return form->n == text->n && !memcmp(form->p, text->p, form->n);
    size_t behind = form->n - before - 1;
    if (text->n < before + behind || memcmp(form->p, text->p, before)) return false;
    if (memcmp(form->p + before + 1, text->p + text->n - behind, behind)) return false;
    size_t n = text->n - before - behind;
    if (form->p[before] == SYSTEM) return keep(v->system, sizeof v->system, text->p + before, n);
    return keep(v->date, sizeof v->date, text->p + before, n);
}

static void show(struct str *out, const struct jinja *x)
{
    static const char *const names[] = { [JINJA_BLOCK] = "{%", [JINJA_BLOCK_END] = "%}", [JINJA_PRINT] = "{{",
                                         [JINJA_PRINT_END] = "}}", [JINJA_END] = "the end" };
    bool quoted = x->kind == JINJA_LITERAL || x->kind == JINJA_TEXT;
    str_clear(out);
    if (x->kind == JINJA_TEXT) str_puts(out, "the text ");
    if (quoted) str_putc(out, '\'');
    const char *text = x->kind < sizeof names / sizeof *names && names[x->kind] ? names[x->kind] : x->text.p;
    for (int i = 0; text[i]; i++) {
        if (i == 60) { str_puts(out, "..."); break; }
        if (text[i] == '\n') str_puts(out, "\\n");
        else str_putc(out, text[i] > 0 && text[i] < 3 ? '*' : text[i]);
    }
    if (quoted) str_putc(out, '\'');
}

static bool matches(struct chat_variant *v, const struct chat_form *form, const struct str *text, struct farthest *far)
{
    struct jinja a, b;
    bool same = true;
    *v = form->v;
    jinja_open(&a, text->p, text->n);
    jinja_open(&b, form->text, strlen(form->text) - (form->text[strlen(form->text) - 1] == '\n'));
    for (long i = 0; same; i++) {
        jinja_next(&a);
        jinja_next(&b);
        same = a.kind == b.kind && a.kind != JINJA_WRONG;
        if (same && a.kind == JINJA_LITERAL) same = same_literal(v, &b.text, &a.text);
        else if (same) same = a.text.n == b.text.n && !memcmp(a.text.p, b.text.p, a.text.n);
        if (same && a.kind == JINJA_END) break;
        if (same || i <= far->token) continue;
        *far = (struct farthest){ i, a.at, form->name, far->here, far->wanted };
        show(&far->here, &a);
        show(&far->wanted, &b);
    }
    jinja_close(&a);
    jinja_close(&b);
    return same;
}

const struct chat_form *chat_form_at(int i)
{
    static const struct chat_form *const tables[] = { chat_forms_chatml, chat_forms_qwen2, chat_forms_qwen3,
                                                      chat_forms_llama3 };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        const struct chat_form *f = tables[t];
        for (; f->name && i > 0; f++) i--;
        if (f->name) return f;
    }
    return NULL;
}

bool chat_recognise(struct chat_variant *v, const char *text, size_t n, struct err *e)
{
    struct str lines = { 0 };
    struct farthest far = { .token = -1 };
    bool known = false;
    jinja_lines(&lines, text, n);
    const struct chat_form *f;
    for (int i = 0; !known && (f = chat_form_at(i)) != NULL; i++) known = matches(v, f, &lines, &far);
    if (!known) {
        int line = 1, column = 1;
        for (const char *p = lines.p; p < far.at; p++) {
            column = *p == '\n' ? 1 : column + 1;
            line += *p == '\n';
        }
        fail(e,
             "the template is not one that this program writes: line %d column %d has %s, where the nearest that is "
             "known (%s) has %s. Choose a format instead: model.chat_format=%s",
             line, column, far.here.p, far.name, far.wanted.p, chat_formats);
    }
    str_free(&lines);
    str_free(&far.here);
    str_free(&far.wanted);
    return known;
}
