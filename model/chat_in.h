/* chat_in.h: the parts of the chat code: chat_find.c brings the template, chat_template.c recognises it, chat_json.c writes JSON as templates do, chat.c
 * writes conversations. */
#pragma once
#include "base/str.h"
#include "model/chat.h"

/* Appends the chat template that comes with the model at path. *found false: there is none. */
bool chat_find(const char *path, struct str *out, bool *found, struct err *e);

/* What template text[n] renders, by its family's marks. False: it does something that this program does not write; the sentence says what. */
bool chat_recognise(struct chat_variant *v, const char *text, size_t n, struct err *e);

/* Appends JSON text[n] as Python's json.dumps(x, ensure_ascii=False, indent=indent) spaces and escapes it; indent 0: one line with ", " and ": ". Numbers
 * stay as they are written. The text must be valid JSON. */
void chat_json(struct str *out, const char *text, size_t n, int indent);
/* Appends text[n] as a JSON string in the same manner. */
void chat_json_string(struct str *out, const char *text, size_t n);

/* Literals that templates, their writer and their recogniser share. */
#define CHAT_TOOLS_HEAD "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within " \
                        "<tools></tools> XML tags:\n<tools>"
#define CHAT_TOOLS_TAIL "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n" \
                        "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
#define CHAT_GIVEN_1 "Given the following functions, please respond with a JSON for a function call "
#define CHAT_GIVEN_2 "with its proper arguments that best answers the given prompt.\n\n"
#define CHAT_GIVEN_3 "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}."
#define CHAT_GIVEN_4 "Do not use variables.\n\n"
#define CHAT_CUTOFF "Cutting Knowledge Date: December 2023\n"
