/* json.c: jansson's parser with this project's error messages. */
#include "base/json.h"
#include <string.h>

/* the largest vocabularies in use come to 2 million; a tree of so many takes a gigabyte at most */
enum { VALUES_MAX = 1 << 23 };

/* Every value but the first of a bracket has a comma before it; members of an object are two to a comma. */
static size_t count_values(const char *text, size_t n)
{
    size_t values = 1;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '"') inside = !inside;
        else if (inside) i += c == '\\';                   /* what is escaped ends nothing */
        else values += c == ',' || c == '[' || c == '{';
    }
    return values;
}

json_t *json_from_with(const char *name, const char *text, size_t n, size_t flags, struct err *e)
{
    json_error_t why;
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) { text += 3; n -= 3; }           /* a byte order mark */
    if (n > VALUES_MAX && count_values(text, n) > VALUES_MAX) {
        fail(e, "%s: more than %d values in one JSON text", name, VALUES_MAX);
        return NULL;
    }
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, &why);
    if (!j) fail(e, "%s: not JSON: line %d, column %d: %s", name, why.line, why.column, why.text);
    return j;
}

json_t *json_from(const char *name, const char *text, size_t n, struct err *e)
{
    return json_from_with(name, text, n, 0, e);
}
