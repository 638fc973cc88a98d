/* Reading topics, words and frames: lines that begin with a keyword or a sign.  See guide.h. */
#include "guide.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum { MAX_BYTES = 8 << 20 };

/* One more element behind a list; NULL when memory is out. */
static void *grow(void **list, int *n, int *cap, size_t size) {
    if (*n == *cap) {
        void *more = realloc(*list, (size_t)(*cap = *cap ? 2 * *cap : 64) * size);
        if (!more) return NULL;
        *list = more;
    }
    void *at = (char *)*list + (size_t)(*n)++ * size;
    memset(at, 0, size);
    return at;
}

struct topic *guide_add_topic(struct guide *g, const char *name, struct err *e) {
    for (int i = 0; i < g->n_topic; i++)
        if (strcmp(g->topic[i].name, name) == 0) {
            err_set(e, ERR_FORMAT, "topic \"%s\": there is one already", name);
            return NULL;
        }
    struct topic *t = grow((void **)&g->topic, &g->n_topic, &g->cap_topic, sizeof *t);
    if (!t) err_nomem(e, "topics");
    if (t) t->name = name;
    g->at = g->n_topic - 1;
    return t;
}

int guide_add_phrase(struct guide *g, struct topic *t, struct phrase p, struct err *e) {
    (void)g;
    struct phrase *at = grow((void **)&t->phrase, &t->n_phrase, &t->cap, sizeof *at);
    if (!at) return err_nomem(e, "phrases");
    *at = p;
    return 0;
}

struct reader {
    struct guide *g;
    const char *where; /* of the line, for messages */
    struct err *e;
};

static const char *after_blanks(const char *s) {
    return s + strspn(s, " \t");
}

static int bad(const struct reader *r, const char *line, const char *accepted) {
    return err_set(r->e, ERR_FORMAT, "%s: found \"%.60s\"; accepted: %s", r->where, line, accepted);
}

/* "word NAME = a|b|c" */
static int read_word(struct reader *r, const char *rest) {
    const char *equal = strchr(rest, '=');
    if (!equal) return bad(r, rest, "word NAME = a|b|c");
    size_t n = (size_t)(equal - rest);
    while (n > 0 && rest[n - 1] == ' ')
        n--;
    struct word *w = grow((void **)&r->g->word, &r->g->n_word, &r->g->cap_word, sizeof *w);
    if (!w || !(w->name = arena_strndup(&r->g->a, rest, n))) return err_nomem(r->e, "words");
    w->choices = after_blanks(equal + 1);
    return 0;
}

/* "frame + how do i ~" */
static int read_frame(struct reader *r, const char *rest, bool held) {
    if (!*rest || !strchr(rest, '~')) return bad(r, rest, "frame SIGN TEXT with ~");
    struct frame *f = grow((void **)&r->g->frame, &r->g->n_frame, &r->g->cap_frame, sizeof *f);
    if (!f) return err_nomem(r->e, "frames");
    *f = (struct frame){.kind = rest[0], .held = held, .text = after_blanks(rest + 1)};
    return 0;
}

/* "more NAME": the lines that follow belong to that topic, too. */
static int read_more(struct reader *r, const char *name) {
    struct guide *g = r->g;
    for (g->at = 0; g->at < g->n_topic; g->at++)
        if (strcmp(g->topic[g->at].name, name) == 0) return 0;
    g->at = 0;
    return bad(r, name, "more NAME of a topic in an earlier file");
}

/* One more in a list of texts. */
static int read_text(struct reader *r, const char ***list, int *n, int *cap, const char *rest) {
    const char **a = grow((void **)list, n, cap, sizeof *a);
    if (!a) return err_nomem(r->e, "words");
    *a = rest;
    return 0;
}

static int read_phrase(struct reader *r, const char *line) {
    struct guide *g = r->g;
    if (!g->n_topic) return bad(r, line, "a topic first");
    struct phrase p = {*line, after_blanks(line + 1),
                       arena_strndup(&g->a, r->where, strlen(r->where))};
    if (!p.where) return err_nomem(r->e, "phrases");
    if (!*p.text) return bad(r, line, "a text behind the sign");
    return guide_add_phrase(g, &g->topic[g->at], p, r->e);
}

static int read_line(struct reader *r, char *line) {
    struct guide *g = r->g;
    struct topic *t = g->n_topic ? &g->topic[g->at] : NULL;
    if (*line == 0 || *line == '#') return 0;
    if (strncmp(line, "word ", 5) == 0) return read_word(r, after_blanks(line + 5));
    if (strncmp(line, "frame ", 6) == 0) return read_frame(r, after_blanks(line + 6), false);
    if (strncmp(line, "held ", 5) == 0) return read_frame(r, after_blanks(line + 5), true);
    if (strncmp(line, "topic ", 6) == 0)
        return guide_add_topic(g, after_blanks(line + 6), r->e) ? 0 : -1;
    if (strncmp(line, "more ", 5) == 0) return read_more(r, after_blanks(line + 5));
    if (strncmp(line, "alike ", 6) == 0)
        return read_text(r, &g->alike, &g->n_alike, &g->cap_alike, after_blanks(line + 6));
    if (strncmp(line, "same ", 5) == 0)
        return read_text(r, &g->same, &g->n_same, &g->cap_same, after_blanks(line + 5));
    if (strncmp(line, "filler ", 7) == 0) {
        g->filler = after_blanks(line + 7);
        return 0;
    }
    if (strncmp(line, "say ", 4) == 0 && t && !t->say) {
        t->say = after_blanks(line + 4);
        return 0;
    }
    if (strncmp(line, "count ", 6) == 0 && t) {
        t->count = atoi(line + 6);
        return 0;
    }
    if (strchr("?+*$%@&=!", *line)) return read_phrase(r, line);
    return bad(r, line,
               "topic, more, say, count, word, frame, held, alike, same, filler or one of ? + * $ "
               "% @ & = !");
}

int guide_read(struct guide *g, const char *path, struct err *e) {
    struct buf text = {0};
    char where[300];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    struct reader r = {g, where, e};
    int rc = os_read_file(path, MAX_BYTES, &text, e), line = 0;
    char *p = rc == 0 ? arena_strndup(&g->a, text.p ? text.p : "", text.n) : NULL;
    if (rc == 0 && !p) rc = err_nomem(e, path);
    buf_fini(&text);
    while (rc == 0 && *p) {
        char *end = p + strcspn(p, "\n");
        const bool more = *end != 0;
        *end = 0;
        for (char *z = end; z > p && isspace((unsigned char)z[-1]);)
            *--z = 0;
        snprintf(where, sizeof where, "%s:%d", name, ++line);
        rc = read_line(&r, p);
        p = end + more;
    }
    for (int i = 0; rc == 0 && i < g->n_topic; i++)
        if (!g->topic[i].say)
            rc = err_set(e, ERR_FORMAT, "%s: topic \"%s\" has no line \"say\"", name,
                         g->topic[i].name);
    return rc;
}

void guide_fini(struct guide *g) {
    for (int i = 0; i < g->n_topic; i++)
        free(g->topic[i].phrase);
    free(g->topic);
    free(g->word);
    free(g->frame);
    free(g->alike);
    free(g->same);
    arena_fini(&g->a);
    *g = (struct guide){0};
}
