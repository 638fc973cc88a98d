/* Training jobs (POST /api/train): one at a time, in a process of its own (create/tune_child.h).
 *
 *   handler -> trainings_start -> the job's thread: starts the process, hands it the order, reads
 *              its lines -> the figures of the job, and every request that follows it
 *
 * A job is nobody's: it goes on when the client that asked for it has left, and whoever asks for
 * the same again while it runs follows it.  It ends with a model in the store, with an error, when
 * it is cancelled, or with the server; what it has done by then is in its checkpoints, and the same
 * request goes on from there.  A process that crashes costs the job, nothing else.
 *
 * The memory of its plan counts with that of the models (models_reserve). */
#pragma once

#include <jansson.h>

#include "create/tune_order.h"
#include "server/log.h"
#include "server/models.h"
#include "server/request.h"

struct trainings;

/* All three are borrowed. */
struct trainings *trainings_open(struct store *s, struct models *m, struct log *l, struct err *e);
/* No more jobs; the one that runs stops at its next step, with a checkpoint. */
void trainings_drain(struct trainings *t);
/* Waits for its end, but not for ever.  Accepts NULL. */
void trainings_close(struct trainings *t);

/* Any thread; each ends r, now or when the job has got so far.
 *
 * start: o is taken over in any case.  stream: r gets its lines, else the job as it was at its end.
 * 409 while another job runs. */
void trainings_start(struct trainings *t, struct request *r, struct tune_order *o, bool stream);
void trainings_list(struct trainings *t, struct request *r);
/* As it is now; or, stream, what it has said and will say. */
void trainings_get(struct trainings *t, struct request *r, const char *id, bool stream);
/* Stops it, and answers when it has ended; one that has ended is forgotten. */
void trainings_remove(struct trainings *t, struct request *r, const char *id);
