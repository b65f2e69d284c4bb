/* manifest.h: the list of a folder's files with their sizes and checksums, in the folder itself as the file "manifest":
 *   manifest 1
 *   0123456789abcdef 1234 actor/optimizer.safetensors       XXH64, bytes, name; in the order of names
 *   ...
 *   fedcba9876543210                                        XXH64 of all lines before */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* Lists every plain file below dir. All files must be complete; each is read once. False: a file cannot be read, or the
 * manifest not written. */
bool manifest_write(const char *dir, struct err *e);
/* The same in two parts, for a folder that several processes fill: the lines of a file or folder (its plain files)
 * below dir, added to `lines`; and the manifest of all lines, in any order. */
bool manifest_add(const char *dir, const char *name, struct str *lines, struct err *e);
bool manifest_put(const char *dir, const char *lines, struct err *e);
/* True: every file of the manifest exists and is unchanged. contents false: only names and sizes are compared. Files
 * that the manifest does not list are ignored. False: the message names the damaged file; a missing manifest counts as
 * one. */
bool manifest_check(const char *dir, bool contents, struct err *e);
/* Removes the files that the manifest lists, the manifest, and the folders that are empty then. True: dir is gone;
 * false: it holds other files, or no readable manifest. */
bool manifest_remove(const char *dir);
