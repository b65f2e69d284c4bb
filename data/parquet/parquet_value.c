/* parquet_value.c: a decoded value as JSON. A value that JSON cannot hold exactly is not rounded: it becomes an odd
 * value, rejected where it is used. */
#include "data/parquet/parquet_in.h"
#include "base/json_partial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *text(const char *p, size_t n)
{
    json_t *s = n && memchr(p, 0, n) ? NULL : json_stringn(n ? p : "", n);
    return s ? s : odd_make("a text that is not UTF-8 or holds a zero byte", false);
}

/* days since 1970-01-01, proleptic Gregorian (Hinnant, "chrono-compatible low-level date algorithms") */
static json_t *date(int64_t days)
{
    char out[32];
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100),
            mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9,
            year = yoe + era * 400 + (month <= 2);
    snprintf(out, sizeof out, "%04lld-%02d-%02d", (long long)year, (int)month, (int)day);
    return json_string(out);
}

/* The unscaled number of a DECIMAL: an integer, or big-endian two's complement. */
static bool unscaled(const struct pq_leaf *c, const struct pq_value *v, __int128 *x)
{
    *x = v->i;
    if (c->type != PQ_BYTES && c->type != PQ_FIXED) return true;
    if (v->n == 0 || v->n > 16) return false;
    unsigned __int128 u = (uint8_t)v->p[0] & 0x80 ? ~(unsigned __int128)0 : 0;
    for (size_t k = 0; k < v->n; k++) u = u << 8 | (uint8_t)v->p[k];
    *x = (__int128)u;
    return true;
}

/* A JSON number if it is exact or, with at most 15 digits, a double that prints the same digits; else an odd number
 * with its digits. */
static json_t *decimal(const struct pq_leaf *c, const struct pq_value *v, struct err *e)
{
    __int128 x;
    char out[64], *p = out + sizeof out;
    if (!unscaled(c, v, &x)) { fail(e, "a DECIMAL of %zu bytes", v->n); return NULL; }
    unsigned __int128 u = x < 0 ? -(unsigned __int128)x : (unsigned __int128)x;
    for (int digit = 0; digit <= c->scale || u; digit++, u /= 10) {
        if (digit == c->scale && digit > 0) *--p = '.';
        *--p = (char)('0' + (int)(u % 10));
    }
    if (x < 0) *--p = '-';
    char digits[64] = "";
    memcpy(digits, p, (size_t)(out + sizeof out - p));
    if (c->scale == 0 && x >= INT64_MIN && x <= INT64_MAX) return json_integer((json_int_t)x);
    return c->scale && x > -1000000000000000 && x < 1000000000000000 ? json_real(strtod(digits, NULL))
                                                                     : odd_make(digits, true);
}

/* IEEE binary16, little-endian; the fewest digits that identify it among its neighbours */
static json_t *half(const char *p)
{
    unsigned bits = (unsigned)(uint8_t)p[0] | (unsigned)(uint8_t)p[1] << 8, expo = bits >> 10 & 31, frac = bits & 1023;
    if (expo == 31) return json_null();
    double v = expo ? ldexp(1024 + frac, (int)expo - 25) : ldexp(frac, -24),
           step = ldexp(1, expo ? (int)expo - 25 : -24);
    for (int n = 1; v != floor(v) && n <= 17; n++) {         /* whole numbers keep their digits: 65504, not 65500 */
        char digits[32];
        snprintf(digits, sizeof digits, "%.*g", n, v);
        double back = strtod(digits, NULL);
        /* below a power of two the spacing is half as wide */
        if (fabs(back - v) < (frac ? step / 2 : step / 4)) { v = back; break; }
    }
    return json_real(bits >> 15 ? -v : v);
}

static json_t *real(const struct pq_leaf *c, double f)
{
    if (!isfinite(f)) return json_null();                   /* null, as in pandas and JSON */
    char digits[32];
    for (int n = 1; c->type == PQ_FLOAT && n <= 9 && !(floor(f) == f && fabs(f) < 1e15); n++) {
        snprintf(digits, sizeof digits, "%.*g", n, f);
        double back = strtod(digits, NULL);
        if ((double)(float)back == f) return json_real(back);
    }
    return json_real(f);
}

json_t *pq_json(const struct pq_leaf *c, const struct pq_value *v, struct err *e)
{
    if (c->meaning == PQ_TEXT) return text(v->p, v->n);
    if (c->meaning == PQ_DECIMAL) return decimal(c, v, e);
    if (c->meaning == PQ_DATE) return date(v->i);
    if (c->meaning == PQ_HALF) return half(v->p);
    if (c->type == PQ_BOOLEAN) return json_boolean(v->i);
    if (c->type == PQ_FLOAT || c->type == PQ_DOUBLE) return real(c, v->f);
    if (c->meaning != PQ_UNSIGNED) return json_integer(v->i);
    if (c->type == PQ_INT32) return json_integer((uint32_t)v->i);
    if (v->i >= 0) return json_integer(v->i);
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)v->i);
    return odd_make(digits, true);
}
