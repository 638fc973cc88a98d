/* What the front and the engine child say to each other over their socket pair.
 *
 *     front -> child    FILE x n, OPEN, then START CANCEL PAUSE RESUME ADAPTER, last CLOSE
 *     child -> front    READY or FAILED, then EVENT LOAD, and ADDED for each ADAPTER
 *
 * A frame is a head of 16 bytes and its body, padded with zeros to a multiple of 8.  Both sides run
 * on one machine from one file, so numbers are as the processor has them; nothing else is taken for
 * granted.  The child reads models of strangers: what comes from it is looked at here until nothing
 * in it can hurt (lengths, kinds, ids, UTF-8, depth and shape of JSON, values that index
 * something), and the order of events in gen_child.c.  A frame that breaks the rules ends the
 * child. */
#pragma once

#include "base/buf.h"
#include "engine/gen.h"

enum wire_kind {
    WIRE_FILE = 1, /* the path of a file; its descriptor comes with the frame's first byte */
    WIRE_OPEN,     /* JSON: the path and gen_opts */
    WIRE_START,    /* JSON: a request */
    WIRE_CANCEL,
    WIRE_PAUSE,
    WIRE_RESUME,
    WIRE_ADAPTER, /* JSON: its name, size, scale; its descriptor comes with the first byte */
    WIRE_CLOSE,
    WIRE_FROM_CHILD = 16,
    WIRE_READY = WIRE_FROM_CHILD, /* JSON: gen_info */
    WIRE_FAILED,                  /* struct wire_error, message */
    WIRE_EVENT,                   /* struct wire_event and what it counts */
    WIRE_LOAD,                    /* struct gen_load */
    WIRE_ADDED,                   /* struct wire_error (ERR_NONE: it is there), message */
    WIRE_END_KINDS,
};

enum {
    WIRE_MAX_REQUEST = 256 << 20, /* bytes of a frame of the front: pictures come as base64 */
    WIRE_MAX_EVENT = 32 << 20,    /* bytes of a frame of the child */
    WIRE_MAX_VALUES = 1 << 20,    /* of the JSON of a frame of the child */
    WIRE_LAST_ERROR = ERR_FORBIDDEN,
};

struct wire_head {
    uint32_t n_bytes; /* of the body, without padding */
    uint32_t kind;
    uint64_t id; /* of the task; 0 where there is none */
};

struct wire_frame {
    struct wire_head head;
    struct str body; /* aligned to 8 bytes */
};

/* ---- reading ---- */

/* Bytes that have come, not yet taken. */
struct wire_in {
    char *p; /* owned */
    size_t at, n, cap;
    bool from_child; /* whose frames are accepted */
};

/* Room for at least 4096 more bytes; NULL: no memory.  Frames taken before are gone.  The caller
 * adds to in->n what it read. */
char *wire_room(struct wire_in *in, size_t *n_room);
/* The next whole frame: 1, valid until wire_room; 0: more bytes are needed; -1 with ERR_FORMAT. */
int wire_take(struct wire_in *in, struct wire_frame *f, struct err *e);
void wire_in_fini(struct wire_in *in);

/* ---- frames ---- */

/* Append a frame.  -1 with ERR_NOMEM, or ERR_LIMIT when the body is longer than that kind may be:
 * nothing was appended. */
int wire_put_frame(struct buf *out, enum wire_kind kind, uint64_t id, struct str body,
                   struct err *e);
int wire_put_json(struct buf *out, enum wire_kind kind, uint64_t id, const json_t *body,
                  struct err *e);

int wire_put_failed(struct buf *out, const struct err *why, struct err *e);
/* *why becomes what the child says. */
int wire_get_failed(const struct wire_frame *f, struct err *why, struct err *e);

/* The same for an adapter; why->code ERR_NONE: it is there. */
int wire_put_added(struct buf *out, const struct err *why, struct err *e);
int wire_get_added(const struct wire_frame *f, struct err *why, struct err *e);

int wire_put_load(struct buf *out, const struct gen_load *l, struct err *e);
int wire_get_load(const struct wire_frame *f, struct gen_load *l, struct err *e);

/* ---- opening (wire_open.c) ---- */

/* What gen_opts point to lives in keep. */
int wire_put_open(struct buf *out, const char *path, const struct gen_opts *o, struct err *e);
struct wire_open {
    const char *path;
    struct gen_opts opts;
    json_t *keep; /* owned */
    const char *lora[1];
    float lora_scale[1];
};
int wire_get_open(const struct wire_frame *f, struct wire_open *o, struct err *e);
void wire_open_fini(struct wire_open *o);

/* An adapter on its way; name points into keep. */
struct wire_adapter {
    const char *name;
    uint64_t n_bytes;
    float scale;
    json_t *keep; /* owned: json_decref */
};
int wire_put_adapter(struct buf *out, const struct wire_adapter *a, struct err *e);
int wire_get_adapter(const struct wire_frame *f, struct wire_adapter *a, struct err *e);

enum { WIRE_ARCH_BYTES = 64 };
int wire_put_ready(struct buf *out, const struct gen_info *info, struct err *e);
/* info->arch points to arch. */
int wire_get_ready(const struct wire_frame *f, struct gen_info *info, char arch[WIRE_ARCH_BYTES],
                   struct err *e);

/* ---- events (wire_event.c) ---- */

/* Appends the frame of an event.  ERR_LIMIT: larger or deeper than the front accepts. */
int wire_put_event(struct buf *out, uint64_t id, const struct gen_event *ev, struct err *e);

/* What an event may be, known from the request and from the model. */
struct wire_task {
    enum wire_op {
        WIRE_OTHER,
        WIRE_GENERATE,
        WIRE_EMBED,
        WIRE_RERANK,
        WIRE_TOKENIZE,
        WIRE_DETOKENIZE,
        WIRE_RENDER
    } op;
    int n_choice; /* choices, inputs or documents */
    int n_vocab, n_embd;
};
void wire_task_init(struct wire_task *t, const json_t *request, const struct gen_info *info);

/* The event in a frame, checked by itself.  Text, tokens and vector point into the frame; *data
 * (json_decref) is what ev->data borrows. */
int wire_get_event(const struct wire_frame *f, const struct wire_task *t, struct gen_event *ev,
                   json_t **data, struct err *e);
