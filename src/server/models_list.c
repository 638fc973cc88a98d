/* What is loaded, as /api/ps tells it. */
#include <stdio.h>
#include <time.h>

#include "base/os.h"
#include "server/models_priv.h"
#include "store/describe.h"

enum { TIME_TEXT = 40 };

/* RFC 3339 with nanoseconds, UTC, of a moment that is in_ns from now. */
static void time_text(int64_t in_ns, char out[TIME_TEXT]) {
    struct timespec now;
    struct tm tm;
    char date[24];
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t s = now.tv_sec + in_ns / 1000000000;
    int ns = (int)(now.tv_nsec + in_ns % 1000000000);
    if (ns >= 1000000000) ns -= 1000000000, s++;
    if (ns < 0) ns += 1000000000, s--;
    const time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, TIME_TEXT, "%.20s.%09dZ", date, ns);
}

/* For ever is the longest that Go's durations can say, as in Ollama: 292 years. */
static int64_t left_ns(const struct loaded *l, int64_t now) {
    if (l->leaving) return l->since_ns - now - 1;
    if (l->keep_alive_ns < 0) return INT64_MAX;
    return l->keep_alive_ns - (l->n_use ? 0 : now - l->since_ns);
}

static void add_load(json_t *o, const struct loaded *l) {
    const struct gen_load now = gen_load(l->gen);
    json_object_set_new(o, "size_used", json_integer((json_int_t)now.rss_bytes));
    json_object_set_new(o, "size_weights",
                        json_integer((json_int_t)gen_info(l->gen)->weight_bytes));
    json_object_set_new(o, "size_kv", json_integer((json_int_t)now.kv_bytes));
    json_object_set_new(o, "waiting", json_integer(now.n_waiting));
}

/* Beyond Ollama's fields: what it really takes, whose process it shares, and that its context is
 * smaller than it would be. */
static json_t *entry(const struct loaded *l, int64_t now) {
    char when[TIME_TEXT];
    char name[NAME_TEXT];
    const struct gen_info *i = gen_info(l->gen);
    const bool guest = loaded_is_guest(l);
    name_short(&l->asked, name);
    time_text(left_ns(l, now), when);
    json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:o, s:s, s:i, s:i}", "name", name, "model", name,
                          "size", (json_int_t)(guest ? l->bytes : i->n_bytes), "digest", l->id.hex,
                          "details", model_config_details(&l->config), "expires_at", when,
                          "size_vram", 0, "context_length", i->n_ctx);
    if (guest)
        json_object_set_new(o, "shares", json_string(l->process->holder->text));
    else
        add_load(o, l);
    json_object_set_new(o, "parallel", json_integer(l->n_parallel));
    json_object_set_new(o, "running", json_integer(l->n_use));
    if (l->ctx_reduced) json_object_set_new(o, "context_reduced", json_true());
    return o;
}

/* As Ollama, the one that stays longest first; that is what users look for. */
json_t *models_list(struct models *m) {
    json_t *list = json_array();
    pthread_mutex_lock(&m->lock);
    const int64_t now = os_now_ns();
    for (struct loaded *l = m->list; l; l = l->next) {
        if (l->phase != PHASE_READY) continue;
        models_check_alive(l);
        if (l->crashed) continue;
        size_t at = 0;
        for (const struct loaded *o = m->list; o != l; o = o->next)
            at += o->phase == PHASE_READY && !o->crashed && left_ns(o, now) >= left_ns(l, now);
        /* The list is in order: as many as stay at least as long come before it. */
        json_array_insert_new(list, at, entry(l, now));
    }
    pthread_mutex_unlock(&m->lock);
    return list;
}
