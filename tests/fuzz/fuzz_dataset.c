/* fuzz_dataset.c: any bytes as a file of prompts and of conversations, through a file in memory; every accepted prompt
 * has a text and an answer, every conversation something to learn. */
#define _GNU_SOURCE
#include "data/conversations.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use(const char *path, const struct dataset_keys *key)
{
    struct dataset d = { 0 };
    struct err e = { 0 };
    bool ok = dataset_load_keys(&d, path, key, &e);
    ENSURE(ok ? d.n > 0 : e.text[0]);
    for (int k = 0; k < d.n; k++) {
        const struct prompt *s = &d.prompt[k];
        ENSURE(s->user && s->data_source && s->n_refs > 0 && s->ground_truth == s->refs[0]);
        for (int i = 0; i < s->n_refs; i++) ENSURE(strlen(s->refs[i]) < (size_t)1 << 24);
    }
    dataset_free(&d);
}

static void converse(const char *path, const struct dataset_keys *key)
{
    struct conversations d = { 0 };
    struct err e = { 0 };
    bool ok = conversations_load(&d, path, key, &e);
    ENSURE(ok ? d.n > 0 : e.text[0]);
    for (int k = 0; k < d.n; k++) {
        bool speaks = false;
        for (int i = 0; i < d.conversation[k].messages.n; i++)
            speaks = speaks ||
                     (d.conversation[k].messages.p[i].role == ROLE_ASSISTANT && d.conversation[k].messages.p[i].text);
        ENSURE(speaks && d.conversation[k].where);
    }
    conversations_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    int fd = memfd_create("fuzz", 0);
    ENSURE(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    use(path, &(struct dataset_keys){ 0 });
    use(path, &(struct dataset_keys){ .prompt = "extra_info.split", .answer = "data_source", .source = "ability" });
    converse(path, &(struct dataset_keys){ 0 });
    converse(path, &(struct dataset_keys){ .prompt = "question", .answer = "answer" });
    converse(path, &(struct dataset_keys){ .prompt = "prompt" });
    close(fd);
    return 0;
}
