/* Checkpoints: all that a run needs to go on bit for bit as if it had never stopped.
 *
 *     offset  what
 *          0  magic "CRIACKPT", u32 version (2), u32 number of sections (8)
 *         16  u64 bytes of each section
 *         80  the sections, one behind the other:
 *               id       SHA-256 of the base, SHA-256 of the data
 *               config   text, a line "key=value" for each setting
 *               state    struct train_state, field by field
 *               tensors  for each: u32 length of the name, name, u32 n_dim, i64 ne[4]
 *               w m v    floats of all tensors, in order, without gaps
 *               best     the same: w of the best validation; empty before one
 *        end  SHA-256 of everything before
 *
 * Made between two steps, when no gradient is accumulated.  Little-endian.  Written to a temporary
 * file, fsynced, renamed, the folder fsynced: kill -9 or a power cut leaves the file before or the
 * file after.  Nothing read is believed: sizes are checked, then the digest, then each section; the
 * planes are touched when all of that has passed. */
#pragma once

#include <limits.h>

#include "base/sha256.h"
#include "base/str.h"
#include "train/optim.h"
#include "train/params.h"
#include "train/rng.h"

/* What a run is of: it can only go on with the same. */
struct checkpoint_id {
    uint8_t base[SHA256_BYTES], data[SHA256_BYTES];
    struct str config; /* lines "key=value\n"; borrowed; at most CHECKPOINT_MAX_CONFIG bytes */
};
enum { CHECKPOINT_MAX_CONFIG = 64 * 1024 };

/* What changes while a run goes on, planes apart.  All-zero, with best_step -1 and the generator
 * seeded, is the beginning. */
struct train_state {
    int64_t step;      /* done, those that were skipped as well */
    int64_t n_tok;     /* seen by all processes of the run together */
    int64_t best_step; /* of the best validation; -1: none yet */
    int32_t n_worse;   /* validations since then: patience */
    int32_t n_skipped; /* steps skipped in a row, up to now */
    double best_loss;
    double own[16]; /* figures of the trainer's own: first losses, sums, seconds */
    struct rng rng; /* dropout and whatever else is drawn */
    struct spike_guard guard;
};

struct checkpoint {
    const struct checkpoint_id *id;
    struct train_state *state;
    struct params *p; /* declared and allocated, also for reading */
    float *best; /* [n_plane] in p's layout: read and written when best_step >= 0; NULL: the run
                  * has no validation, and best_step is -1 */
};

/* ERR_IO: the file before, if any, is still there. */
int checkpoint_write(const char *path, const struct checkpoint *c, struct err *e);

/* Fill state, p's planes and best.  ERR_FORMAT: truncated or damaged; ERR_USAGE: of another run
 * (the base, the data, the setting or the tensor that differs is named); ERR_UNSUPPORTED: another
 * version.  Then state and planes are as they were, but for an ERR_IO half way.  grad becomes zero.
 */
int checkpoint_read(const char *path, const struct checkpoint *c, struct err *e);

/* The same on an open descriptor: from its beginning; `where` begins messages.  Writing neither
 * syncs nor truncates. */
int checkpoint_write_fd(int fd, const char *where, const struct checkpoint *c, struct err *e);
int checkpoint_read_fd(int fd, const char *where, const struct checkpoint *c, struct err *e);

/* ---- a run's folder: step-000123.ckpt, the last two of them ---- */

/* One run a folder: a lock that lasts until the descriptor is closed or the process ends.
 * ERR_BUSY: another has it. */
int checkpoint_lock(const char *dir, struct err *e);

/* The step of the newest file, whatever is in it; -1: none, or no such folder. */
int64_t checkpoint_newest(const char *dir);

/* Write step-NNNNNN.ckpt of state->step.  Then all others but the one before it go, and what a
 * process that was killed left half written; later steps too, which are of a history that this run
 * has left. */
int checkpoint_save(const char *dir, const struct checkpoint *c, struct err *e);

/* Read the newest that is whole; one that is damaged or cannot be read is passed over with a
 * warning.  path gets its name; "": there is none, and that is no error.  Errors as
 * checkpoint_read; where all are passed over, that of the newest.  After an error the planes may be
 * half read: the run must not go on with them. */
int checkpoint_load(const char *dir, const struct checkpoint *c, char path[PATH_MAX],
                    struct err *e);
