/* load.h: a model from files: a Hugging Face folder (config.json; model.safetensors, or shards with
 * model.safetensors.index.json; bf16, f16 or f32), a .gguf file, or a folder that holds one and no config.json. */
#pragma once
#include "model/model.h"

/* Files are mapped and converted piece by piece into place. The tensors must be those of the table and no others,
 * except for buffers of older files and tied heads, which are read as transformers 5 does. A NaN or infinite weight is
 * an error, unless check is false. */
bool model_load_as(struct model *m, const char *path, bool check, struct err *e);
bool model_load(struct model *m, const char *path, struct err *e);              /* with the check */

/* Only the configuration of the same; weights need not be there. */
bool model_load_config(struct model_config *c, const char *path, struct err *e);
