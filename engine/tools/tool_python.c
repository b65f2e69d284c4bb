/* tool_python.c: the tool python: the calculator of data/tasks/calc.h. Prompts of the embedded tasks get its small
 * limits. */
#include "engine/tools/tool_table_in.h"
#include "data/tasks/calc.h"

tool_function tool_python;

void tool_python(const struct tool_env *env, const struct tool_caller *who, const char *query, size_t n,
                 struct str *out)
{
    (void)env;
    calc_run(out, query, n, who->scope ? &calc_embedded : &calc_default);
}
