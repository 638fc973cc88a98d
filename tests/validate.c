/* See validate.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "support.h"
#include "validate.h"

#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *reason;

static bool no(const char *why) {
    reason = why;
    return false;
}

static const json_t *get(const json_t *s, const char *key) {
    return json_object_get(s, key);
}

static size_t length(const char *s) {
    size_t n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static bool finds(const char *pattern, const char *text) {
    return regex_finds(pattern, text);
}

/* ---- types ---- */

static bool is_integer(const json_t *v) {
    return json_is_integer(v) ||
           (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)));
}

static bool is_type(const json_t *v, const char *t) {
    if (strcmp(t, "integer") == 0) return is_integer(v);
    if (strcmp(t, "number") == 0) return json_is_number(v);
    if (strcmp(t, "string") == 0) return json_is_string(v);
    if (strcmp(t, "boolean") == 0) return json_is_boolean(v);
    if (strcmp(t, "null") == 0) return json_is_null(v);
    if (strcmp(t, "array") == 0) return json_is_array(v);
    return strcmp(t, "object") == 0 && json_is_object(v);
}

static bool type_ok(const json_t *type, const json_t *v) {
    const json_t *one;
    size_t i;
    if (json_is_string(type)) return is_type(v, json_string_value(type));
    json_array_foreach(type, i, one) {
        if (is_type(v, json_string_value(one))) return true;
    }
    return false;
}

static bool same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* ---- strings ---- */

bool regex_finds(const char *pattern, const char *text) {
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    pcre2_set_compile_extra_options(c, PCRE2_EXTRA_ALT_BSUX);
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, c);
    pcre2_compile_context_free(c);
    if (!re) fail_msg("pattern %s", pattern);
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(re, NULL);
    const int rc = pcre2_match(re, (PCRE2_SPTR)text, strlen(text), 0, 0, m, NULL);
    pcre2_match_data_free(m);
    pcre2_code_free(re);
    return rc >= 0;
}

static bool date_ok(const char *s) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d, n = 0;
    if (!finds("^\\d{4}-\\d\\d-\\d\\d", s) || sscanf(s, "%4d-%2d-%2d%n", &y, &m, &d, &n) != 3)
        return false;
    if (y < 1 || m < 1 || m > 12 || d < 1) return false;
    const bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return d <= days[m - 1] + (m == 2 && leap);
}

static bool time_ok(const char *s) {
    int h, m, sec, oh = 0, om = 0;
    char sign = 0;
    if (!finds("^\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?([zZ]|[+-]\\d\\d:\\d\\d)$", s)) return false;
    sscanf(s, "%2d:%2d:%2d", &h, &m, &sec);
    const char *zone = s + strcspn(s, "zZ+-");
    if (*zone == '+' || *zone == '-') sscanf(zone, "%c%2d:%2d", &sign, &oh, &om);
    return h < 24 && m < 60 && sec < 60 && oh < 24 && om < 60;
}

static bool ipv4_ok(const char *s) {
    int a, b, c, d, n = 0;
    if (!finds("^\\d{1,3}(\\.\\d{1,3}){3}$", s) || finds("(^|\\.)0\\d", s)) return false;
    return sscanf(s, "%d.%d.%d.%d%n", &a, &b, &c, &d, &n) == 4 && a < 256 && b < 256 && c < 256 &&
           d < 256;
}

static bool ipv6_ok(const char *text) {
    char s[128];
    int groups = 0, gaps = 0;
    if (strlen(text) > 100 || !finds("^[0-9a-fA-F:.]*$", text)) return false;
    strcpy(s, text);
    char *last = strrchr(s, ':');
    if (!last) return false;
    if (strchr(last, '.')) { /* as two groups */
        if (!ipv4_ok(last + 1)) return false;
        strcpy(last + 1, "0:0");
    }
    if (strchr(s, '.') || strstr(s, ":::")) return false;
    for (const char *p = strstr(s, "::"); p; p = strstr(p + 1, "::"))
        gaps++;
    if (gaps > 1 || (s[0] == ':' && s[1] != ':')) return false;
    const size_t n = strlen(s);
    if (s[n - 1] == ':' && s[n - 2] != ':') return false;
    for (char *p = s, *g; (g = strtok_r(p, ":", &p)); groups++)
        if (strlen(g) > 4) return false;
    return gaps ? groups < 8 : groups == 8;
}

static bool hostname_ok(const char *s) {
    return strlen(s) <= 253 &&
           finds("^[a-z\\d](-*[a-z\\d])*(\\.[a-z\\d](-*[a-z\\d])*)*$",
                 s) /* lower case is asked for below */
           && !finds("[^.]{64}", s);
}

