/* tool_calls_in.h: what the parts of tool_calls.h share: tool_calls.c, tool_calls_cut.c, tool_calls_json.c and
 * tool_calls_turn.c. */
#pragma once
#include "engine/tools/tool_calls.h"

/* Whether a call in tags ends with text[.. end). Only a tag at or behind floor[tool] can open it. If none does,
 * floor[tool] moves to the closing tag, so that a text full of closing tags is scanned once. */
bool call_ends(struct found_call *c, const char *text, size_t end, size_t floor[TOOLS_MAX]);

#define CALL_OPEN  "<tool_call>"
#define CALL_CLOSE "</tool_call>"

/* Length of the JSON object that text[n] begins with: at most CALL_BYTES bytes, brackets at most CALL_DEPTH deep. clean
 * is emptied and gets the object with every number replaced by 0, because no number is used and JSON libraries differ
 * in which ones they accept as too large (or as NaN, which Python writes). Returns 0 if there is no object; *wrong is
 * then the error for the policy. The text between the brackets need not be JSON yet. */
size_t call_object(const char *text, size_t n, struct str *clean, const char **wrong);
