/* Where entries lie, behind one interface: an SQLite file, or JSON lines when its name ends in
 * ".jsonl".  One process writes a log at once: it holds FILE.lock.
 *
 *   SQLite  entry(seq, line), WAL, synchronous FULL: one sync a batch.  head(seq, hash) is written
 *           in the same transaction, so that the last entries cannot be dropped unseen.
 *   lines   one write and one fdatasync a batch; then FILE.head, without a sync (what it names is
 * on the disk already, so it is never ahead).  Full files are kept as FILE.<seq of the last entry,
 * 20 digits>. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

enum { AUDIT_PATH = 4096, AUDIT_SEQ_TEXT = 21 };

struct audit_store;

/* How a chain ends that is there already. */
struct audit_end {
    uint64_t seq; /* 0: it is new */
    uint8_t hash[SHA256_BYTES];
    bool stopped;   /* its last entry says that the writer stopped; or it is new */
    bool hmac, sig; /* its last entry has such a seal */
    /* Lines: what was found behind the last whole entry, a write that was cut. */
    uint64_t torn_bytes; /* without a line end; 0: nothing */
    uint8_t torn_hash[SHA256_BYTES];
};

/* `setting`, else ~/.cria/audit.db; the folder is made (0700) when it is ~/.cria. */
int audit_path(const char *setting, char out[AUDIT_PATH], struct err *e);
bool audit_path_is_lines(const char *path);

/* Makes the file (0600).  ERR_BUSY: another process writes it, which is named.  ERR_FORMAT: its end
 * is damaged in a way that no crash leaves. */
struct audit_store *audit_store_open(const char *path, struct audit_end *end, struct err *e);
void audit_store_close(struct audit_store *s);
/* All lines (without line ends; [n]) durably, or none; seq and hash are those of the last. */
int audit_store_append(struct audit_store *s, const struct buf *line, int n, uint64_t seq,
                       const uint8_t hash[SHA256_BYTES], struct err *e);
/* Begin a new file behind the entry `seq`, the last one; lines only (SQLite: nothing). */
int audit_store_rotate(struct audit_store *s, uint64_t seq, struct err *e);
/* Remove all entries up to this one. */
int audit_store_drop(struct audit_store *s, uint64_t through, struct err *e);
uint64_t audit_store_bytes(const struct audit_store *s); /* of the file that is written */
/* A damaged log and what belongs to it, renamed: "FILE.damaged-<unix time>". */
int audit_store_set_aside(const char *path, char moved[AUDIT_PATH], struct err *e);

/* ---- between the files of the store ---- */

struct audit_store_kind {
    int (*open)(struct audit_store *s, struct audit_end *end, struct err *e);
    int (*append)(struct audit_store *s, const struct buf *line, int n, uint64_t seq,
                  const uint8_t hash[SHA256_BYTES], struct err *e);
    int (*rotate)(struct audit_store *s, uint64_t seq, struct err *e);
    int (*drop)(struct audit_store *s, uint64_t through, struct err *e);
    uint64_t (*bytes)(const struct audit_store *s);
    void (*close)(struct audit_store *s);
};
extern const struct audit_store_kind audit_kind_sqlite, audit_kind_lines;

struct audit_store {
    const struct audit_store_kind *kind;
    char path[AUDIT_PATH - 64];
    int lock;   /* of FILE.lock */
    void *data; /* the kind's, owned */
};

/* Rotated files of FILE, oldest first: the numbers of their last entries.  free(*seq). */
int audit_segments(const char *path, uint64_t **seq, int *n, struct err *e);
void audit_segment_path(const char *path, uint64_t seq, char out[AUDIT_PATH]);
/* What FILE.head says; false: nothing that can be read. */
bool audit_head_read(const char *path, uint64_t *seq, uint8_t hash[SHA256_BYTES]);
