/* Bytes in JSON: text where they are UTF-8, hex where not. */
#include "cli/text_json.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void text_json_set(json_t *o, const char *key, struct str text) {
    if (utf8_valid_prefix(text.p, text.n) == text.n) {
        json_object_set_new(o, key, json_stringn_nocheck(text.p, text.n));
        return;
    }
    char hex_key[64];
    struct buf hex = {0};
    snprintf(hex_key, sizeof hex_key, "%s_hex", key);
    for (size_t i = 0; i < text.n; i++)
        buf_printf(&hex, "%02x", (unsigned)(unsigned char)text.p[i]);
    json_object_set_new(o, hex_key, json_string_nocheck(hex.p));
    buf_fini(&hex);
}

static int digit(char c) {
    const char *all = "0123456789abcdef", *at = c ? strchr(all, c | 0x20) : NULL;
    return at ? (int)(at - all) : -1;
}

static int from_hex(const char *h, size_t n, struct buf *out) {
    if (n % 2) return -1;
    for (size_t i = 0; i < n; i += 2) {
        const int hi = digit(h[i]), lo = digit(h[i + 1]);
        if (hi < 0 || lo < 0) return -1;
        buf_byte(out, (char)(hi * 16 + lo));
    }
    return 0;
}

int text_json_get(const json_t *o, const char *key, struct buf *out, struct err *e) {
    char hex_key[64];
    const json_t *s = json_object_get(o, key);
    if (json_is_string(s)) {
        buf_append(out, json_string_value(s), json_string_length(s));
        return out->failed ? err_nomem(e, key) : 0;
    }
    snprintf(hex_key, sizeof hex_key, "%s_hex", key);
    s = json_object_get(o, hex_key);
    if (!json_is_string(s) || from_hex(json_string_value(s), json_string_length(s), out) != 0)
        return err_set(e, ERR_FORMAT,
                       "\"%s\" or \"%s\" with an even number of hex digits is needed", key,
                       hex_key);
    return out->failed ? err_nomem(e, key) : 0;
}
