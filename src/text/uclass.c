/* Character classes, from utf8proc's categories. */
#include "text/uclass.h"

#include <utf8proc.h>

static bool category_in(uint32_t cp, utf8proc_category_t lo, utf8proc_category_t hi) {
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= lo && c <= hi;
}

bool uclass_is_number(uint32_t cp) {
    if (cp < 0x80) return cp >= '0' && cp <= '9';
    return category_in(cp, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool uclass_is_blank(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= '\t' && cp <= '\r');
    return cp == 0x85 || category_in(cp, UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZP);
}

bool uclass_is_control(uint32_t cp) {
    return category_in(cp, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO);
}

bool uclass_is_mark(uint32_t cp) {
    return category_in(cp, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool uclass_is_punct(uint32_t cp) {
    return category_in(cp, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool uclass_is_symbol(uint32_t cp) {
    return category_in(cp, UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO);
}

bool uclass_is_cjk(uint32_t cp) {
    static const struct {
        uint32_t lo, hi;
    } range[] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
        {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, /* 2b820 in the paper's code, 2b920 in use */
        {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };
    for (unsigned i = 0; i < sizeof range / sizeof *range; i++)
        if (cp >= range[i].lo && cp <= range[i].hi) return true;
    return false;
}

uint32_t uclass_lower(uint32_t cp) {
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

uint32_t uclass_base(uint32_t cp) {
    if (cp < 0xc0) return cp;
    utf8proc_int32_t out[32];
    int boundary = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, out, 32, UTF8PROC_DECOMPOSE, &boundary);
    return n > 0 && n <= 32 ? (uint32_t)out[0] : cp;
}
