/* fuzz_manifest.c: any bytes as the lines of a checkpoint's manifest, with and without a matching checksum: rejected
 * with a message or checked; nothing outside the folder is ever removed. */
#include "base/dir.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/manifest.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char root[64], dir[80], outside[80];

static void clear(void) { dir_remove(root); }

static void begin(void)
{
    struct err e;
    if (!*dir) {
        snprintf(root, sizeof root, "/tmp/fuzz-manifest-XXXXXX");
        ENSURE(mkdtemp(root));
        atexit(clear);
        snprintf(dir, sizeof dir, "%s/d", root);
        snprintf(outside, sizeof outside, "%s/outside", root);
        ENSURE(file_write(outside, "x", 1, &e));
    }
    ENSURE(mkdir(dir, 0777) == 0 || file_exists(dir));
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[96];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ENSURE(file_write(path, bytes, n, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = { 0 };
    struct err e = { "" };
    begin();
    put("a", "1", 1);
    str_puts(&text, "manifest 1\n");
    str_put(&text, (const char *)data, n);
    bool fits = n && data[0] != '!';
    str_printf(&text, "%016llx\n", (unsigned long long)(fits ? hash_of(text.p, text.n) : 0));
    put("manifest", text.p, text.n);
    ENSURE(manifest_check(dir, true, &e) || *e.text);
    manifest_remove(dir);
    ENSURE(file_exists(outside));
    str_free(&text);
    return 0;
}
