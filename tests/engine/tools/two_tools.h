/* two_tools.h: the rows of the program's table of tools, by name; test_tool_table.c compares them with the table. */
#pragma once
#include "engine/tools/tool_rows.h"

enum { TOOL_PYTHON, TOOL_SEARCH, TOOLS };
#define CALL_UNKNOWN "error: there is no such tool; there are python and search"
