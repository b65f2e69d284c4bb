/* chat_find.c: where a model keeps its chat template. The order is transformers': a file of its own before the key of tokenizer_config.json; then the
 * old file of processors; in a GGUF file the key tokenizer.chat_template. */
#include "base/file.h"
#include "model/chat_in.h"
#include "model/gguf.h"
#include "base/json.h"
#include <string.h>

enum { FILE_MAX = 16 << 20, TEMPLATE_MAX = 1 << 20 };   /* the longest in use are 20 KB */

static bool put(struct str *out, const char *name, const char *text, size_t n, bool *found, struct err *e)
{
    if (n > TEMPLATE_MAX) return fail(e, "%s: the chat template is longer than %d bytes", name, TEMPLATE_MAX);
    str_put(out, text, n);
    *found = true;
    return true;
}

/* chat_template: a text, or a list of {"name", "template"} of which "default" counts. */
static bool from_key(const char *path, struct str *out, bool *found, struct err *e)
{
    struct str text = { 0 };
    json_t *root = file_read(path, FILE_MAX, &text, e) ? json_from(path, text.p ? text.p : "", text.n, e) : NULL, *v, *one;
    size_t i;
    bool ok = root && (json_is_object(root) || fail(e, "%s: must be a JSON object", path));
    json_t *key = json_object_get(root, "chat_template");
    if (ok && json_is_array(key)) {
        json_array_foreach(key, i, one) {
            const char *name = json_string_value(json_object_get(one, "name"));
            v = json_object_get(one, "template");
            if (!name || !json_is_string(v)) { ok = fail(e, "%s: chat_template[%zu]: must have name and template", path, i); break; }
            if (!strcmp(name, "default") && !*found) ok = put(out, path, json_string_value(v), json_string_length(v), found, e);
        }
        if (ok && !*found) ok = fail(e, "%s: chat_template: none of the list is named default", path);
    } else if (ok && json_is_string(key)) {
        ok = put(out, path, json_string_value(key), json_string_length(key), found, e);
    } else if (ok && key && !json_is_null(key)) {
        ok = fail(e, "%s: chat_template must be a text or a list of them", path);
    }
    json_decref(root);
    str_free(&text);
    return ok;
}

static bool from_gguf(const char *path, struct str *out, bool *found, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    struct gguf_text t;
    bool ok = g && (!gguf_text(g, "tokenizer.chat_template", &t) || put(out, path, t.p, (size_t)t.n, found, e));
    gguf_close(g);
    return ok;
}

bool chat_find(const char *path, struct str *out, bool *found, struct err *e)
{
    static const struct { const char *name; bool json; } files[] = {
        { "chat_template.jinja", false }, { "tokenizer_config.json", true }, { "chat_template.json", true },
    };
    struct str file = { 0 };
    bool ok = true;
    *found = false;
    if (gguf_is(path, &file)) {
        ok = from_gguf(file.p, out, found, e);
    } else {
        for (int i = 0; ok && !*found && i < 3; i++) {
            str_clear(&file);
            str_printf(&file, "%s/%s", path, files[i].name);
            if (!file_exists(file.p)) continue;
            struct str text = { 0 };
            if (files[i].json) ok = from_key(file.p, out, found, e);
            else ok = file_read(file.p, FILE_MAX, &text, e) && put(out, file.p, text.p ? text.p : "", text.n, found, e);
            str_free(&text);
        }
    }
    str_free(&file);
    return ok;
}
