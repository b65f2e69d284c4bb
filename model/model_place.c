/* model_place.c: recognises paths that do not hold a model, by the names of files. Each message reports what was found
 * and what to do with it. */
#include "model/model_place.h"
#include "model/weights/gguf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool holds(const char *folder, const char *name)
{
    struct str s = { 0 };
    str_printf(&s, "%s/%s", folder, name);
    bool yes = file_exists(s.p);
    str_free(&s);
    return yes;
}

/* Reading a pickle runs code, so only PyTorch should read it. */
#define CONVERT "convert it once with transformers: AutoModelForCausalLM.from_pretrained(DIR, dtype=\"auto\")" \
                ".save_pretrained(NEW) writes model.safetensors; then model.path=NEW"
#define TAKE "take the model's folder for transformers (config.json and model.safetensors)"

/* Weights of other formats, by the end of a file's name. */
static const struct { const char *tail, *what; } foreign[] = {
    { ".bin", "PyTorch's pickled weights, which are not read: " CONVERT },
    { ".bin.index.json", "PyTorch's pickled weights, which are not read: " CONVERT },
    { ".pth", "PyTorch's pickled weights, which are not read; " TAKE },
    { ".pt", "PyTorch's pickled weights, which are not read; " TAKE },
    { ".ckpt", "PyTorch's pickled weights, which are not read; " TAKE },
    { ".onnx", "an ONNX graph, which is not read; " TAKE },
    { ".h5", "TensorFlow's weights, which are not read: " CONVERT },
    { ".msgpack", "Flax's weights, which are not read: " CONVERT },
};
static const char *foreign_kind(const char *name)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (ends_with(name, foreign[i].tail)) return foreign[i].what;
    return NULL;
}

/* A LoRA folder: its adapter_config.json names the model it belongs to. */
static bool is_adapter(const char *folder, struct err *e)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/adapter_config.json", folder);
    json_t *j = file_read(path.p, 1 << 20, &text, NULL) ? json_from(path.p, text.p ? text.p : "", text.n, NULL) : NULL;
    const char *base = json_string_value(json_object_get(j, "base_model_name_or_path"));
    fail(
        e,
        "%s: is an adapter (LoRA; adapter_config.json) of %.80s, which is not read by itself: merge it into that model "
        "with peft "
        "(PeftModel.from_pretrained(base, DIR).merge_and_unload().save_pretrained(NEW)) and give model.path=NEW",
        folder, base ? base : "another model");
    json_decref(j);
    str_free(&path);
    str_free(&text);
    return false;
}

/* The file of a folder that tells most about it: weights of other formats before safetensors with odd names. Freed by
 * the caller. */
static char *telling_file(const char *folder, int *ggufs)
{
    char *best = NULL;
    int rank = 0;
    DIR *d = opendir(folder);
    *ggufs = 0;
    for (struct dirent *x; d && (x = readdir(d)); ) {
        int r = foreign_kind(x->d_name) && strncmp(x->d_name, "training_args", 13) ? 2
                : ends_with(x->d_name, ".safetensors")                             ? 3
                                                                                   : 0;
        *ggufs += ends_with(x->d_name, ".gguf");
        bool earlier = best && strcmp(x->d_name, best) < 0;         /* the same file whatever the folder's order */
        if (r < rank || r == 0 || (r == rank && !earlier)) continue;
        free(best);
        best = xstrdup(x->d_name);
        rank = r;
    }
    if (d) closedir(d);
    return best;
}

static bool look_at_folder(const char *path, struct err *e)
{
    int ggufs;
    bool whole = holds(path, "model.safetensors") || holds(path, "model.safetensors.index.json"),
         config = holds(path, "config.json");
    if (holds(path, "adapter_config.json")) return is_adapter(path, e);
    if (whole && config) return true;
    char *file = telling_file(path, &ggufs);
    const char *many = ggufs > 1 ? "s" : "", *kind = file ? foreign_kind(file) : NULL;
    if (holds(path, "actor/huggingface/config.json"))
        fail(e, "%s: is a checkpoint; its model is in model.path=%s/actor/huggingface", path, path);
    else if (holds(path, "snapshots"))
        fail(e, "%s: is a folder of Hugging Face's cache; the model is in one of the folders under %s/snapshots", path,
             path);
    else if (ggufs)
        fail(e, "%s: holds %s%d GGUF file%s: give one itself, model.path=FILE.gguf", path,
             config ? "config.json without model.safetensors, and " : "", ggufs, many);
    else if (whole)
        fail(e, "%s/config.json: no such file: it describes the model whose weights are beside it", path);
    else if (kind)
        fail(e, "%s: %.80s holds %s", path, file, kind);
    else if (file)
        fail(
            e,
            "%s: holds %.80s but neither model.safetensors nor model.safetensors.index.json: a file is missing, or has "
            "another name than "
            "transformers gives it",
            path, file);
    else if (config)
        fail(e, "%s/model.safetensors: no such file, and no model.safetensors.index.json: the folder holds no weights",
             path);
    else
        fail(
            e,
            "%s: holds no model: config.json, model.safetensors (or model.safetensors.index.json and its files) and "
            "tokenizer.json, or a "
            "GGUF file, are needed",
            path);
    free(file);
    return false;
}

bool model_place(const char *path, struct err *e)
{
    struct stat st;
    struct str file = { 0 };
    bool gguf = gguf_is(path, &file);
    str_free(&file);
    if (gguf) return true;
    if (stat(path, &st) != 0) {
        const char *slash = strchr(path, '/');
        bool hub = slash && slash != path && *path != '.' && !strchr(slash + 1, '/');               /* owner/name */
        return fail(
            e,
            "%s: no such folder: give model.path=DIR with config.json, model.safetensors and tokenizer.json, or a "
            "GGUF file%s",
            path,
            hub ? "; a model of the Hugging Face hub must be downloaded first (hf download NAME --local-dir DIR)" : "");
    }
    if (S_ISDIR(st.st_mode)) return look_at_folder(path, e);
    if (ends_with(path, ".safetensors"))
        return fail(e, "%s: is a file of weights alone: give the folder it is in, with config.json and tokenizer.json",
                    path);
    const char *kind = foreign_kind(path);
    return kind ? fail(e, "%s: holds %s", path, kind) : fail(e, "%s: is neither a folder nor a GGUF file", path);
}
