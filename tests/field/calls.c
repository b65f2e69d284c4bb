/* calls.c: prints the calls of a turn on stdin, one a line: "python: QUERY", "search: QUERY" or "wrong: MESSAGE".
 * `calls hermes|llama3_json <TURN` */
#include "tests/engine/tools/turn_format.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char text[1 << 20];
    struct tokenizer *t = turny_tokenizer(TURNY_TOKENS);
    struct chat c;
    struct call_form f;
    struct turn_calls x = { 0 };
    bool llama = argc > 1 && !strcmp(argv[1], "llama3_json");
    turny_open(&f, &c, t, llama ? "llama3.1" : "qwen3", llama ? CALLS_LLAMA3_JSON : CALLS_HERMES);
    size_t n = fread(text, 1, sizeof text, stdin);
    turn_calls_find(&x, &f, text, n);
    for (int k = 0; k < x.n; k++)
        printf("%s: %s\n", x.p[k].wrong ? "wrong" : tool_name(x.p[k].tool),
               x.p[k].wrong ? x.p[k].wrong : x.p[k].query.p);
    printf("%d calls\n", x.n);
    return 0;
}
