/* tool_rows.c: what the rest of the program reads out of the table of tools. */
#include "engine/tools/tool_rows.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The call parser looks for the end of a tag at '>', and an answer's own tags are no tool's. */
static bool is_tag(const char *s)
{
    static const char *const taken[] = { "<think>", "</think>", "<result>", "</result>", "<answer>", "</answer>" };
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) if (!strcmp(s, taken[i])) return false;
    size_t n = strlen(s);
    return n > 2 && *s == '<' && strcspn(s + 1, "<>") == n - 2 && s[n - 1] == '>';
}

static bool row_complete(const struct tool *x, struct err *e)
{
    const struct { const char *what, *text; } texts[] = {
        { "opening tag", x->open }, { "closing tag", x->close }, { "description", x->description },
        { "argument", x->argument }, { "argument description", x->argument_description },
    };
    if (!x->name || !*x->name) return fail(e, "engine/tools/tool_table.c: a row has no name");
    /* it becomes part of the names of metrics, where "none" is a call that names no tool */
    if (x->name[strspn(x->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] || !strcmp(x->name, tool_name(TOOL_NONE)))
        return fail(e, "engine/tools/tool_table.c: the name \"%.60s\": a-z, 0-9 and _ are possible, and not \"%s\"",
                    x->name, tool_name(TOOL_NONE));
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
        if (!texts[k].text || !*texts[k].text)
            return fail(e, "engine/tools/tool_table.c: the tool \"%s\" has no %s", x->name, texts[k].what);
    if (!x->run)
        return fail(e,
                    "engine/tools/tool_table.c: the tool \"%s\" has no run function, so that no call of it could be "
                    "answered: write engine/tools/tool_%s.c and name its function in the row",
                    x->name, x->name);
    if (!is_tag(x->open) || !is_tag(x->close) || !strcmp(x->open, x->close))
        return fail(e, "engine/tools/tool_table.c: the tags of the tool \"%s\" are no tags, or not its own: %s %s",
                    x->name, x->open, x->close);
    return true;
}

bool tool_table_check(const struct tool_table *t, struct err *e)
{
    if (t->n < 1 || t->n > TOOLS_MAX)
        return fail(e, "engine/tools/tool_table.c: %d tools; there may be 1 to %d", t->n, TOOLS_MAX);
    for (int k = 0; k < t->n; k++) {
        const struct tool *x = &t->row[k];
        if (!row_complete(x, e)) return false;
        for (int i = 0; i < k; i++) {
            const struct tool *y = &t->row[i];
            if (!strcmp(x->name, y->name) || !strcmp(x->open, y->open) || !strcmp(x->close, y->close) ||
                !strcmp(x->open, y->close) || !strcmp(x->close, y->open))
                return fail(e, "engine/tools/tool_table.c: the tools \"%s\" and \"%s\" share a name or a tag", y->name,
                            x->name);
        }
    }
    return true;
}

int tool_by_name(const char *name)
{
    for (int k = 0; k < tool_table.n; k++) if (!strcmp(name, tool_table.row[k].name)) return k;
    return TOOL_NONE;
}

const struct tool *tool_row(int tool) { return tool >= 0 && tool < tool_table.n ? &tool_table.row[tool] : NULL; }

const char *tool_name(int tool)
{
    const struct tool *x = tool_row(tool);
    return x ? x->name : "none";
}

static void put_quoted(struct str *out, const char *text)
{
    json_t *v = json_string(text);
    char *quoted = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
    if (!quoted) die("the tool table holds text that is not UTF-8: \"%s\"", text);
    str_puts(out, quoted);
    free(quoted);
    json_decref(v);
}

static void declare(struct str *out, const struct tool *x)
{
    str_puts(out, "{\"type\": \"function\", \"function\": {\"name\": ");
    put_quoted(out, x->name);
    str_puts(out, ", \"description\": ");
    put_quoted(out, x->description);
    str_puts(out, ", \"parameters\": {\"type\": \"object\", \"properties\": {");
    put_quoted(out, x->argument);
    str_puts(out, ": {\"type\": \"string\", \"description\": ");
    put_quoted(out, x->argument_description);
    str_puts(out, "}}, \"required\": [");
    put_quoted(out, x->argument);
    str_puts(out, "]}}}");
}

void tools_declare(struct str *out)
{
    for (int k = 0; k < tool_table.n; k++) {
        str_puts(out, k ? ", " : "[");
        declare(out, &tool_table.row[k]);
    }
    str_puts(out, "]");
}

void tools_list(struct str *out)
{
    for (int k = 0; k < tool_table.n; k++)
        str_printf(out, "%s%s", !k ? "" : k + 1 < tool_table.n ? ", " : " and ", tool_table.row[k].name);
}

void tools_tags(struct tool_tags *tags)
{
    *tags = (struct tool_tags){ .n = tool_table.n };
    for (int k = 0; k < tool_table.n; k++) {
        const struct tool *x = &tool_table.row[k];
        tags->p[k] = (struct tool_tag){ x->open, x->close, x->bonus };
    }
}
