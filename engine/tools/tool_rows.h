/* tool_rows.h: what the rest of the program reads out of the table of tools: names, row numbers, declarations, tags. */
#pragma once
#include "engine/tools/tool_table.h"

/* False: a row lacks something, the run function above all, or two rows share a name or a tag; e names the tool. */
bool tool_table_check(const struct tool_table *t, struct err *e);
/* Row number, or TOOL_NONE. */
int tool_by_name(const char *name);
/* The row of a call; NULL: TOOL_NONE. */
const struct tool *tool_row(int tool);
/* "none" for TOOL_NONE */
const char *tool_name(int tool);
/* Appends the declarations of all tools, a JSON list, as a chat template takes it. */
void tools_declare(struct str *out);
/* Appends the names: "python and search". */
void tools_list(struct str *out);
void tools_tags(struct tool_tags *tags);
