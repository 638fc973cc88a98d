/* Private to store/: the state of a download's parts on disk, in Ollama's format, so that whoever
 * comes next, Ollama included, goes on where this one stopped. */
#pragma once

#include <stdatomic.h>

#include "store/store.h"

enum { PARTS_MAX = 1024 };

struct part {
    uint64_t from, n_bytes;
    _Atomic uint64_t done;
    int fd; /* of its state file */
};

struct parts {
    int fd; /* of the partial blob */
    struct part part[PARTS_MAX];
    int n;
};

/* Open what is there for this blob of n_bytes, or begin. */
int parts_open(struct parts *p, const struct store *s, const struct digest *d, uint64_t n_bytes,
               struct err *e);
void parts_close(struct parts *p);

/* Bytes that the partial blob takes on disk; 0: there is none. */
uint64_t parts_on_disk(const struct store *s, const struct digest *d);

/* Write down how far part i is: after the bytes themselves were written. */
void parts_save(struct parts *p, int i);

uint64_t parts_done(const struct parts *p);     /* bytes, in all parts */
uint64_t parts_frontier(const struct parts *p); /* bytes from the beginning without a gap */
