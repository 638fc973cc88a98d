/* What a child process of the front does with itself before it gives up its rights
 * (base/sandbox.h): the engine's, and the trainer's. */
#pragma once

#include <stdint.h>

#include "base/sandbox.h"

/* A terminal's keys and a service manager's signals are for the front, which closes its end of the
 * socket when a child shall go. */
void child_ignore_signals(void);

/* When memory is short, this process goes before the front does; `score` as in oom_score_adj: the
 * higher goes first. */
void child_offer_to_die(int score);

/* What libraries and our own code read from files once, they read now. */
void child_read_ahead(void);

/* All that an engine child does before it reads what strangers made: it keeps the socket to the
 * front, the prefix cache's folder (or NULL) and max_bytes (0: no limit) of memory. */
int child_shut(const char *folder, int socket, uint64_t max_bytes, struct sandbox_state *got,
               struct err *e);

/* For sandbox_opts.max_data_bytes, of a process that keeps to max_bytes (0: no limit) by itself. */
uint64_t child_data_limit(uint64_t max_bytes);
