/* See modelfile.h.  The grammar is Ollama's, its oddities included, since files depend on them:
 *
 *   file     = { blank | comment | command }
 *   comment  = "#" to the end of the line, where a command may begin
 *   command  = letters blank value            PARAMETER has a name before its value, MESSAGE a role
 *   value    = the rest of the line, blanks around it cut off; one that begins with " or """ goes
 * on over line ends until a line ends with the same quotes, which are cut off; there are no
 *              escapes, and quotes that do not end a line belong to the value
 *
 * Where Ollama drops what it cannot read (control characters, bytes that are no UTF-8), this is an
 * error here. */
#include "store/modelfile.h"

#include <stdint.h>
#include <strings.h>

#include "base/utf8.h"

/* A name here (upper case, letters only) is all it takes for `NAME value` to be kept as a layer
 * application/vnd.cria.<name>.  What the values mean: policy/model_policy.h. */
const char *const modelfile_extensions[] = {"FALLBACK", "CACHE", "POLICY", NULL};

static const struct {
    const char *word;
    enum modelfile_command command;
} commands[] = {
    {"FROM", MF_FROM},           {"LICENSE", MF_LICENSE},   {"TEMPLATE", MF_TEMPLATE},
    {"SYSTEM", MF_SYSTEM},       {"ADAPTER", MF_ADAPTER},   {"DRAFT", MF_DRAFT},
    {"RENDERER", MF_RENDERER},   {"PARSER", MF_PARSER},     {"PARAMETER", MF_PARAMETER},
    {"MESSAGE", MF_MESSAGE},     {"REQUIRES", MF_REQUIRES}, {"TRAINFILE", MF_TRAINFILE},
    {"VALIDFILE", MF_VALIDFILE},
};
enum { N_COMMAND = sizeof commands / sizeof *commands, MAX_NAME = 64 };

/* ---- characters ---- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

static bool is_line_end(char c) {
    return c == '\n' || c == '\r';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

/* The quotes that a trimmed value begins with: 3, 1 or none. */
static size_t quotes_of(struct str v) {
    return str_starts(v, STR("\"\"\"")) ? 3 : v.n && v.p[0] == '"' ? 1 : 0;
}

/* Does a value that began with that many quotes end here, at v's last character? */
static bool is_closed(struct str v, size_t quotes) {
    return v.n >= 2 * quotes &&
           str_eq((struct str){v.p + v.n - quotes, quotes}, (struct str){"\"\"\"", quotes});
}

/* ---- reading ---- */

struct parser {
    struct str text;
    size_t at;
    int line, cap;
    struct modelfile *m;
    struct err *e;
};

static bool at_end(const struct parser *p) {
    return p->at == p->text.n;
}

static char peek(const struct parser *p) {
    return at_end(p) ? '\n' : p->text.p[p->at];
}

/* Past one line end: LF, CR or both. */
static void next_line(struct parser *p) {
    if (at_end(p)) return;
    const bool cr = p->text.p[p->at++] == '\r';
    if (cr && !at_end(p) && p->text.p[p->at] == '\n') p->at++;
    p->line++;
}

static void skip_to_line_end(struct parser *p) {
    while (!at_end(p) && !is_line_end(p->text.p[p->at]))
        p->at++;
}

static void skip_blanks(struct parser *p) {
    while (!at_end(p) && is_blank(p->text.p[p->at]))
        p->at++;
}

/* What an error shows of a text. */
struct shown {
    char z[48];
};

static struct shown show(struct str s) {
    struct shown out = {""};
    size_t n = s.n < 40 ? s.n : utf8_complete(s.p, 40);
    if (n) memcpy(out.z, s.p, n);
    out.z[n] = 0;
    return out;
}

