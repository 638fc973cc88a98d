/* Tar archives (POSIX ustar, with pax and GNU names and sizes), member by member, never by path:
 * what a member is called decides nothing but whether it is read (SECURITY.md R10). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { TAR_NAME = 1024, TAR_MAX_MEMBERS = 100000 };

struct tar_member {
    char name[TAR_NAME]; /* relative, without "." and ".." in it, and without "./" before it */
    uint64_t n_bytes;
};

struct tar_reader {
    int fd;           /* borrowed: a file or a pipe */
    const char *path; /* for messages; borrowed */
    uint64_t left;    /* bytes of this member still to come */
    uint64_t pad;     /* behind them */
    int n_member;
};

/* The next regular file into *m: 1; 0 at the end.  Folders are passed over.  ERR_FORMAT: a broken
 * or truncated archive, a link, a device, a path that is absolute or climbs; ERR_LIMIT: too many
 * members. */
int tar_next(struct tar_reader *r, struct tar_member *m, struct err *e);

/* Up to n bytes of the member; 0 at its end; -1 with e set, also when the archive ends before. */
int64_t tar_read(struct tar_reader *r, void *bytes, size_t n, struct err *e);

/* What a writer may send behind the end, read and thrown away, so that its pipe does not break: tar
 * fills its last record with zeros.  At most 16 MiB. */
void tar_drain(struct tar_reader *r);

/* What stands before a member's bytes, and how many zeros behind them. */
void tar_header(const char *name, uint64_t n_bytes, char out[512]);
static inline size_t tar_padding(uint64_t n_bytes) {
    return (size_t)(-n_bytes % 512);
}
