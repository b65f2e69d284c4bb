/* save.c: a model as a Hugging Face folder. Tensors go to their files in pieces; shards are filled in the order of the
 * table, as in transformers. */
#include "model/save.h"
#include "model/weights/safetensors_write.h"
#include "base/dir.h"
#include "base/file.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20, SHARDS_MAX = 99999 };          /* five digits in a shard's name */

static enum st_dtype dtype_of(const struct save_rule *r)
{
    return r->bf16 ? ST_BF16 : sizeof(acc_t) == 8 ? ST_F64 : ST_F32;
}
static int64_t bytes_of(const struct param *p, const struct save_rule *r)
{
    return param_count(p) * (r->bf16 ? 2 : (int64_t)sizeof(acc_t));
}

/* first[k] is the first tensor of shard k, first[shards] == params. A tensor larger than a shard gets its own. */
static int split(const struct model *m, const struct save_rule *r, int *first)
{
    int shards = 0;
    int64_t bytes = 0;
    for (int i = 0; i < m->params; i++) {
        int64_t n = bytes_of(&m->param[i], r);
        if (i == 0 || (r->max_shard > 0 && bytes + n > r->max_shard)) { first[shards++] = i; bytes = 0; }
        bytes += n;
    }
    first[shards] = m->params;
    return shards;
}

static void shard_name(struct str *s, int k, int shards)
{
    if (shards == 1) str_puts(s, "model.safetensors");
    else str_printf(s, "model-%05d-of-%05d.safetensors", k + 1, shards);
}

static void get_weights(acc_t *buf, const struct model *m, int64_t at, int64_t n)
{
    if (!m->on_host) model_ready(m);
    if (!m->on_host) model_get(buf, m->w + at, n);
    else for (int64_t i = 0; i < n; i++) buf[i] = (acc_t)elem_to(m->w[at + i]);
}

/* A weight that is not finite (as bf16: that rounds to infinity) is an error: a reader of the file would find out much
 * later. */
static bool put_param(struct st_writer *out, const struct model *m, const struct param *p, const struct save_rule *r,
                      acc_t *buf, const char *path, struct err *e)
{
    int64_t count = param_count(p);
    /* bf16 rounds 0x1.ffp127 and more to infinity */
    double most = r->bf16 ? 0x1.ffp127 : sizeof(acc_t) == 8 ? DBL_MAX : (double)FLT_MAX;
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE, i = 0;
        get_weights(buf, m, p->at + at, n);
        while (i < n && (r->bf16 ? fabs((double)buf[i]) < most : fabs((double)buf[i]) <= most)) i++;
        if (i < n)
            return fail(e, "%s: number %lld of %s is %s", path, (long long)(at + i), p->name,
                        isfinite(buf[i]) ? "too large for bf16" : "a NaN or an infinity");
#if defined(REAL_IS_double)
        st_put_f64(out, buf, n);
#else
        st_put_f32(out, buf, n);
#endif
    }
    return true;
}

static bool save_shard(const struct model *m, const char *path, const struct save_rule *r, int begin, int end,
                       struct err *e)
{
    struct st_writer *out = st_create(path, e);
    if (!out) return false;
    for (int i = begin; i < end; i++)
        st_declare(out, m->param[i].name, dtype_of(r), m->param[i].cols ? 2 : 1,
                   (int64_t[]){ m->param[i].rows, m->param[i].cols });
    acc_t *buf = xmalloc(PIECE * sizeof *buf);
    bool ok = true;
    for (int i = begin; ok && i < end; i++) ok = put_param(out, m, &m->param[i], r, buf, path, e);
    free(buf);
    if (ok) return st_finish(out, e);
    st_abandon(out);
    return false;
}

static bool save_index(const struct model *m, const char *folder, const struct save_rule *r, const int *first,
                       int shards, struct err *e)
{
    struct str s = { 0 }, path = { 0 };
    int64_t total = 0, weights = 0;
    for (int i = 0; i < m->params; i++) { total += bytes_of(&m->param[i], r); weights += param_count(&m->param[i]); }
    str_printf(&s, "{\n  \"metadata\": {\"total_parameters\": %lld, \"total_size\": %lld},\n  \"weight_map\": {\n",
               (long long)weights, (long long)total);
    for (int k = 0; k < shards; k++)
        for (int i = first[k]; i < first[k + 1]; i++) {
            str_printf(&s, "    \"%s\": \"", m->param[i].name);
            shard_name(&s, k, shards);
            str_printf(&s, "\"%s\n", i + 1 < m->params ? "," : "");
        }
    str_puts(&s, "  }\n}\n");
    str_printf(&path, "%s/model.safetensors.index.json", folder);
    bool ok = file_write(path.p, s.p, s.n, e);
    str_free(&s);
    str_free(&path);
    return ok;
}

/* Makes generate() of transformers stop at the same ids as this program. A file that is there (copied from the original
 * model) is kept. */
static bool save_generation(const struct model_config *c, const char *folder, struct err *e)
{
    struct str s = { 0 }, path = { 0 };
    str_printf(&path, "%s/generation_config.json", folder);
    bool ok = file_exists(path.p);
    if (!ok) {
        str_puts(&s, "{\n  \"_from_model_config\": true,\n");
        if (c->bos >= 0) str_printf(&s, "  \"bos_token_id\": %d,\n", c->bos);
        if (c->pad >= 0) str_printf(&s, "  \"pad_token_id\": %d,\n", c->pad);
        str_puts(&s, "  \"eos_token_id\": ");
        for (int i = 0; i < c->n_eos; i++) str_printf(&s, "%s%d", i ? ", " : c->n_eos > 1 ? "[" : "", c->eos[i]);
        str_puts(&s, c->n_eos > 1 ? "]\n}\n" : c->n_eos ? "\n}\n" : "null\n}\n");
        ok = file_write(path.p, s.p, s.n, e);
    }
    str_free(&s);
    str_free(&path);
    return ok;
}

bool model_save_as(const struct model *m, const char *folder, const struct save_rule *r, struct err *e)
{
    struct str path = { 0 };
    if (!dir_make(folder, e)) return false;
    int *first = xmalloc(((size_t)m->params + 1) * sizeof *first), shards = split(m, r, first);
    bool ok = shards <= SHARDS_MAX ||
              fail(e, "%s: %d files of weights would be needed; give a larger max_shard_size", folder, shards);
    for (int k = 0; ok && k < shards; k++) {
        str_clear(&path);
        str_printf(&path, "%s/", folder);
        shard_name(&path, k, shards);
        ok = save_shard(m, path.p, r, first[k], first[k + 1], e);
    }
    ok = ok && (shards == 1 || save_index(m, folder, r, first, shards, e)) && save_generation(&m->c, folder, e);
    str_clear(&path);
    str_printf(&path, "%s/config.json", folder);
    ok = ok && model_config_write(&m->c, r->bf16 ? "bfloat16" : "float32", path.p, e);
    str_free(&path);
    free(first);
    return ok;
}

bool model_save(const struct model *m, const char *folder, struct err *e)
{
    return model_save_as(m, folder, &(struct save_rule){ 0 }, e);
}
