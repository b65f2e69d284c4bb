/* tokenizer_gguf.h: the tokenizer of a GGUF file's vocabulary. */
#pragma once
#include "model/tokenizer/tokenizer.h"
#include "model/weights/gguf.h"

/* NULL: not byte-level BPE, or the file names a pre-tokeniser that is not known. */
struct tokenizer *tokenizer_from_gguf(const struct gguf *g, struct err *e);
