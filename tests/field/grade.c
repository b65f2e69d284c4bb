/* grade.c: the reward of a rollout. `grade response ANSWER <TEXT`: a response in tags, with results between "
 * <result>\n" and "\n</result>", graded as mathematics by reward.kind=exact. `grade dump FILE`: counts the records of a
 * rollout dump whose own tokens (mask 1) are well formed and end in \boxed{} with the right answer, but whose score is
 * -1. */
#define _GNU_SOURCE     /* memmem */
#include "data/grade/reward.h"
#include "engine/train/grade.h"
#include "base/json.h"
#include "tests/engine/tools/two_tools.h"
#include "tests/data/grade/two_tags.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct trajectory *r, const struct session *s, const char *p, size_t n, bool own)
{
    struct ids x = { 0 };
    if (!own) tools_result_ids(s->tok, &x, p, n, -1, 1 << 20);
    else if (!tokenizer_encode(s->tok, &x, p, n, true)) die("the text cannot be encoded");
    for (int i = 0; i < x.n; i++) sequence_put(&r->seq, x.p[i], own, 0, 0);
    r->seq.calls_by[TOOL_SEARCH] += !own;
    ids_free(&x);
}

static int response(struct session *s, char *answer)
{
    static char text[1 << 20];
    static const char before[] = RESULT_BEFORE, after[] = RESULT_AFTER;
    struct trajectory r = { 0 };
    struct prompt sample = { .ability = (char *)(uintptr_t)"math", .refs = &answer, .n_refs = 1 };
    struct group g = { .prompt = { .from_data = &sample } };
    const char *p = text, *end = text + fread(text, 1, sizeof text, stdin), *b, *e;
    sequence_begin(&r.seq, (int[]){ 0 }, 1);
    for (; (b = memmem(p, (size_t)(end - p), before, sizeof before - 1)) &&
           (e = memmem(b, (size_t)(end - b), after, sizeof after - 1));
         p = e + sizeof after - 1) {
        put(&r, s, p, (size_t)(b - p), true);
        put(&r, s, b + sizeof before - 1, (size_t)(e - b) - (sizeof before - 1), false);
    }
    put(&r, s, p, (size_t)(end - p), true);
    sequence_put(&r.seq, s->chat.end, true, 0, 0);
    r.seq.finish = FINISH_END;
    trajectory_grade(&g, &r, s);
    printf("score %g\n", r.seq.reward);
    return 0;
}

/* The text of the last \boxed{}, white space stripped. */
static void last_box(const struct str *text, struct str *box)
{
    const char *last = NULL;
    str_clear(box);
    for (const char *p = text->p; (p = strstr(p, "\\boxed{")); p++) last = p + strlen("\\boxed{");
    if (!last) return;
    last += strspn(last, " \n");
    size_t n = strcspn(last, "}");
    while (n && strchr(" \n", last[n - 1])) n--;
    str_put(box, last, n);
}

static int dump(struct session *s, const char *path)
{
    FILE *f = fopen(path, "r");
    struct str text = { 0 }, box = { 0 };
    int rows = 0, right = 0, lost = 0;
    json_error_t why;
    json_t *row;
    if (!f) die("%s cannot be read", path);
    for (; (row = json_loadf(f, JSON_DISABLE_EOF_CHECK, &why)); json_decref(row), rows++) {
        const json_t *ids = json_object_get(row, "ids"), *mask = json_object_get(row, "mask");
        size_t from = (size_t)json_integer_value(json_object_get(row, "prompt_len"));
        str_clear(&text);
        for (size_t i = from; i < json_array_size(ids); i++) {
            int id = (int)json_integer_value(json_array_get(ids, i));
            if (json_integer_value(json_array_get(mask, i))) tokenizer_decode(s->tok, &text, &id, 1, true);
            else if (json_integer_value(json_array_get(mask, i - 1))) str_puts(&text, RESULT_BEFORE RESULT_AFTER);
        }
        last_box(&text, &box);
        const char *gts = json_string_value(json_object_get(row, "gts"));
        if (!gts || strcmp(box.p, gts) || reward_format(text.p, text.n, &two_tags)) continue;
        right++;
        lost += json_number_value(json_object_get(row, "score")) < 0;
    }
    fclose(f);
    printf("rows %d right %d lost %d\n", rows, right, lost);
    return rows == 0;
}

int main(int argc, char **argv)
{
    struct config c;
    struct err e;
    struct session s = { .c = &c };
    config_init(&c);
    s.tok = tokenizer_open("policy", &e);
    if (argc != 3 || !config_set(&c, "reward.kind", "exact", "grade", &e) || !s.tok ||
        !chat_open(&s.chat, s.tok, "policy", "auto", &e) || !call_form_open(&s.form, CALLS_TAGS, &s.chat, &e))
        die("usage: grade response ANSWER | grade dump FILE, in the repository root");
    return strcmp(argv[1], "dump") ? response(&s, argv[2]) : dump(&s, argv[2]);
}
