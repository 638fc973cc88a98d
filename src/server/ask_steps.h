/* The row of steps between ask_start and a model, each in a file of its own:
 *
 *   ask_start   ask.c        begins the row; answers what a step refused
 *     -> ask_audit  ask_audit.c  keeps what the client is told, for the audit log
 *       -> ask_key    ask_key.c    what the key may: model, tokens; counts what was used
 *         -> ask_pii    ask_pii.c    personal data out of the request, placeholders given back
 *           -> ask_cache  ask_cache.c  an answer that is known, or is being made for another
 *             -> ask_pii_answer  ask_pii_answer.c  personal data out of the answer
 *               -> ask_chain  ask_chain.c  the model, else those that may stand in for it
 *                 -> ask_receipt ask_receipt.c  what came out of what, for those who want to know
 *                   -> ask_one   ask_model.c  one model: queue, load, start, deliver events
 *                 -> ask_remote  ask_remote.c one on another host that speaks OpenAI's API
 *
 * Every step is `int ask_X(struct request *r, const struct ask *a, struct err *e)` and calls the
 * next one, as it got `a`, or with its own fn, ready and ctx in a copy of it, a's kept behind them
 * (ready and fn share one ctx).
 *
 *   0    a->fn is called, maybe before this returns; GEN_END is the last call
 *   -1   with e: refused.  Nothing was answered, fn is and was not called; who called it tells or
 *        tries another.  ask_start answers with reply_err
 *
 * Either way a->gen is gone; what `a` points at beside it is borrowed until the step returns, but
 * keep_alive, which is a part of the request's body.  A step that holds r beyond that takes a
 * reference (request_priv.h).  fn is called as gen_event_fn is: one event at a time, it must not
 * block. */
#pragma once

#include "server/ask.h"

int ask_audit(struct request *r, const struct ask *a, struct err *e);
/* May this model be asked, as its own policy says (audit=required)?  For a step that goes to
 * another model than the one ask_audit has seen. */
int ask_audit_policy(struct request *r, const char *model, struct err *e);
int ask_key(struct request *r, const struct ask *a, struct err *e);
int ask_pii(struct request *r, const struct ask *a, struct err *e);
int ask_cache(struct request *r, const struct ask *a, struct err *e);
int ask_pii_answer(struct request *r, const struct ask *a, struct err *e);
int ask_chain(struct request *r, const struct ask *a, struct err *e);
int ask_receipt(struct request *r, const struct ask *a, struct err *e);
int ask_one(struct request *r, const struct ask *a, struct err *e);

/* Does gen.h's request take a sequence of the model, and make or read tokens that count? */
bool ask_takes_slot(const json_t *gen);
