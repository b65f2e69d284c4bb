/* model_export.c: a trained model as a folder for others. Its weights and config.json are written anew, all that
 * belongs to its tokenizer goes along unchanged. */
#include "engine/session/session.h"
#include "base/dir.h"
#include "base/file.h"
#include "model/load.h"
#include "model/save.h"
#include "model/weights/gguf.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* What is the tokenizer's and is passed through. */
static const char *const along[] = {
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
};

/* A folder of further chat templates (tool_use, rag), as transformers keeps them. */
static bool pass_templates(const char *from, const char *to, struct err *e)
{
    enum { TEMPLATES_MAX = 64 };
    struct str in = { 0 }, out = { 0 }, a = { 0 }, b = { 0 };
    str_printf(&in, "%s/additional_chat_templates", from);
    str_printf(&out, "%s/additional_chat_templates", to);
    DIR *d = opendir(in.p);
    bool ok = true;
    int n = 0;
    for (struct dirent *x; ok && d && (x = readdir(d)); ) {
        size_t len = strlen(x->d_name);
        if (x->d_name[0] == '.' || len < 7 || strcmp(x->d_name + len - 6, ".jinja")) continue;
        if (++n > TEMPLATES_MAX) { ok = fail(e, "%s: more than %d templates", in.p, TEMPLATES_MAX); break; }
        str_clear(&a);
        str_clear(&b);
        str_printf(&a, "%s/%s", in.p, x->d_name);
        str_printf(&b, "%s/%s", out.p, x->d_name);
        ok = dir_make(out.p, e) && file_copy(a.p, b.p, e);
    }
    if (d) closedir(d);
    str_free(&in);
    str_free(&out);
    str_free(&a);
    str_free(&b);
    return ok;
}

static bool pass_along(const char *from, const char *to, struct err *e)
{
    struct str a = { 0 }, b = { 0 };
    bool ok = pass_templates(from, to, e);
    for (size_t i = 0; ok && i < sizeof along / sizeof *along; i++) {
        str_clear(&a);
        str_clear(&b);
        str_printf(&a, "%s/%s", from, along[i]);
        str_printf(&b, "%s/%s", to, along[i]);
        if (file_exists(a.p)) ok = file_copy(a.p, b.p, e);
    }
    str_free(&a);
    str_free(&b);
    return ok;
}

/* What transformers needs beside tokenizer.json: its templates print bos_token and eos_token by these names. */
static bool write_tokenizer_config(const struct tokenizer *t, const struct model_config *c, const char *path,
                                   struct err *e)
{
    const struct {
        const char *key;
        int id;
    } named[] = { { "bos_token", c->bos }, { "eos_token", c->n_eos ? c->eos[0] : -1 }, { "pad_token", c->pad } };
    json_t *o = json_pack("{s:s,s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        int n = 0;
        size_t len = 0;
        const char *text = named[i].id >= 0 ? tokenizer_bytes(t, named[i].id, &n) : NULL;
        /* a name makes a token one that is cut out */
        bool added = text && tokenizer_match(t, text, (size_t)n, &len) == named[i].id && len == (size_t)n;
        json_t *v = added ? json_stringn(text, (size_t)n) : NULL;
        if (v) json_object_set_new(o, named[i].key, v);
    }
    char *out = json_dumps(o, JSON_INDENT(2));
    bool ok = file_write(path, out, strlen(out), e);
    free(out);
    json_decref(o);
    return ok;
}

/* GGUF has its vocabulary and chat template as values, not as files. The weights are exported even if this
 * program cannot read the kind of vocabulary. */
static bool from_gguf(const char *path, const char *to, struct err *e)
{
    struct str s = { 0 };
    struct gguf_text t;
    struct model_config c;
    struct err why;
    struct gguf *g = gguf_open(path, e);
    str_printf(&s, "%s/chat_template.jinja", to);
    bool ok = g && model_load_config(&c, path, e) &&
              (!gguf_text(g, "tokenizer.chat_template", &t) || file_write(s.p, t.p, (size_t)t.n, e));
    struct tokenizer *tok = ok ? tokenizer_open(path, &why) : NULL;
    if (ok && !tok)
        fprintf(stderr,
                "appo: %s. No tokenizer.json was written; copy it and tokenizer_config.json from the model's own "
                "folder into %s\n",
                why.text, to);
    if (tok) {
        str_clear(&s);
        str_printf(&s, "%s/tokenizer.json", to);
        ok = tokenizer_copy(tok, s.p, e);
        str_clear(&s);
        str_printf(&s, "%s/tokenizer_config.json", to);
        ok = ok && write_tokenizer_config(tok, &c, s.p, e);
    }
    tokenizer_free(tok);
    gguf_close(g);
    str_free(&s);
    return ok;
}

bool tokenizer_files_pass(const char *model_path, const char *folder, struct err *e)
{
    struct str gguf = { 0 };
    bool ok = dir_make(folder, e) &&
              (gguf_is(model_path, &gguf) ? from_gguf(gguf.p, folder, e) : pass_along(model_path, folder, e));
    str_free(&gguf);
    return ok;
}

bool policy_save(const struct model *m, const struct tokenizer *t, const char *folder, struct err *e)
{
    static const char plain[] = "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"eos_token\": "
                                "\"<|end|>\",\n  \"pad_token\": \"<|pad|>\",\n"
                                "  \"clean_up_tokenization_spaces\": false\n}\n";
    struct str p = { 0 };
    bool ok = model_save(m, folder, e);
    str_printf(&p, "%s/tokenizer.json", folder);
    ok = ok && tokenizer_copy(t, p.p, e);
    str_clear(&p);
    str_printf(&p, "%s/tokenizer_config.json", folder);
    ok = ok && file_write(p.p, plain, sizeof plain - 1, e);
    str_free(&p);
    return ok;
}

static bool pass_generation(const char *from, const char *to, struct err *e)
{
    struct str a = { 0 }, b = { 0 };
    str_printf(&a, "%s/generation_config.json", from);
    str_printf(&b, "%s/generation_config.json", to);
    bool ok = !file_exists(a.p) || (dir_make(to, e) && file_copy(a.p, b.p, e));
    str_free(&a);
    str_free(&b);
    return ok;
}

bool session_save(const struct session *s, const char *folder, struct err *e)
{
    struct model m = s->m;
    m.c.n_eos = s->own_eos;
    if (s->chat.v.family == CHAT_APPO) return pass_generation(s->path, folder, e) && policy_save(&m, s->tok, folder, e);
    return tokenizer_files_pass(s->path, folder, e) && model_save(&m, folder, e);
}
