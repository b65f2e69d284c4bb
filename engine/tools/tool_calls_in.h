/* tool_calls_in.h: what the parts of tool_calls.h share: tool_calls.c, tool_calls_cut.c, tool_calls_json.c and
 * tool_calls_turn.c. */
#pragma once
#include "engine/tools/tool_calls.h"

/* Does a call in tags end with text[.. end)? No tag before floor[tool] opens it; where none opens it, floor[tool] rises
 * to the closing tag, so that a text full of closing tags is looked through once. */
bool call_ends(struct found_call *c, const char *text, size_t end, size_t floor[TOOLS_MAX]);

#define CALL_OPEN  "<tool_call>"
#define CALL_CLOSE "</tool_call>"

/* How many bytes of text[n] the JSON object is that it begins with, at most CALL_BYTES of them, brackets at most
 * CALL_DEPTH deep. clean, which is emptied, gets it with every number replaced by 0: none of them is read, and what one
 * library calls too large (or NaN, which Python writes) another lets pass. 0: text does not begin with one; *wrong says
 * why, in a sentence for the policy. What is between the brackets need not be JSON yet. */
size_t call_object(const char *text, size_t n, struct str *clean, const char **wrong);

