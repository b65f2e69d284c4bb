/* two_tags.h: the tags of the program's tools, as graders take them. */
#pragma once
#include "data/grade/tool_tags.h"

static const struct tool_tags two_tags = {
    .p = { { "<python>", "</python>", true }, { "<search>", "</search>", true } }, .n = 2
};
