/* An answer as bytes: the events of a generation, one after the other, and back.  What is played
 * back is what the model said, event by event: pieces of a stream, token ids, log-probabilities,
 * tool calls, reasons and figures.
 *
 * The frames are those of the engine's wire (engine/wire.h); whoever reads them looks at all of
 * them before the first is told, as they may come from a store that others write, too. */
#pragma once

#include "base/buf.h"
#include "engine/gen.h"

/* Of one as it is, about 14,000 tokens; packed it takes a tenth.  As chunks of a stream it is up to
 * three times as long, which must wait for a slow reader (server/request_priv.h: STREAM_MAX). */
enum { ANSWER_MAX_BYTES = 2 << 20 };

struct answer_record {
    struct buf bytes; /* owned */
    bool whole;       /* its GEN_END came, without an error and with nothing cut */
    bool failed;      /* longer than ANSWER_MAX_BYTES, or out of memory: not to be kept */
};

void answer_record_add(struct answer_record *r, const struct gen_event *ev);
void answer_record_fini(struct answer_record *r);

/* Tell the events that are in r to fn. */
void answer_record_play(const struct answer_record *r, const json_t *gen, gen_event_fn *fn,
                        void *ctx);

/* Append it in its packed form. */
int answer_pack(const struct answer_record *r, struct buf *out, struct err *e);
/* The other way; *r is empty and gets what is in `packed`, an answer that is whole and one that
 * `gen` (engine/gen.h) may get.  ERR_FORMAT: it is none. */
int answer_unpack(struct str packed, const json_t *gen, struct answer_record *r, struct err *e);
