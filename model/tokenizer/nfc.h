/* nfc.h: Unicode normalisation form C (Unicode Standard Annex 15), which Qwen's tokenizer.json asks for. */
#pragma once
#include "base/str.h"
#include <stdbool.h>

/* True if text[n] is certainly in form C: it has no character at or above U+0300, where combining marks begin. */
bool nfc_plain(const char *text, size_t n);

/* Appends text[n] in form C. Bytes that are not UTF-8 are kept and separate the text around them. */
void nfc_put(struct str *out, const char *text, size_t n);
