/* message.c: messages from JSON. */
#include "data/message.h"
#include <stdlib.h>
#include <string.h>

const char *const role_name[] = { "system", "user", "assistant", "tool" };
enum { ROLES = sizeof role_name / sizeof *role_name };

void messages_add(struct messages *m, enum role role, const char *text)
{
    m->p = xrealloc(m->p, (size_t)(m->n + 1) * sizeof *m->p);
    m->p[m->n++] = (struct message){ role, xstrdup(text) };
}

bool messages_read(struct messages *m, const json_t *list, size_t n, const char *key, struct err *e)
{
    if (!json_is_array(list)) return fail(e, "\"%s\" must be a list of messages", key);
    for (size_t k = 0; k < n; k++) {
        const json_t *one = json_array_get(list, k);
        const char *role = json_string_value(json_object_get(one, "role")), *text = json_string_value(json_object_get(one, "content"));
        int r = 0;
        if (!role) return fail(e, "message %zu of \"%s\" must have \"role\" and \"content\", both strings", k, key);
        while (r < ROLES && strcmp(role, role_name[r])) r++;
        if (r == ROLES) return fail(e, "message %zu of \"%s\": no role \"%.40s\" is known; there are system, user, assistant and tool", k, key, role);
        if (!text && json_object_get(one, "tool_calls"))
            return fail(e, "message %zu of \"%s\" has \"tool_calls\" and no content: put the call into \"content\", as the model is to write it", k, key);
        if (!text) return fail(e, "message %zu of \"%s\" must have \"role\" and \"content\", both strings", k, key);
        messages_add(m, (enum role)r, text);
    }
    return true;
}

void messages_free(struct messages *m)
{
    for (int k = 0; k < m->n; k++) free(m->p[k].text);
    free(m->p);
    *m = (struct messages){ 0 };
}
