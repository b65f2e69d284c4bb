/* hf_ids.c: the ids that the tokenizers library gives the added tokens of a tokenizer.json, after its source
 * (added_vocabulary.rs, add_tokens) and without any code of model/: the id in model.vocab if the text is there, else
 * one more than the largest added so far, starting at the size of the vocabulary. The library ignores "id"; this
 * program compares it, because a file in which the two differ means different things to two readers. hf_ids
 * TOKENIZER.JSON prints lines "ID TEXT"; exit 1 if an "id" differs or occurs twice. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    json_error_t e;
    json_t *root = argc == 2 ? json_load_file(argv[1], 0, &e) : NULL, *added = json_object_get(root, "added_tokens"),
           *a, *v;
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_int_t size = (json_int_t)json_object_size(vocab), max = -1;
    size_t i;
    int wrong = !root || !size;
    char *taken = calloc(1 << 22, 1);
    const char *key;
    json_object_foreach(vocab, key, v) {
        json_int_t id = json_integer_value(v);
        if (id < 0 || id >= 1 << 22 || taken[id]++) {
            printf("id %lld of model.vocab is there twice or out of range\n", (long long)id);
            wrong = 1;
        }
    }
    json_array_foreach(added, i, a) {
        const char *text = json_string_value(json_object_get(a, "content"));
        json_int_t said = json_integer_value(json_object_get(a, "id")), id;
        json_t *known = json_object_get(vocab, text);
        if (known) id = json_integer_value(known);
        else id = max >= size ? max + 1 : size;
        if (id > max) max = id;
        printf("%lld %s\n", (long long)id, text);
        if (id != said) { printf("the file says %lld\n", (long long)said); wrong = 1; }
    }
    free(taken);
    json_decref(root);
    return wrong;
}
