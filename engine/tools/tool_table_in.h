/* tool_table_in.h: what the file of a tool includes. Each tool_*.c that is no module with a header of its own
 * (tool_python.c, tool_search.c, ...) holds the run function of one row of the table. */
#pragma once
#include "engine/tools/tool_pool.h"
#include "engine/tools/tool_table.h"
