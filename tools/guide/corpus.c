/* Drawing questions of every topic and writing the files.  See guide.h.
 *
 * What is held out is fixed first, so that no drawn question can be one of it: every line "!", and
 * one question for each name of a command, setting or route, in a frame that training never sees.
 * Two lines that would answer one question differently are an error. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/os.h"
#include "guide.h"

enum {
    MIN_EXAMPLES = 60, /* of a topic; more lines, more examples */
    EXAMPLES_PER_LINE = 6,
    MAX_EXAMPLES = 160,
    NAME_WEIGHT = 4,
    TRIES = 60, /* for each example wanted: patterns repeat themselves */
    SLOTS = 1 << 17,
    MAX_TOLD = 400, /* conflicts */
};

struct example {
    const char *user; /* in the arena of the corpus */
    int topic;
    bool held;
    char kind;   /* of the phrase, of a held one */
    bool varied; /* not as written: no wonder if another topic has it */
};

struct corpus {
    const struct guide *g;
    struct arena a;
    struct chance c;
    struct example *slot[SLOTS]; /* by normalized question */
    const char *key[SLOTS];
    struct example **all; /* [n] in the order of drawing */
    int n, cap, n_conflict;
    struct err *e;
};

/* ---- which questions there are ---- */

static size_t hash(struct str s) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32) & (SLOTS - 1);
}

/* Where a question stands or would stand; *norm is what it is known by. */
static size_t find(const struct corpus *k, struct str user, struct buf *norm) {
    guide_normalize(user, norm);
    size_t i = hash(buf_view(norm));
    while (k->slot[i] && strcmp(k->key[i], norm->p) != 0)
        i = (i + 1) & (SLOTS - 1);
    return i;
}

/* Who asks that already; or NULL. */
static const struct example *known(const struct corpus *k, struct str user) {
    struct buf norm = {0};
    const struct example *x = k->slot[find(k, user, &norm)];
    buf_fini(&norm);
    return x;
}

static int add(struct corpus *k, struct str user, struct example what) {
    struct buf norm = {0};
    const size_t i = find(k, user, &norm);
    if (k->n > SLOTS / 2) return err_set(k->e, ERR_LIMIT, "more than %d questions", SLOTS / 2);
    if (k->n == k->cap) {
        const int cap = k->cap ? 2 * k->cap : 4096;
        struct example **more = realloc(k->all, (size_t)cap * sizeof *more);
        if (!more) return err_nomem(k->e, "questions");
        k->all = more, k->cap = cap;
    }
    struct example *x = arena_alloc(&k->a, sizeof *x);
    if (x) *x = what, x->user = arena_strndup(&k->a, user.p, user.n);
    k->key[i] = arena_strndup(&k->a, norm.p, norm.n);
    buf_fini(&norm);
    if (!x || !x->user || !k->key[i]) return err_nomem(k->e, "questions");
    k->slot[i] = k->all[k->n++] = x;
    return 0;
}

/* Told at once, so that one run finds them all; corpus_write fails in the end. */
static void conflict(struct corpus *k, const struct phrase *p, struct str user, int topic,
                     int other) {
    if (k->n_conflict++ < MAX_TOLD)
        fprintf(stderr, "%s: \"%.*s\" of topic %s is a question of topic %s, too\n", p->where,
                (int)user.n, user.p, k->g->topic[topic].name, k->g->topic[other].name);
}

/* ---- drawing ---- */

/* A frame of that kind; NULL when there is none. */
static const char *pick_frame(struct corpus *k, char kind, bool held) {
    int n = 0;
    for (int i = 0; i < k->g->n_frame; i++)
        n += k->g->frame[i].kind == kind && k->g->frame[i].held == held;
    if (n == 0) return NULL;
    int pick = chance_below(&k->c, n);
    for (int i = 0; i < k->g->n_frame; i++)
        if (k->g->frame[i].kind == kind && k->g->frame[i].held == held && pick-- == 0)
            return k->g->frame[i].text;
    return NULL;
}

static int draw(struct corpus *k, const struct phrase *p, bool held, struct buf *out) {
    const char *frame = pick_frame(k, p->kind, held), *gap = frame ? strchr(frame, '~') : NULL;
    if (gap) buf_append(out, frame, (size_t)(gap - frame));
    if (guide_expand(k->g, p->text, &k->c, out, k->e) != 0) {
        struct err inner = *k->e;
        return err_set(k->e, inner.code, "%s: %s", p->where, inner.msg);
    }
    if (gap) buf_str(out, gap + 1);
    return 0;
}