static int unknown_command(const struct parser *p, struct str word) {
    struct buf list = {0};
    for (int i = 0; i < N_COMMAND; i++)
        buf_printf(&list, "%s\"%s\"", i ? ", " : "", commands[i].word);
    for (const char *const *x = modelfile_extensions; *x; x++)
        buf_printf(&list, ", \"%s\"", *x);
    for (size_t i = 0; i < list.n; i++) /* Ollama's error names them so */
        if (list.p[i] >= 'A' && list.p[i] <= 'Z') list.p[i] = (char)(list.p[i] - 'A' + 'a');
    err_set(p->e, ERR_FORMAT, "(line %d): unknown command \"%s\"; command must be one of %s",
            p->line, show(word).z, list.p ? list.p : "");
    buf_fini(&list);
    return -1;
}

static struct str take_word(struct parser *p) {
    const size_t from = p->at;
    while (!at_end(p) && is_word(p->text.p[p->at]))
        p->at++;
    return (struct str){p->text.p + from, p->at - from};
}

static int find_command(const struct parser *p, struct str word, struct modelfile_line *l) {
    for (int i = 0; i < N_COMMAND; i++) {
        if (word.n != strlen(commands[i].word) || strncasecmp(word.p, commands[i].word, word.n))
            continue;
        l->command = commands[i].command;
        return 0;
    }
    for (const char *const *x = modelfile_extensions; *x; x++) {
        if (word.n != strlen(*x) || strncasecmp(word.p, *x, word.n)) continue;
        l->command = MF_EXTENSION;
        l->name = *x;
        return 0;
    }
    return unknown_command(p, word);
}

static bool is_role(struct str word) {
    return str_is(word, "system") || str_is(word, "user") || str_is(word, "assistant");
}

/* The name of a parameter, the role of a message. */
static int take_name(struct parser *p, struct modelfile_line *l) {
    skip_blanks(p);
    const struct str word = take_word(p);
    if (l->command == MF_MESSAGE && !is_role(word))
        return err_set(p->e, ERR_FORMAT,
                       "(line %d): role \"%s\"; message role must be one of \"system\", \"user\", "
                       "or \"assistant\"",
                       p->line, show(word).z);
    if (word.n == 0 || word.n > MAX_NAME)
        return err_set(p->e, ERR_FORMAT,
                       "(line %d): PARAMETER without a name; PARAMETER NAME VALUE is accepted",
                       p->line);
    if (!at_end(p) && peek(p) == '-' && l->command == MF_PARAMETER)
        return err_set(
            p->e, ERR_FORMAT,
            "(line %d): PARAMETER %s-...: names of parameters have _ where options have -", p->line,
            show(word).z);
    if (at_end(p) || !is_blank(peek(p)))
        return err_set(p->e, ERR_FORMAT, "(line %d): %s: a value is missing behind it", p->line,
                       show(word).z);
    l->name = arena_strndup(&p->m->a, word.p, word.n);
    return l->name ? 0 : err_nomem(p->e, "Modelfile");
}

static int take_value(struct parser *p, struct modelfile_line *l) {
    skip_blanks(p);
    const char *text = p->text.p;
    const size_t from = p->at;
    const size_t quotes = quotes_of((struct str){text + from, p->text.n - from});
    struct str v = {text + from, 0};
    for (;;) {
        const size_t line_from = p->at;
        skip_to_line_end(p);
        size_t to = p->at;
        while (to > line_from && is_blank(text[to - 1]))
            to--;
        if (to > line_from) v.n = to - from;
        if (is_closed(v, quotes)) break;
        if (at_end(p))
            return err_set(p->e, ERR_FORMAT, "(line %d): unclosed %s: no line ends with it",
                           l->line, quotes == 3 ? "\"\"\"" : "\"");
        next_line(p);
    }
    v.p += quotes, v.n -= 2 * quotes;
    const char *copy = arena_strndup(&p->m->a, v.p, v.n);
    if (!copy) return err_nomem(p->e, "Modelfile");
    l->value = (struct str){copy, v.n};
    return 0;
}

