/* tool_table.c: the table of tools, and nothing else: a test can link its own in place of this file. */
#include "engine/tools/tool_table.h"

/* each in its file, tool_NAME.c */
extern tool_function tool_python, tool_search;

static const struct tool rows[] = {
    {
        .name = "python",
        .open = "<python>",
        .close = "</python>",
        .description = "Evaluates Python arithmetic: assignments and expressions, and print() of them. Returns what is "
                       "printed, or the value of the last expression.",
        .argument = "code",
        .argument_description = "The Python code to evaluate.",
        .run = tool_python,
        .in_process = true,
        .bonus = true,
    },
    {
        .name = "search",
        .open = "<search>",
        .close = "</search>",
        .description = "Searches for pages about a topic and returns the best matches.",
        .argument = "query",
        .argument_description = "What to search for.",
        .run = tool_search,
        .in_process = true,
        .recorded = true,
        .bonus = true,
    },
};

const struct tool_table tool_table = { rows, sizeof rows / sizeof *rows };
