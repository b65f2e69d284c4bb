/* byte_alphabet.h: the byte alphabet of GPT-2 (bytes_to_unicode in its encoder.py): each byte has one printable
 * character, so that tokens are JSON strings. */
#pragma once
#include "base/str.h"
#include <stdbool.h>

/* Appends the characters of bytes[n], in UTF-8. */
void alphabet_put(struct str *out, const char *bytes, size_t n);

/* Appends the bytes that text[n] stands for. False, out as it was: text holds a character that is not in the alphabet
 * (a space, for one). */
bool alphabet_get(struct str *out, const char *text, size_t n);