static int add_line(struct parser *p, const struct modelfile_line *l) {
    struct modelfile *m = p->m;
    if (m->n == MODELFILE_MAX_LINES)
        return err_set(p->e, ERR_LIMIT, "(line %d): more than %d commands; at most so many",
                       p->line, MODELFILE_MAX_LINES);
    if (m->n == p->cap) { /* the old array stays in the arena: together no larger than the new */
        const int cap = p->cap ? 2 * p->cap : 16;
        struct modelfile_line *more = arena_calloc(&m->a, (size_t)cap, sizeof *more);
        if (!more) return err_nomem(p->e, "Modelfile");
        if (m->n) memcpy(more, m->line, (size_t)m->n * sizeof *more);
        m->line = more;
        p->cap = cap;
    }
    m->line[m->n++] = *l;
    return 0;
}

static int take_command(struct parser *p) {
    struct modelfile_line l = {.line = p->line};
    const size_t from = p->at;
    while (!at_end(p) && is_letter(p->text.p[p->at]))
        p->at++;
    const struct str word = {p->text.p + from, p->at - from};
    if (!at_end(p) && !is_blank(peek(p)) && !is_line_end(peek(p))) {
        while (!at_end(p) && !is_blank(peek(p)) && !is_line_end(peek(p)))
            p->at++;
        return unknown_command(p, (struct str){p->text.p + from, p->at - from});
    }
    if (find_command(p, word, &l) != 0) return -1;
    if (at_end(p) || is_line_end(peek(p)))
        return err_set(p->e, ERR_FORMAT, "(line %d): %s without a value", p->line, show(word).z);
    if ((l.command == MF_PARAMETER || l.command == MF_MESSAGE) && take_name(p, &l) != 0) return -1;
    return take_value(p, &l) == 0 ? add_line(p, &l) : -1;
}

/* Nothing invisible may steer what a value says. */
static int check_text(struct str text, struct err *e) {
    int line = 1;
    const size_t valid = utf8_valid_prefix(text.p, text.n);
    for (size_t i = 0; i < text.n; i++) {
        const unsigned char c = (unsigned char)text.p[i];
        if (i >= valid)
            return err_set(e, ERR_FORMAT,
                           "(line %d): byte 0x%02x is not UTF-8; UTF-8 is accepted, and UTF-16 "
                           "with a byte order mark",
                           line, c);
        if (c == 0) return err_set(e, ERR_FORMAT, "(line %d): a NUL byte; text is accepted", line);
        if (c == '\n' || (c == '\r' && (i + 1 == text.n || text.p[i + 1] != '\n'))) line++;
    }
    return 0;
}

static int parse_utf8(struct str text, struct modelfile *m, struct err *e) {
    struct parser p = {.text = text, .line = 1, .m = m, .e = e};
    if (check_text(text, e) != 0) return -1;
    while (!at_end(&p)) {
        const char c = peek(&p);
        if (is_line_end(c))
            next_line(&p);
        else if (is_blank(c))
            p.at++;
        else if (c == '#')
            skip_to_line_end(&p);
        else if (take_command(&p) != 0)
            return -1;
    }
    for (int i = 0; i < m->n; i++)
        if (m->line[i].command == MF_FROM) return 0;
    return err_set(e, ERR_FORMAT, "no FROM line");
}

static int from_utf16(struct str text, bool big, struct buf *out, struct err *e) {
    if (text.n % 2)
        return err_set(e, ERR_FORMAT, "(line 1): UTF-16 of an odd number of bytes, %zu", text.n);
    for (size_t i = 0; i < text.n; i += 2) {
        const uint8_t *b = (const uint8_t *)text.p + i;
        uint32_t u = big ? (uint32_t)b[0] << 8 | b[1] : (uint32_t)b[1] << 8 | b[0];
        if (u >= 0xd800 && u < 0xdc00 && i + 4 <= text.n) {
            const uint32_t v = big ? (uint32_t)b[2] << 8 | b[3] : (uint32_t)b[3] << 8 | b[2];
            if (v >= 0xdc00 && v < 0xe000) {
                u = 0x10000 + ((u - 0xd800) << 10 | (v - 0xdc00));
                i += 2;
            }
        }
        char c[4];
        buf_append(out, c, (size_t)utf8_encode(u, c));
    }
    return out->failed ? err_nomem(e, "Modelfile") : 0;
}

