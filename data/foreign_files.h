/* foreign_files.h: recognises common files that are not data. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* What the n bytes are and how to fix it, a text to follow a file's name and a colon; NULL: nothing known. */
const char *foreign_is(const char *p, size_t n);
/* True when records cannot begin like this: no '{', no '[', no JSON value. */
bool foreign_text(const char *p, size_t n);
