/* chat_find.c: finds a model's chat template. The order is transformers': its own file before the key of
 * tokenizer_config.json; then the old file of processors; in a GGUF file the key tokenizer.chat_template. A second one,
 * named tool_use, is for conversations that declare tools: in the list of the first, or a file in
 * additional_chat_templates. */
#include "base/file.h"
#include "model/chat/chat_in.h"
#include "model/gguf_model.h"
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

/* A list of {"name", "template"}: those named default and tool_use; of two of one name the last, as in transformers. */
static bool from_list(const char *path, const json_t *list, struct chat_found *x, struct err *e)
{
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *one = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        const json_t *v = json_object_get(one, "template");
        if (!name || !json_is_string(v)) return fail(e, "%s: chat_template[%zu]: must have name and template", path, i);
        bool usual = !strcmp(name, "default"), *found = usual ? &x->found : &x->found_tool_use;
        if ((!usual && strcmp(name, "tool_use")) || *found) continue;
        struct str *to = usual ? &x->text : &x->tool_use;
        if (!put(to, path, json_string_value(v), json_string_length(v), found, e)) return false;
    }
    return x->found || fail(e, "%s: chat_template: none of the list is named default", path);
}

static json_t *read_json(const char *path, struct err *e)
{
    struct str text = { 0 };
    json_t *root = file_read(path, FILE_MAX, &text, e) ? json_from(path, text.p ? text.p : "", text.n, e) : NULL;
    str_free(&text);
    if (!root || json_is_object(root)) return root;
    json_decref(root);
    fail(e, "%s: must be a JSON object", path);
    return NULL;
}

/* bos_token: a text, or an added token's {"content": text}; null: none. */
static bool read_bos(const char *path, const json_t *root, struct chat_found *x, struct err *e)
{
    const json_t *v = json_object_get(root, "bos_token");
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    if (!v || json_is_null(v)) return true;
    if (!text) return fail(e, "%s: bos_token must be a text", path);
    if (!x->bos.n) str_puts(&x->bos, text);
    return true;
}

static bool from_json(const char *path, struct chat_found *x, bool template, struct err *e)
{
    json_t *root = read_json(path, e);
    bool ok = root && read_bos(path, root, x, e);
    const json_t *key = json_object_get(root, "chat_template");
    if (!ok || !template || !key || json_is_null(key)) {}
    else if (json_is_array(key)) ok = from_list(path, key, x, e);
    else if (json_is_string(key))
        ok = put(&x->text, path, json_string_value(key), json_string_length(key), &x->found, e);
    else ok = fail(e, "%s: chat_template must be a text or a list of them", path);
    json_decref(root);
    return ok;
}

static bool from_file(const char *path, struct str *out, bool *found, struct err *e)
{
    struct str text = { 0 };
    bool ok = file_read(path, FILE_MAX, &text, e) && put(out, path, text.p ? text.p : "", text.n, found, e);
    str_free(&text);
    return ok;
}

static bool from_gguf(const char *path, struct chat_found *x, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    struct gguf_text t;
    struct gguf_vocab v = { .bos = -1 };
    bool ok = g != NULL;
    x->configured = true;
    if (ok && gguf_text(g, "tokenizer.chat_template", &t)) ok = put(&x->text, path, t.p, (size_t)t.n, &x->found, e);
    if (ok && gguf_text(g, "tokenizer.chat_template.tool_use", &t))
        ok = put(&x->tool_use, path, t.p, (size_t)t.n, &x->found_tool_use, e);
    if (ok && x->found) ok = gguf_vocab(g, &v, e);
    if (ok && v.bos >= 0 && v.bos < v.n) str_put(&x->bos, v.token[v.bos].p, (size_t)v.token[v.bos].n);
    gguf_vocab_free(&v);
    gguf_close(g);
    return ok;
}

/* template: may hold the default template, or the one for tools. */
static const struct { const char *name; bool json, template, names_bos; } files[] = {
    { "chat_template.jinja", false, true, false }, { "tokenizer_config.json", true, true, true },
    { "special_tokens_map.json", true, false, true }, { "chat_template.json", true, true, false },
    { "additional_chat_templates/tool_use.jinja", false, true, false },
};
enum { FILES = sizeof files / sizeof *files };

static bool from_folder(const char *path, struct chat_found *x, struct err *e)
{
    struct str file = { 0 };
    bool ok = true;
    for (int i = 0; ok && i < FILES; i++) {
        bool tools = i == FILES - 1, wanted = files[i].template && (tools ? !x->found_tool_use : !x->found);
        str_clear(&file);
        str_printf(&file, "%s/%s", path, files[i].name);
        if (!file_exists(file.p) || (!wanted && !files[i].names_bos)) continue;
        x->configured |= files[i].names_bos;
        if (files[i].json) ok = from_json(file.p, x, wanted, e);
        else if (tools) ok = from_file(file.p, &x->tool_use, &x->found_tool_use, e);
        else ok = from_file(file.p, &x->text, &x->found, e);
    }
    str_free(&file);
    return ok;
}

bool chat_find(const char *path, struct chat_found *x, struct err *e)
{
    struct str file = { 0 };
    bool ok = gguf_is(path, &file) ? from_gguf(file.p, x, e) : from_folder(path, x, e);
    str_free(&file);
    return ok;
}

void chat_found_free(struct chat_found *x)
{
    str_free(&x->text);
    str_free(&x->tool_use);
    str_free(&x->bos);
    *x = (struct chat_found){ 0 };
}
