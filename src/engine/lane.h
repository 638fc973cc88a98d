/* A thread that does one piece of work after the other, the short ones first: reading requests
 * takes from microseconds to seconds, and who asks for little must not wait for who asks for much.
 *
 * Each piece gets a time by which it is due when it comes: now, and what its bytes will take, once
 * for itself and once for each piece of the same user that waits already.  The earliest goes first.
 * So short ones pass long ones, but only those that come soon after; and who sends many comes
 * behind who sends few.  (Earliest deadline first; nothing waits for ever, as new times only grow.)
 *
 * What is under way is not interrupted: work of different size belongs into different lanes.  A
 * background lane's thread is nice to all others of the process: those who decode above all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lane;

/* Part of what it works on; in one lane at a time. */
struct lane_job {
    void (*run)(struct lane_job *j); /* j may be gone with it */
    /* The lane's. */
    struct lane_job *next;
    uint64_t user;
    int64_t due_ns;
};

struct lane *lane_new(bool background, struct err *e);
/* Any thread; never blocks for long, never fails.  user: whose it is, by any number. */
void lane_add(struct lane *l, struct lane_job *j, uint64_t user, size_t n_bytes);
/* Lets all that waits run, then ends.  Nothing may be added any more.  Accepts NULL. */
void lane_free(struct lane *l);
