/* See text.h. */
#include "cli/text.h"

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
