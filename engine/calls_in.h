/* calls_in.h: what the files of engine/calls*.c share. */
#pragma once
#include "engine/calls.h"

/* Does a call in tags end with text[.. end)? No tag before floor[tool] opens it; where none opens it, floor[tool] rises to the closing tag, so that a text full
 * of closing tags is looked through once. */
bool call_ends(struct found_call *c, const char *text, size_t end, size_t floor[TOOLS]);

static inline bool call_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
