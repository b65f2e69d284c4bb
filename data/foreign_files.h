/* foreign_files.h: files that are often found where data should be. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* What the n bytes are and what to do about it, to stand behind a file's name and a colon; NULL: nothing known here. */
const char *foreign_is(const char *p, size_t n);
/* True when rows cannot begin like this: no '{', no '[', no JSON value. */
bool foreign_text(const char *p, size_t n);
