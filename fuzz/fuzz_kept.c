/* Fuzz target: cached answers as a store gives them back (policy/answer_record.h, answer_seal.c),
 * and the address of a Redis.  The first byte says what follows:
 *
 *   s  sealed bytes
 *   v  a value, which is sealed here: it must come back
 *   p  an answer in its packed form
 *   f  frames, which are packed here (their check sum would stop them)
 *   u  an address
 *
 * What is accepted as an answer has one end, the last event, which is no error; and told again it
 * gives the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/answer_record.h"
#include "policy/answer_redis_url.h"
#include "policy/answer_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

struct heard {
    struct answer_record again;
    int n_end, n_after;
};

static void hear(void *ctx, const struct gen_event *ev) {
    struct heard *h = ctx;
    h->n_after += h->n_end > 0;
    h->n_end += ev->kind == GEN_END;
    answer_record_add(&h->again, ev);
}

static void try_packed(struct str packed) {
    static const char *const ops[] = {"chat", "embed"};
    for (int i = 0; i < 2; i++) {
        struct answer_record r = {0};
        struct heard h = {0};
        struct err e = {0};
        json_t *gen = json_pack("{s:s, s:i, s:[s,s]}", "op", ops[i], "n", 3, "input", "a", "b");
        if (answer_unpack(packed, gen, &r, &e) != 0) {
            require(e.code != ERR_NONE && !r.whole);
        } else {
            require(r.bytes.n <= ANSWER_MAX_BYTES);
            answer_record_play(&r, gen, hear, &h);
            require(h.n_end == 1 && h.n_after == 0);
        }
        answer_record_fini(&h.again);
        answer_record_fini(&r);
        json_decref(gen);
    }
}

static void try_sealed(struct str sealed, bool good) {
    struct answer_seal seal;
    struct str value;
    struct err e = {0};
    answer_seal_names(sealed, "model");
    const int rc = answer_unseal(sealed, "tenant", &seal, &value, &e);
    require(rc == 0 || e.code != ERR_NONE);
    require(rc == 0 || !good);
    if (rc != 0) return;
    require(value.p >= sealed.p && value.p + value.n <= sealed.p + sealed.n);
    try_packed(value);
}

static void try_value(struct str value) {
    const struct answer_seal seal = {"tenant", "model", 1, 2};
    struct buf sealed = {0};
    struct err e;
    require(answer_seal(&seal, value, &sealed, &e) == 0);
    require(answer_seal_names(buf_view(&sealed), "model"));
    try_sealed(buf_view(&sealed), true);
    buf_fini(&sealed);
}

static void try_frames(struct str frames) {
    struct answer_record r = {0};
    struct buf packed = {0};
    struct err e;
    buf_append(&r.bytes, frames.p, frames.n);
    require(answer_pack(&r, &packed, &e) == 0);
    try_packed(buf_view(&packed));
    buf_fini(&packed);
    answer_record_fini(&r);
}

static void try_address(struct str s) {
    char text[600];
    struct answer_redis_url u;
    struct err e = {0};
    const size_t n = s.n < sizeof text - 1 ? s.n : sizeof text - 1;
    memcpy(text, s.p, n);
    text[n] = 0;
    if (answer_redis_url(text, &u, &e) != 0)
        require(e.code == ERR_USAGE);
    else
        require(*u.host && u.port > 0 && u.port < 65536 && u.db >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0) return 0;
    const struct str rest = {(const char *)bytes + 1, n - 1};
    switch (*bytes) {
    case 's': try_sealed(rest, false); break;
    case 'v': try_value(rest); break;
    case 'p': try_packed(rest); break;
    case 'f': try_frames(rest); break;
    case 'u': try_address(rest); break;
    default: break;
    }
    return 0;
}
