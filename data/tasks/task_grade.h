/* task_grade.h: the exact grader of the embedded tasks. */
#pragma once
#include "data/grade/tool_tags.h"
#include "data/tasks/task.h"

/* Grades a whole response, without the end token and with tool results, whose text is ignored (training leaves them
 * empty). A well-formed response is exactly
 *   (<think>T</think> (<python>T</python> | <search>T</search> | ...) " <result>\n" any "\n</result>")*
 *   <think>T</think><answer>\boxed{T}</answer>
 * where T holds no '<' or '>' (and no '{' or '}' in the box); white space around the box is allowed. correct implies
 * well_formed: the text in the box, white space stripped, equals q->answer byte for byte. response may hold any
 * bytes. */
struct task_grade { bool well_formed, correct; };
struct task_grade task_grade(const struct task *q, const char *response, size_t n, const struct tool_tags *tools);
