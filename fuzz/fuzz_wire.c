/* Fuzz target: what an engine child says, and what the front says to it.  The first byte: c or f,
 * whose frames follow; the second: the operation that events are taken for (0 to 6); the third: how
 * many bytes come at once.  Frames must not depend on how they come; what is accepted must be
 * within its frame and its bounds, and an event without JSON must give the same bytes when it is
 * written. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { N_VOCAB = 100, N_EMBD = 4, N_CHOICE = 3 };

static void require(bool holds) {
    if (!holds) abort();
}

static void require_inside(struct str s, struct str whole) {
    require(s.n == 0 || (s.p >= whole.p && s.p + s.n <= whole.p + whole.n));
}

static void require_same(const struct wire_frame *f, const struct gen_event *ev) {
    struct buf again = {0};
    struct err e;
    require(wire_put_event(&again, f->head.id, ev, &e) == 0);
    require(again.n >= sizeof f->head + f->body.n);
    require(memcmp(again.p, &f->head, sizeof f->head) == 0);
    require(memcmp(again.p + sizeof f->head, f->body.p, f->body.n) == 0);
    buf_fini(&again);
}

static void try_event(const struct wire_frame *f, enum wire_op op) {
    const struct wire_task may = {
        .op = op, .n_choice = N_CHOICE, .n_vocab = N_VOCAB, .n_embd = N_EMBD};
    struct gen_event ev;
    struct err e = {0};
    json_t *data;
    if (wire_get_event(f, &may, &ev, &data, &e) != 0) {
        require(e.code != ERR_NONE && data == NULL);
        return;
    }
    require(ev.choice >= 0 && ev.choice < N_CHOICE && ev.kind <= GEN_END);
    require_inside(ev.text, f->body);
    require_inside(ev.stop, f->body);
    require_inside((struct str){(const char *)ev.token, (size_t)ev.n_token * 4}, f->body);
    require_inside((struct str){(const char *)ev.vector, (size_t)ev.n_vector * 4}, f->body);
    require(utf8_valid_prefix(ev.text.p, ev.text.n) == ev.text.n);
    for (int i = 0; i < ev.n_token; i++)
        require(ev.token[i] >= 0 && ev.token[i] < N_VOCAB);
    for (int i = 0; i < ev.n_vector; i++)
        require(isfinite(ev.vector[i]));
    require((ev.data != NULL) == (data != NULL));
    require(ev.err.code == ERR_NONE || ev.kind == GEN_END);
    if (!data && !ev.err.code) require_same(f, &ev);
    json_decref(data);
}

static void try_frame(const struct wire_frame *f, enum wire_op op) {
    struct gen_info info;
    struct gen_load load;
    struct wire_open open;
    struct err e = {0}, said = {0};
    char arch[WIRE_ARCH_BYTES];
    switch (f->head.kind) {
    case WIRE_READY:
        if (wire_get_ready(f, &info, arch, &e) == 0)
            require(info.arch == arch && info.n_vocab >= 0 && info.n_embd >= 0 &&
                    strnlen(arch, sizeof arch) < sizeof arch);
        break;
    case WIRE_FAILED:
        if (wire_get_failed(f, &said, &e) == 0)
            require(said.code != ERR_NONE && (int)said.code <= WIRE_LAST_ERROR);
        break;
    case WIRE_LOAD:
        if (wire_get_load(f, &load, &e) == 0) require(load.n_running >= 0 && load.n_waiting >= 0);
        break;
    case WIRE_OPEN:
        if (wire_get_open(f, &open, &e) == 0) require(open.path && open.opts.engine.n_ctx >= 0);
        wire_open_fini(&open);
        break;
    case WIRE_EVENT: try_event(f, op); break;
    default: break;
    }
}

/* Frames of the bytes, `piece` of them at once; how many there were before one was wrong (as a
 * negative number) or the bytes ended. */
static int read_frames(bool from_child, enum wire_op op, const uint8_t *p, size_t n, size_t piece) {
    struct wire_in in = {.from_child = from_child};
    struct wire_frame f;
    struct err e = {0};
    int count = 0, rc = 0;
    while (n && rc == 0) {
        size_t room, k = piece < n ? piece : n;
        char *at = wire_room(&in, &room);
        require(at != NULL);
        if (k > room) k = room;
        memcpy(at, p, k);
        in.n += k;
        p += k, n -= k;
        while ((rc = wire_take(&in, &f, &e)) > 0) {
            require_inside(f.body, (struct str){in.p, in.n});
            require((uintptr_t)f.body.p % 8 == 0);
            try_frame(&f, op);
            count++;
        }
    }
    require((rc < 0) == (e.code != ERR_NONE));
    wire_in_fini(&in);
    return rc < 0 ? -1 - count : count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 3 || (bytes[0] != 'c' && bytes[0] != 'f')) return 0;
    const bool from_child = bytes[0] == 'c';
    const enum wire_op op = (enum wire_op)(bytes[1] % 7);
    const size_t piece = bytes[2] ? bytes[2] : 1;
    const int a = read_frames(from_child, op, bytes + 3, n - 3, n);
    require(a == read_frames(from_child, op, bytes + 3, n - 3, piece));
    return 0;
}