/* One letter of a longer word swapped, left out or doubled, as hands do. */
static void misspell(struct corpus *k, struct buf *b) {
    for (int tries = 0; tries < 8; tries++) {
        const int i = chance_below(&k->c, (int)b->n);
        int from = i, to = i;
        while (from > 0 && isalpha((unsigned char)b->p[from - 1]))
            from--;
        while (to < (int)b->n && isalpha((unsigned char)b->p[to]))
            to++;
        if (to - from < 5 || i <= from || i + 1 >= to) continue;
        if ((from > 0 && b->p[from - 1] == '_') || b->p[to] == '_') continue; /* names stay */
        char *at = b->p + i;
        const int kind = chance_below(&k->c, 3);
        if (kind == 0) {
            const char swap = at[0];
            at[0] = at[1], at[1] = swap;
        } else if (kind == 1) {
            memmove(at, at + 1, b->n-- - (size_t)i);
        } else {
            const char twice = *at;
            buf_byte(b, 0);
            memmove(b->p + i + 1, b->p + i, b->n - 1 - (size_t)i);
            b->p[i] = twice;
        }
        return;
    }
}

static bool is_question(const char *s) {
    static const char *const word[] = {"how",  "what", "which", "can",   "is",  "are",
                                       "does", "do",   "why",   "where", "who", "when",
                                       "will", "must", "could", "may",   "in",  "what's"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
        const size_t n = strlen(word[i]);
        if (strncmp(s, word[i], n) == 0 && s[n] == ' ') return true;
    }
    return false;
}

/* As people type: a sign at the end, now and then a slip.  Capitals are not needed: the model's
 * chat template makes small letters of questions. */
static void finish(struct corpus *k, struct buf *b) {
    if (chance_of(&k->c, 8)) misspell(k, b);
    if (is_question(b->p) && chance_of(&k->c, 50))
        buf_byte(b, '?');
    else if (chance_of(&k->c, 6))
        buf_byte(b, '.');
}

/* ---- the parts ---- */

/* What is held out of topic T: its lines "!", and one question for each name. */
static int hold(struct corpus *k, int topic) {
    const struct topic *t = &k->g->topic[topic];
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->n_phrase; i++) {
        const struct phrase *p = &t->phrase[i];
        struct buf user = {0};
        if (p->kind != '!' && !pick_frame(k, p->kind, true)) continue;
        rc = draw(k, p, true, &user);
        const struct example *x = rc == 0 ? known(k, buf_view(&user)) : NULL;
        if (x && x->topic != topic)
            conflict(k, p, buf_view(&user), topic, x->topic);
        else if (rc == 0 && !x)
            rc = add(k, buf_view(&user),
                     (struct example){.topic = topic, .held = true, .kind = p->kind});
        buf_fini(&user);
    }
    return rc;
}

/* A name is asked for in many frames, and all of them must be known. */
static int weight_of(const struct phrase *p) {
    return p->kind == '!' ? 0 : strchr("?+*", p->kind) ? 1 : NAME_WEIGHT;
}

static int wanted(const struct topic *t, int weight) {
    if (t->count) return t->count;
    const int n = EXAMPLES_PER_LINE * weight;
    return n < MIN_EXAMPLES ? MIN_EXAMPLES : n > MAX_EXAMPLES ? MAX_EXAMPLES : n;
}

/* A line that stands for itself.  What a pattern or a frame draws and another topic has is left to
 * that topic: the earlier one in the files. */
static bool is_plain(const struct phrase *p) {
    return p->kind == '?' && !strpbrk(p->text, "{<");
}

/* A greeting with a greeting before it is none; the words of names stay; and what other subjects
 * are is told by how they are asked for, too. */
static int vary(struct corpus *k, const struct topic *t, const struct phrase *p, struct buf *user) {
    if (strncmp(t->name, "s.", 2) == 0) return 0;
    const enum variety v = !strchr("?+*", p->kind)         ? VARY_AROUND
                           : strcmp(t->name, "other") == 0 ? VARY_WORDS
                                                           : VARY_ORDER;
    return guide_vary(k->g, &k->c, v, user, k->e);
}

/* One question of phrase P; *n counts those that are new. */
static int learn_one(struct corpus *k, int topic, const struct phrase *p, int *n) {
    struct buf user = {0}, as_written = {0};
    int rc = draw(k, p, false, &user);
    const struct example *x = rc == 0 ? known(k, buf_view(&user)) : NULL;
    if (x && x->topic != topic && !x->varied && is_plain(p))
        conflict(k, p, buf_view(&user), topic, x->topic);
    if (rc == 0 && !x) {
        guide_normalize(buf_view(&user), &as_written);
        rc = vary(k, &k->g->topic[topic], p, &user);
        finish(k, &user);
        struct buf norm = {0};
        guide_normalize(buf_view(&user), &norm);
        const bool varied = norm.n != as_written.n || memcmp(norm.p, as_written.p, norm.n) != 0;
        buf_fini(&norm);
        if (rc == 0 && !known(k, buf_view(&user))) {
            rc = add(k, buf_view(&user), (struct example){.topic = topic, .varied = varied});
            ++*n;
        }
    }
    buf_fini(&user);
    buf_fini(&as_written);
    return rc;
}

