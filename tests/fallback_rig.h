/* One question in every dialect, and what its answer says of the model that gave it: for tests of
 * models that stand in for others. */
#pragma once

#include <unistd.h>

#include "base/os.h"
#include "models_rig.h"
#include "serve_rig.h"

#define MS INT64_C(1000000)
#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + 20000 * MS; !(condition); usleep(2000))                    \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

/* The routes that generate. */
enum { FB_GENERATE, FB_CHAT, FB_OPENAI, FB_TEXT, FB_RESPONSES, FB_MESSAGES, FB_N_ROUTE };
extern const char *const fb_path[FB_N_ROUTE];

/* Opens a shop with models that can chat: "first", and n 2: "second", which says other things.
 * models: "CRIA_MODELS=...", for a server. */
void fb_shop_open(struct shop *shop, int n, char models[700]);

/* The body of such a request, at temperature 0: n_predict tokens; more: fields (",\"x\":1") or "".
 * free(). */
char *fb_body(int route, const char *model, bool stream, int n_predict, const char *more);

extern bool fb_plain; /* true: without fields that only this server knows */

struct fb_said {
    int status;
    char model[100], reason[40], header[120]; /* "": not there */
    char error[600];                          /* "": none */
    struct buf text;
    bool last; /* of a stream: the reason, if any, is in the last object that has a place for it */
};

void fb_ask(const struct serve *s, int route, const char *model, bool stream, int n_predict,
            const char *more, struct fb_said *out);
/* The same from a body of any kind. */
void fb_post(const struct serve *s, int route, bool stream, const char *body, struct fb_said *out);
void fb_fini(struct fb_said *s);

/* One figure of /metrics, by its name with its labels; 0: not there. */
long fb_metric(const struct serve *s, const char *name);
