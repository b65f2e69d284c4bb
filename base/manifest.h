/* manifest.h: the list of a folder's files with their sizes and checksums, in the folder itself as the file "manifest":
 *   manifest 1
 *   0123456789abcdef 1234 actor/optimizer.safetensors       XXH64, bytes, name; in the order of names
 *   ...
 *   fedcba9876543210                                        XXH64 of all lines before */
#pragma once
#include "base/err.h"

/* Lists every plain file below dir; what is there must be whole and is read once. False: something cannot be read or
 * written. */
bool manifest_write(const char *dir, struct err *e);
/* Is everything that the manifest names there and as it was? contents false: names and sizes only. Files that it does
 * not name do not count. False: the sentence names the damaged file; no manifest is such a file too. */
bool manifest_check(const char *dir, bool contents, struct err *e);
/* Removes what the manifest names, the manifest and the folders that are empty then. True: dir is gone; false: it has
 * other files, or no manifest that can be read. */
bool manifest_remove(const char *dir);
