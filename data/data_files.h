/* data_files.h: the files that data.train_files and data.val_files name. */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* note: which files a folder or pattern stands for, a line each; "" where every name was a file's. Start with { 0 }. */
struct data_files { char **path; int n, cap; struct str note; };

/* Appends what a list says, commas between its items, blanks around them of no account, as Python or YAML write it too
 * (['a', "b"]). An item is a file, a folder (the data files in it) or a pattern with * ? [ ] (its files); files of one
 * item are sorted by the bytes of their names. False, named: no such file, a folder without data, with files of two
 * kinds or with those for training beside those for tests. An empty list has no files. */
bool data_files_find(struct data_files *f, const char *list, struct err *e);
void data_files_free(struct data_files *f);