static bool lower_hostname_ok(const char *s) {
    char low[300] = {0};
    if (strlen(s) >= sizeof low) return false;
    for (size_t i = 0; s[i]; i++)
        low[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    return hostname_ok(low);
}

static bool email_ok(const char *s) {
    const char *at = strrchr(s, '@');
    return at && at - s <= 64 && lower_hostname_ok(at + 1) &&
           finds("^[\\w.!#$%&'*+/=?^`{|}~-]+@", s) && !finds("^\\.|\\.\\.|\\.@", s);
}

static bool format_ok(const char *f, const char *s) {
    if (strcmp(f, "date") == 0) return date_ok(s) && strlen(s) == 10;
    if (strcmp(f, "time") == 0) return time_ok(s);
    if (strcmp(f, "date-time") == 0) return date_ok(s) && (s[10] | 32) == 't' && time_ok(s + 11);
    if (strcmp(f, "uuid") == 0)
        return finds("^[\\da-fA-F]{8}-([\\da-fA-F]{4}-){3}[\\da-fA-F]{12}$", s);
    if (strcmp(f, "ipv4") == 0) return ipv4_ok(s);
    if (strcmp(f, "ipv6") == 0) return ipv6_ok(s);
    if (strcmp(f, "hostname") == 0) return lower_hostname_ok(s);
    if (strcmp(f, "email") == 0) return email_ok(s);
    if (strcmp(f, "duration") == 0)
        return finds("^P(?=.)(\\d+W|(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+S)?)?)$",
                     s) &&
               !finds("\\dY\\d+D|\\dH\\d+S", s);
    if (strcmp(f, "uri") == 0)
        return finds("^[a-zA-Z][\\w+.-]*:", s) &&
               !finds("[^!-~]|[<>\"{}|\\\\^`]|%(?![\\da-fA-F]{2})|#.*#", s);
    if (strcmp(f, "uri-reference") == 0)
        return !finds("[^!-~]|[<>\"{}|\\\\^`]|%(?![\\da-fA-F]{2})|#.*#", s) &&
               !finds("^:|^[^a-zA-Z/#?][^/]*:", s);
    if (strcmp(f, "json-pointer") == 0) return finds("^(/([^~]|~[01])*)?$", s);
    if (strcmp(f, "byte") == 0) return finds("^[\\w+/]*={0,2}$", s) && strlen(s) % 4 == 0;
    fail_msg("format %s is unknown to the test", f);
    return false;
}

static bool string_ok(const json_t *s, const json_t *v) {
    const char *text = json_string_value(v);
    const json_t *k;
    if ((k = get(s, "minLength")) && (double)length(text) < json_number_value(k))
        return no("minLength");
    if ((k = get(s, "maxLength")) && (double)length(text) > json_number_value(k))
        return no("maxLength");
    if ((k = get(s, "pattern")) && !finds(json_string_value(k), text)) return no("pattern");
    if ((k = get(s, "format")) && !format_ok(json_string_value(k), text)) return no("format");
    return true;
}

/* ---- numbers ---- */

static bool number_ok(const json_t *s, const json_t *v) {
    const double x = json_number_value(v);
    const json_t *k;
    if ((k = get(s, "minimum")) && x < json_number_value(k)) return no("minimum");
    if ((k = get(s, "maximum")) && x > json_number_value(k)) return no("maximum");
    if ((k = get(s, "exclusiveMinimum")) && x <= json_number_value(k))
        return no("exclusiveMinimum");
    if ((k = get(s, "exclusiveMaximum")) && x >= json_number_value(k))
        return no("exclusiveMaximum");
    if ((k = get(s, "format")) && strcmp(json_string_value(k), "int32") == 0 &&
        (x < -2147483648.0 || x > 2147483647.0))
        return no("format");
    if ((k = get(s, "multipleOf"))) {
        const double q = x / json_number_value(k);
        if (fabs(q - round(q)) > 1e-9 * fmax(1, fabs(q))) return no("multipleOf");
    }
    return true;
}

/* ---- arrays ---- */

static bool array_ok(const json_t *root, const json_t *s, const json_t *v) {
    const json_t *k, *prefix = get(s, "prefixItems"), *items = get(s, "items"), *one;
    const size_t n = json_array_size(v);
    size_t i;
    if ((k = get(s, "minItems")) && (double)n < json_number_value(k)) return no("minItems");
    if ((k = get(s, "maxItems")) && (double)n > json_number_value(k)) return no("maxItems");
    json_array_foreach(v, i, one) {
        const json_t *at = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (at && !schema_valid(root, at, one, NULL)) return false;
    }
    if (json_is_true(get(s, "uniqueItems")))
        for (i = 0; i < n; i++)
            for (size_t j = i + 1; j < n; j++)
                if (same(json_array_get(v, i), json_array_get(v, j))) return no("uniqueItems");
    if ((k = get(s, "contains"))) {
        size_t found = 0;
        json_array_foreach(v, i, one) found += schema_valid(root, k, one, NULL);
        const json_t *min = get(s, "minContains"), *max = get(s, "maxContains");
        if ((double)found < (min ? json_number_value(min) : 1)) return no("contains");
        if (max && (double)found > json_number_value(max)) return no("maxContains");
    }
    return true;
}

/* ---- objects ---- */

static bool member_ok(const json_t *root, const json_t *s, const char *key, const json_t *v) {
    const json_t *own = get(get(s, "properties"), key);
    bool said = own != NULL;
    const char *pattern;
    json_t *p;
    if (own && !schema_valid(root, own, v, NULL)) return false;
    json_object_foreach((json_t *)get(s, "patternProperties"), pattern, p) {
        if (!finds(pattern, key)) continue;
        said = true;
        if (!schema_valid(root, p, v, NULL)) return false;
    }
    const json_t *more = get(s, "additionalProperties");
    return said || !more || schema_valid(root, more, v, NULL);
}

static bool object_ok(const json_t *root, const json_t *s, const json_t *v) {
    const size_t n = json_object_size(v);
    const json_t *k, *list, *one;
    const char *key;
    json_t *m;
    size_t i;
    if ((k = get(s, "minProperties")) && (double)n < json_number_value(k))
        return no("minProperties");
    if ((k = get(s, "maxProperties")) && (double)n > json_number_value(k))
        return no("maxProperties");
    json_array_foreach(get(s, "required"), i, one) {
        if (!get(v, json_string_value(one))) return no("required");
    }
    json_object_foreach((json_t *)get(s, "dependentRequired"), key, m) {
        list = m;
        json_array_foreach(list, i, one) {
            if (get(v, key) && !get(v, json_string_value(one))) return no("dependentRequired");
        }
    }
    json_object_foreach((json_t *)v, key, m) {
        json_t *name = json_string(key);
        const bool named = !(k = get(s, "propertyNames")) || schema_valid(root, k, name, NULL);
        json_decref(name);
        if (!named || !member_ok(root, s, key, m)) return false;
    }
    return true;
}

/* ---- the rest ---- */

static bool choices_ok(const json_t *root, const json_t *s, const json_t *v) {
    const json_t *one;
    size_t i, n = 0;
    json_array_foreach(get(s, "allOf"), i, one) {
        if (!schema_valid(root, one, v, NULL)) return false;
    }
    json_array_foreach(get(s, "anyOf"), i, one) n += schema_valid(root, one, v, NULL);
    if (get(s, "anyOf") && !n) return no("anyOf");
    n = 0;
    json_array_foreach(get(s, "oneOf"), i, one) n += schema_valid(root, one, v, NULL);
    return !get(s, "oneOf") || n == 1 || no("oneOf");
}

static const json_t *target(const json_t *root, const char *ref) {
    char path[200], *rest = path, *key;
    assert_true(ref[0] == '#' && strlen(ref) < sizeof path);
    strcpy(path, ref + 1);
    while (root && (key = strtok_r(rest, "/", &rest)))
        root = get(root, key);
    assert_non_null(root);
    return root;
}

static bool enum_ok(const json_t *s, const json_t *v) {
    const json_t *one;
    size_t i;
    bool found = !get(s, "enum");
    json_array_foreach(get(s, "enum"), i, one) found = found || same(one, v);
    if (!found) return no("enum");
    return !get(s, "const") || same(get(s, "const"), v) || no("const");
}

bool schema_valid(const json_t *root, const json_t *s, const json_t *v, const char **why) {
    bool ok = true;
    if (json_is_true(s)) return true;
    if (json_is_false(s))
        ok = no("false");
    else if (get(s, "type") && !type_ok(get(s, "type"), v))
        ok = no("type");
    else if (get(s, "$ref") &&
             !schema_valid(root, target(root, json_string_value(get(s, "$ref"))), v, NULL))
        ok = false;
    else if (!enum_ok(s, v) || !choices_ok(root, s, v))
        ok = false;
    else if (json_is_string(v))
        ok = string_ok(s, v);
    else if (json_is_number(v))
        ok = number_ok(s, v);
    else if (json_is_array(v))
        ok = array_ok(root, s, v);
    else if (json_is_object(v))
        ok = object_ok(root, s, v);
    if (why) *why = ok ? NULL : reason;
    return ok;
}
