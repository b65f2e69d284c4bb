/* thrift.c: the compact protocol. Unwanted values are skipped with a stack of fixed depth. Every item of a list takes
 * at least one byte, so a count beyond the bytes left is a fault. */
#include "data/parquet/thrift.h"

static uint64_t wrong(struct thrift *t, const char *why)
{
    if (!t->fault) t->fault = why;
    return 0;
}

static const uint8_t *take(struct thrift *t, uint64_t n)
{
    if (t->fault) return NULL;
    if (n > (uint64_t)(t->end - t->p)) { wrong(t, "ends in the middle of a value"); return NULL; }
    t->p += n;
    return t->p - n;
}

static uint64_t varint(struct thrift *t)
{
    uint64_t x = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t *b = take(t, 1);
        if (!b) return 0;
        if (shift == 63 && *b > 1) break;
        x |= (uint64_t)(*b & 127) << shift;
        if (*b < 128) return x;
    }
    return wrong(t, "a number of more than 64 bits");
}

static int64_t zigzag(struct thrift *t)
{
    uint64_t x = varint(t);
    return (int64_t)(x >> 1) ^ -(int64_t)(x & 1);
}

bool thrift_next(struct thrift *t, struct thrift_field *f)
{
    const uint8_t *b = take(t, 1);
    if (!b || *b == 0) return false;
    int64_t id = *b >> 4 ? f->id + (*b >> 4) : zigzag(t);
    f->type = *b & 15;
    if (f->type == 0 || f->type > THRIFT_STRUCT) wrong(t, "a field of no known type");
    else if (id <= f->id || id > INT16_MAX) wrong(t, "field numbers that do not rise");
    else f->id = (int)id;
    return !t->fault;
}

int64_t thrift_int(struct thrift *t, int type)
{
    if (type == THRIFT_I8) {
        const uint8_t *b = take(t, 1);
        return b ? (int8_t)*b : 0;
    }
    if (type < THRIFT_I16 || type > THRIFT_I64) return (int64_t)wrong(t, "a field that should be a number is not");
    return zigzag(t);
}

bool thrift_bool(struct thrift *t, int type)
{
    if (type != THRIFT_TRUE && type != THRIFT_FALSE) return wrong(t, "a field that should be true or false is not");
    return type == THRIFT_TRUE;
}

const char *thrift_text(struct thrift *t, int type, size_t *n)
{
    *n = 0;
    if (type != THRIFT_BINARY) { wrong(t, "a field that should be text is not"); return ""; }
    uint64_t size = varint(t);
    const uint8_t *p = take(t, size);
    if (!p) return "";
    *n = (size_t)size;
    return (const char *)p;
}

/* the head of a list or set */
static int64_t list_head(struct thrift *t, int *of)
{
    const uint8_t *b = take(t, 1);
    if (!b) return 0;
    uint64_t n = *b >> 4 == 15 ? varint(t) : *b >> 4;
    *of = *b & 15;
    if (n > 0 && (*of == 0 || *of > THRIFT_STRUCT)) return (int64_t)wrong(t, "a list of no known type");
    if (n > (uint64_t)(t->end - t->p)) return (int64_t)wrong(t, "a list that claims more items than bytes are left");
    return t->fault ? 0 : (int64_t)n;
}

int64_t thrift_list(struct thrift *t, int type, int of)
{
    int have = 0;
    if (type != THRIFT_LIST) return (int64_t)wrong(t, "a field that should be a list is not");
    int64_t n = list_head(t, &have);
    if (n > 0 && have != of) return (int64_t)wrong(t, "a list of another type than it should be");
    return n;
}

void thrift_struct(struct thrift *t, int type)
{
    if (type != THRIFT_STRUCT) wrong(t, "a field that should be a struct is not");
}

/* the value being skipped: a struct, or `left` items whose types alternate (a map has keys and values) */
struct open { struct thrift_field f; bool is_struct; int64_t left; int of[2]; };

static struct open open_value(struct thrift *t, int type)
{
    struct open o = { .is_struct = type == THRIFT_STRUCT };
    if (type == THRIFT_LIST || type == THRIFT_SET) {
        o.left = list_head(t, &o.of[0]);
        o.of[1] = o.of[0];
    } else if (type == THRIFT_MAP) {
        uint64_t n = varint(t);
        const uint8_t *b = n ? take(t, 1) : NULL;
        if (n > (uint64_t)(t->end - t->p)) wrong(t, "a map that claims more items than bytes are left");
        else if (b) o = (struct open){ .left = 2 * (int64_t)n, .of = { *b & 15, *b >> 4 } };
    }
    return o;
}

static void skip_plain(struct thrift *t, int type, bool is_item)
{
    size_t n;
    switch (type) {
    /* a boolean field's type is its value */
    case THRIFT_TRUE: case THRIFT_FALSE: if (is_item) take(t, 1); break;
    case THRIFT_I8: take(t, 1); break;
    case THRIFT_I16: case THRIFT_I32: case THRIFT_I64: varint(t); break;
    case THRIFT_DOUBLE: take(t, 8); break;
    case THRIFT_BINARY: thrift_text(t, type, &n); break;
    default: wrong(t, "a value of no known type"); break;
    }
}

void thrift_skip(struct thrift *t, int type)
{
    struct open stack[32];
    int depth = 0;
    bool is_item = false;
    for (;;) {
        if (type < THRIFT_LIST) skip_plain(t, type, is_item);
        else if (depth == 32) wrong(t, "values nested more than 32 deep");
        else stack[depth++] = open_value(t, type);
        struct open *o = NULL;
        while (depth > 0 && !t->fault) {
            o = &stack[depth - 1];
            if (o->is_struct ? thrift_next(t, &o->f) : o->left > 0) break;
            depth--;
        }
        if (depth == 0 || t->fault) return;
        is_item = !o->is_struct;
        type = o->is_struct ? o->f.type : o->of[o->left-- % 2];             /* an even number is left before a key */
        if (is_item && type > THRIFT_STRUCT) wrong(t, "a value of no known type");
    }
}
