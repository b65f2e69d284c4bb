/* model_export.h: writes a model as a folder that transformers loads as it is. */
#pragma once
#include "engine/session/session.h"

/* The embedded kind: config.json, model.safetensors, tokenizer.json, tokenizer_config.json. */
bool policy_save(const struct model *m, const struct tokenizer *t, const char *folder, struct err *e);
/* The session's model with the files of its tokenizer: copied unchanged, or converted from GGUF. */
bool session_save(const struct session *s, const char *folder, struct err *e);
/* Copies the files of a model's tokenizer and chat template, byte for byte; of a GGUF file, writes tokenizer.json and
 * chat_template.jinja. */
bool tokenizer_files_pass(const char *model_path, const char *folder, struct err *e);
