/* What the program says about its own commands becomes topics: their options, as they are today.
 * See guide.h. */
#include "guide.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum {
    MAX_BYTES = 1 << 20,
    MAX_OPTIONS = 6, /* named in an answer: more would be learned by heart only */
};

struct command {
    char name[64], usage[200], option[MAX_OPTIONS][64];
    int n_option;
};

/* "  -o, --option NAME=VALUE" or "      --raw   continue..." */
static void read_option(struct command *c, const char *line) {
    if (strncmp(line, "      --", 8) != 0 &&
        !(strncmp(line, "  -", 3) == 0 && strncmp(line + 4, ", --", 4) == 0))
        return;
    const char *name = line + 6;
    const size_t n = strcspn(name, " [=\n");
    if (c->n_option++ < MAX_OPTIONS && n < sizeof c->option[0])
        snprintf(c->option[c->n_option - 1], sizeof c->option[0], "%.*s", (int)n, name);
}

/* "Usage: cria cp NAME NEW", without the word that stands for options. */
static void read_usage(struct command *c, const char *line) {
    const char *gap = strstr(line, " [OPTIONS]");
    if (c->usage[0] || strncmp(line, "Usage: ", 7) != 0) return;
    line += 7;
    if (gap)
        snprintf(c->usage, sizeof c->usage, "%.*s%s", (int)(gap - line), line, gap + 10);
    else
        snprintf(c->usage, sizeof c->usage, "%s", line);
}

static int add_topic(struct guide *g, const struct command *c, struct err *e) {
    struct buf say = {0}, name = {0};
    buf_printf(&name, "options.%s", c->name);
    buf_printf(&say, "`%s`", c->usage);
    if (c->n_option == 0) buf_str(&say, " has no options.");
    for (int i = 0; i < c->n_option && i < MAX_OPTIONS; i++)
        buf_printf(&say, "%s%s", i == 0 ? " takes " : ", ", c->option[i]);
    if (c->n_option > MAX_OPTIONS) buf_printf(&say, " and more: see `cria help %s`", c->name);
    if (c->n_option > 0) buf_byte(&say, '.');
    struct topic *t = NULL;
    const char *kept = arena_strndup(&g->a, name.p ? name.p : "", name.n);
    if (kept && !name.failed && !say.failed) t = guide_add_topic(g, kept, e);
    if (t) t->say = arena_strndup(&g->a, say.p, say.n);
    struct phrase p = {'#', arena_strndup(&g->a, c->name, strlen(c->name)), "the program's help"};
    buf_fini(&say);
    buf_fini(&name);
    if (!t || !t->say || !p.text) return e->msg[0] ? -1 : err_nomem(e, "topics");
    return guide_add_phrase(g, t, p, e);
}

int guide_read_help(struct guide *g, const char *path, struct err *e) {
    struct buf text = {0};
    struct command c = {0};
    int rc = os_read_file(path, MAX_BYTES, &text, e);
    for (char *p = text.p; rc == 0 && p && *p;) {
        char *end = p + strcspn(p, "\n");
        const bool more = *end != 0;
        *end = 0;
        if (p[0] == '@' && p[1] == ' ') {
            if (c.name[0]) rc = add_topic(g, &c, e);
            c = (struct command){0};
            snprintf(c.name, sizeof c.name, "%s", p + 2);
        } else if (c.name[0]) {
            read_usage(&c, p);
            read_option(&c, p);
        }
        p = end + more;
    }
    if (rc == 0 && c.name[0]) rc = add_topic(g, &c, e);
    buf_fini(&text);
    return rc;
}