int modelfile_parse(struct str text, struct modelfile *m, struct err *e) {
    *m = (struct modelfile){0};
    if (text.n > MODELFILE_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "Modelfile: %zu bytes; at most %d are accepted", text.n,
                       MODELFILE_MAX_BYTES);
    if (str_starts(text, STR("\xef\xbb\xbf")))
        return parse_utf8((struct str){text.p + 3, text.n - 3}, m, e);
    const bool big = str_starts(text, STR("\xfe\xff"));
    if (!big && !str_starts(text, STR("\xff\xfe"))) return parse_utf8(text, m, e);
    struct buf b = {0};
    int rc = from_utf16((struct str){text.p + 2, text.n - 2}, big, &b, e);
    if (rc == 0) rc = parse_utf8(buf_view(&b), m, e);
    buf_fini(&b);
    return rc;
}

void modelfile_fini(struct modelfile *m) {
    arena_fini(&m->a);
    *m = (struct modelfile){0};
}

/* ---- printing ---- */

static const char *word_of(const struct modelfile_line *l) {
    for (int i = 0; i < N_COMMAND; i++)
        if (commands[i].command == l->command) return commands[i].word;
    return l->name;
}

/* Would the value, in that many quotes, end before its end?  Each of its line ends is a place where
 * it could. */
static bool ends_early(struct str v, size_t quotes) {
    size_t last = 0; /* behind what is not blank */
    for (size_t i = 0; i < v.n; i++) {
        if (is_line_end(v.p[i])) {
            if (last >= quotes && memcmp(v.p + last - quotes, "\"\"\"", quotes) == 0) return true;
        } else if (!is_blank(v.p[i])) {
            last = i + 1;
        }
    }
    return false;
}

/* How many quotes the value needs to come back; -1: none help. */
static int quotes_for(struct str v) {
    bool lines = false;
    for (size_t i = 0; i < v.n; i++)
        lines = lines || is_line_end(v.p[i]);
    const bool edges = v.n == 0 || is_blank(v.p[0]) || is_blank(v.p[v.n - 1]);
    if (!lines && !edges && v.p[0] != '"') return 0;
    const bool quoted = v.n && memchr(v.p, '"', v.n);
    if (!quoted) return 1;
    if (!ends_early(v, 3)) return 3;
    /* In one quote it must not look like three. */
    return !str_starts(v, STR("\"\"")) && !ends_early(v, 1) ? 1 : -1;
}

/* A name from a stranger's JSON must not become lines of its own. */
static bool is_name(const struct modelfile_line *l) {
    const struct str name = str_of(l->name ? l->name : "");
    if (l->command == MF_MESSAGE) return is_role(name);
    if (l->command != MF_PARAMETER) return true;
    for (size_t i = 0; i < name.n; i++)
        if (!is_word(name.p[i])) return false;
    return name.n > 0 && name.n <= MAX_NAME;
}

int modelfile_print(const struct modelfile_line *l, struct buf *out, struct err *e) {
    const struct str v = l->value;
    if (!is_name(l))
        return err_set(e, ERR_FORMAT, "%s: \"%.40s\" is no name that can stand there", word_of(l),
                       l->name ? l->name : "");
    const int quotes = quotes_for(v);
    if (quotes < 0)
        return err_set(e, ERR_FORMAT,
                       "%s: the value has lines that end with \"\"\"; no quotes hold it",
                       word_of(l));
    if (utf8_valid_prefix(v.p, v.n) != v.n || (v.n && memchr(v.p, 0, v.n)))
        return err_set(e, ERR_FORMAT, "%s: the value is no text in UTF-8", word_of(l));
    buf_str(out, word_of(l));
    if (l->command == MF_PARAMETER || l->command == MF_MESSAGE) buf_printf(out, " %s", l->name);
    buf_byte(out, ' ');
    buf_append(out, "\"\"\"", (size_t)quotes);
    buf_append(out, v.p, v.n);
    buf_append(out, "\"\"\"", (size_t)quotes);
    buf_byte(out, '\n');
    return out->failed ? err_nomem(e, "Modelfile") : 0;
}