static int learn(struct corpus *k, int topic) {
    const struct topic *t = &k->g->topic[topic];
    int weight = 0, n = 0, rc = 0;
    for (int i = 0; i < t->n_phrase; i++)
        weight += weight_of(&t->phrase[i]);
    if (weight == 0) return err_set(k->e, ERR_FORMAT, "topic %s has no questions", t->name);
    const int want = wanted(t, weight);
    for (int tries = 0; rc == 0 && n < want && tries < TRIES * want; tries++) {
        const struct phrase *p = &t->phrase[tries % t->n_phrase];
        for (int i = weight_of(p); rc == 0 && i > 0; i--)
            rc = learn_one(k, topic, p, &n);
    }
    return rc;
}

/* ---- files ---- */

static void shuffle(struct corpus *k) {
    for (int i = k->n - 1; i > 0; i--) {
        const int j = chance_below(&k->c, i + 1);
        struct example *x = k->all[i];
        k->all[i] = k->all[j], k->all[j] = x;
    }
}

enum part { TRAIN, VALID, OTHER };

static enum part part_of(const struct corpus *k, const struct example *x) {
    if (!x->held) return TRAIN;
    return strcmp(k->g->topic[x->topic].name, "other") == 0 ? OTHER : VALID;
}

/* Is the name one of "a b c"? */
static bool is_in(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

/* Answers of other topics that answer this one's questions, too. */
static json_t *other_answers(const struct guide *g, const char *name) {
    json_t *list = json_array();
    for (int i = 0; i < g->n_same; i++)
        for (int t = 0; is_in(g->same[i], name) && t < g->n_topic; t++)
            if (strcmp(g->topic[t].name, name) != 0 && is_in(g->same[i], g->topic[t].name))
                json_array_append_new(list, json_string(g->topic[t].say));
    return list;
}

static int write_line(struct corpus *k, const struct example *x, struct buf *out) {
    const struct topic *t = &k->g->topic[x->topic];
    json_t *line = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user", "content",
                             x->user, "role", "assistant", "content", t->say);
    if (line && x->held) {
        json_object_set_new(line, "topic", json_string(t->name));
        json_object_set_new(line, "also", other_answers(k->g, t->name));
        json_object_set_new(line, "kind", json_pack("s#", &x->kind, (size_t)1));
    }
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text) return err_set(k->e, ERR_FORMAT, "topic %s: \"%s\" is no JSON", t->name, x->user);
    buf_str(out, text);
    buf_byte(out, '\n');
    free(text);
    return out->failed ? err_nomem(k->e, "lines") : 0;
}

static int write_part(struct corpus *k, enum part part, const char *folder) {
    static const char *const name[] = {"train", "valid", "offtopic-valid"};
    struct buf out = {0};
    char path[4096];
    int n = 0, rc = 0;
    for (int i = 0; rc == 0 && i < k->n; i++)
        if (part_of(k, k->all[i]) == part) n++, rc = write_line(k, k->all[i], &out);
    if (snprintf(path, sizeof path, "%s/%s.jsonl", folder, name[part]) >= (int)sizeof path)
        rc = err_set(k->e, ERR_USAGE, "a path that is too long");
    if (rc == 0) rc = os_write_file(path, out.p ? out.p : "", out.n, k->e);
    if (rc == 0) printf("%s %d\n", name[part], n);
    buf_fini(&out);
    return rc;
}

int corpus_write(const struct guide *g, const char *folder, uint64_t seed, struct err *e) {
    struct corpus *k = calloc(1, sizeof *k);
    if (!k) return err_nomem(e, "corpus");
    k->g = g, k->e = e, k->c.state = seed;
    int rc = 0;
    for (int i = 0; rc == 0 && i < g->n_topic; i++)
        rc = hold(k, i);
    for (int i = 0; rc == 0 && i < g->n_topic; i++)
        rc = learn(k, i);
    if (rc == 0 && k->n_conflict > 0)
        rc = err_set(e, ERR_FORMAT, "%d questions have two answers", k->n_conflict);
    if (rc == 0) shuffle(k);
    for (enum part p = TRAIN; rc == 0 && p <= OTHER; p++)
        rc = write_part(k, p, folder);
    arena_fini(&k->a);
    free(k->all);
    free(k);
    return rc;
}
