/* fuzz_parquet.c: any bytes as a Parquet file, all columns and then only some; every value that it yields is a JSON
 * object, and the number of rows is bounded by the size of the file. */
#include "data/parquet/parquet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_all(const uint8_t *data, size_t n, const char *const *columns, int most)
{
    struct err e = { 0 };
    struct parquet *p = parquet_open("fuzz", data, n, columns, &e);
    json_t *row;
    int state = p ? 1 : -1;
    for (int k = 0; k < most && state == 1 && (state = parquet_next(p, &row, &e)) == 1; k++) {
        ENSURE(json_is_object(row));
        json_decref(row);
    }
    ENSURE(state >= 0 || e.text[0]);
    parquet_close(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const some[] = { "prompt", "extra_info.index", "i64", NULL };
    read_all(data, n, NULL, 3000);
    read_all(data, n, some, 300);
    return 0;
}
