/* See text.h. */
#include "cli/text.h"

#include <math.h>

#include "base/utf8.h"

void text_escape(struct buf *out, struct str s, bool lines) {
    for (size_t i = 0; i < s.n;) {
        const int len = utf8_printable(s.p + i, s.n - i);
        const char c = s.p[i];
        if (len)
            buf_append(out, s.p + i, (size_t)len);
        else if (c == '\n' || c == '\t')
            buf_str(out, lines ? (c == '\n' ? "\n" : "\t") : (c == '\n' ? "\\n" : "\\t"));
        else
            buf_printf(out, "\\x%02x", (unsigned char)c);
        i += len ? (size_t)len : 1;
    }
}

void text_count(struct buf *out, double n) {
    static const struct {
        double scale;
        char letter;
        int decimals;
    } unit[] = {{1e9, 'B', 1}, {1e6, 'M', 2}, {1e3, 'K', 0}};
    for (int i = 0; i < 3; i++) {
        if (n < unit[i].scale) continue;
        const double v = n / unit[i].scale;
        buf_printf(out, "%.*f%c", v == floor(v) ? 0 : unit[i].decimals, v, unit[i].letter);
        return;
    }
    buf_printf(out, "%.0f", n);
}
