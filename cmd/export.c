/* export.c: `appo export`: writes a model of any readable format as a Hugging Face folder, with the files of its
 * tokenizer. */
#include "cmd/cmd.h"
#include "base/dir.h"
#include "base/file.h"
#include "engine/session/session.h"
#include "engine/session/model_export.h"
#include "model/load.h"
#include "model/save.h"
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: appo export model.path=DIR out=DIR [dtype=bf16|f32] [max_shard_size=5GB]: writes "
                            "the model as a folder for transformers, vLLM and "
                            "llama.cpp's converter. model.path: a Hugging Face folder or a .gguf file; dtype: how "
                            "numbers are written (default bf16)";

/* Rejects a folder that holds a model: files of two models would mix. */
static bool empty_place(const char *folder, struct err *e)
{
    static const char *const names[] = { "config.json", "model.safetensors", "model.safetensors.index.json" };
    struct str s = { 0 };
    bool ok = true;
    for (int i = 0; ok && i < 3; i++) {
        str_clear(&s);
        str_printf(&s, "%s/%s", folder, names[i]);
        if (file_exists(s.p)) ok = fail(e, "%s: is already there; give a folder without a model: out=DIR", s.p);
    }
    str_free(&s);
    return ok;
}

static bool export(const char *from, const char *to, const struct save_rule *r, struct err *e)
{
    struct model m;
    struct model_config c;
    struct staging out = { 0 };
    bool ok =
        empty_place(to, e) && model_load_config(&c, from, e) && staging_open(&out, to, e) && model_load(&m, from, e);
    if (ok) {
        ok = dir_room(to, (size_t)m.count * (r->bf16 ? 2 : sizeof(acc_t)), e) &&
             tokenizer_files_pass(from, out.tmp, e) && model_save_as(&m, out.tmp, r, e) &&
             staging_commit(&out, "config.json", e);
        if (ok) printf("%s: %s, %lld parameters as %s\n", to, m.c.arch, (long long)m.count, r->bf16 ? "bf16" : "f32");
        model_free(&m);
    }
    staging_drop(&out);
    return ok;
}

bool parse_bytes(const char *text, int64_t *bytes)
{
    static const struct { const char *unit; double by; } units[] = {
        { "", 1 }, { "B", 1 }, { "KB", 1e3 }, { "MB", 1e6 }, { "GB", 1e9 }, { "TB", 1e12 }, { "KiB", 0x1p10 },
        { "MiB", 0x1p20 }, { "GiB", 0x1p30 }, { "TiB", 0x1p40 },
    };
    char *end;
    double x = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit)) continue;
        x *= units[i].by;
        if (!(x >= 1 && x <= 0x1p60)) return false;
        *bytes = (int64_t)x;
        return true;
    }
    return false;
}

int cmd_export(int argc, char **argv)
{
    const char *from = NULL, *to = NULL;
    struct save_rule r = { .bf16 = true, .max_shard = 5000000000 };
    struct err e;
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        size_t n = value ? (size_t)(value - argv[i]) : 0;
        bool ok = value != NULL;
        /* the folder alone, as for fetch-model */
        if (!ok && argv[i][0] != '-' && !to) { to = argv[i]; continue; }
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) { puts(usage); return 0; }
        if (ok && n == 10 && !strncmp(argv[i], "model.path", n)) from = value + 1;
        else if (ok && ((n == 3 && !strncmp(argv[i], "out", n)) || (n == 8 && !strncmp(argv[i], "sft.save", n))))
            to = value + 1;
        else if (ok && n == 5 && !strncmp(argv[i], "dtype", n)) {
            ok = !strcmp(value, "=bf16") || !strcmp(value, "=f32");
            r.bf16 = !strcmp(value, "=bf16");
        } else if (ok && n == 14 && !strncmp(argv[i], "max_shard_size", n)) ok = parse_bytes(value + 1, &r.max_shard);
        else ok = false;
        if (!ok) {
            fprintf(stderr, "appo: %s: not understood here. %s\n", argv[i], usage);
            return 2;
        }
    }
    if (!to || !*to) {
        fprintf(stderr, "appo: out=DIR is missing. %s\n", usage);
        return 2;
    }
    return export(from && *from ? from : session_embedded_policy(), to, &r, &e) ? 0 : cmd_fail(&e);
}
