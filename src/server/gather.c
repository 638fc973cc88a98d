/* See gather.h. */
#include "server/gather.h"

#include <stdlib.h>

int gather_init(struct gather *g, int n, bool keep) {
    *g = (struct gather){.keep = keep};
    g->choice = calloc((size_t)n, sizeof *g->choice);
    if (!g->choice) return -1;
    g->n = n;
    return 0;
}

void gather_fini(struct gather *g) {
    for (int i = 0; i < g->n; i++) {
        struct gather_choice *c = &g->choice[i];
        buf_fini(&c->thinking);
        buf_fini(&c->text);
        buf_fini(&c->stop);
        json_decref(c->calls);
        json_decref(c->logprobs);
    }
    free(g->choice);
    *g = (struct gather){0};
}

static void extend(struct gather *g, json_t **list, const json_t *more) {
    if (!*list) *list = json_array();
    for (size_t i = 0; i < json_array_size(more); i++)
        if (json_array_append_new(*list, json_deep_copy(json_array_get(more, i))) != 0)
            g->failed = true;
}

static void add_text(struct gather *g, struct gather_choice *c, const struct gen_event *ev) {
    struct buf *b = ev->kind == GEN_TEXT ? &c->text : &c->thinking;
    if (ev->kind == GEN_THINKING) g->n_thinking += ev->n_token;
    if (!g->keep) return;
    buf_append(b, ev->text.p, ev->text.n);
    if (b->failed) g->failed = true;
    if (ev->kind == GEN_TEXT && ev->data) extend(g, &c->logprobs, ev->data);
}

static void add_call(struct gather *g, struct gather_choice *c, const struct gen_event *ev) {
    c->n_call++;
    if (!g->keep) return;
    if (!c->calls) c->calls = json_array();
    if (json_array_append_new(c->calls, json_deep_copy(ev->data)) != 0) g->failed = true;
}

void gather_add(struct gather *g, const struct gen_event *ev) {
    if (ev->kind == GEN_PROMPT || ev->kind == GEN_END) g->stats = ev->stats;
    if (ev->choice < 0 || ev->choice >= g->n) return;
    struct gather_choice *c = &g->choice[ev->choice];
    switch (ev->kind) {
    case GEN_TEXT:
    case GEN_THINKING: add_text(g, c, ev); break;
    case GEN_CALL: add_call(g, c, ev); break;
    case GEN_FINISH:
        c->done = true;
        c->why = ev->why;
        if (ev->stop.n) buf_append(&c->stop, ev->stop.p, ev->stop.n);
        break;
    default: break;
    }
}
