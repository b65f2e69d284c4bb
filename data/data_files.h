/* data_files.h: the files that data.train_files and data.val_files name. */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* Start with { 0 }. */
struct data_files {
    char **path;
    int n, cap;
    struct str note;            /* for each folder or pattern, a line with its files; "" if every item was a file */
};

/* Appends the files of a list: items separated by commas, blanks around them ignored, also as Python or YAML write it
 * (['a', "b"]). An item is a file, a folder (the data files in it) or a pattern with * ? [ ] (its files); the files of
 * one item are sorted by the bytes of their names. False, and named: no such file, or a folder without data, with files
 * of two kinds, or with both training and test files. An empty list has no files. */
bool data_files_find(struct data_files *f, const char *list, struct err *e);
void data_files_free(struct data_files *f);
