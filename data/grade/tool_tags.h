/* tool_tags.h: the tags in which a policy writes its calls of tools, as the graders take them. The tools themselves are
 * the engine's. */
#pragma once
#include <stdbool.h>

enum { TOOL_TAGS_MAX = 16 };
struct tool_tag {
    const char *open;               /* "<search>" */
    const char *close;              /* "</search>" */
    bool bonus;                     /* an answer earns the tool bonus if it called every tool marked so */
};
struct tool_tags {
    struct tool_tag p[TOOL_TAGS_MAX];
    int n;
};
