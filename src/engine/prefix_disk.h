/* The prefix cache's pages in a folder, so that they outlive the program (CRIA_CACHE).  A file per
 * page, named by the digest of all tokens up to its end: a conversation that grows adds files, and
 * two programs that write the same page write the same file.
 *
 * Nothing there is needed and nothing is believed: what is missing, torn or foreign is computed
 * again.  Files appear by rename, complete; several programs may use one folder at once.  What a
 * cache holds gives away the prompts: folder and files are their user's alone. */
#pragma once

#include "base/sha256.h"
#include "engine/identity.h"

struct prefix_disk;

struct prefix_disk_opts {
    const char *folder;   /* made if missing, and its parents */
    uint64_t max_bytes;   /* that the folder's files may take together */
    size_t page_bytes;    /* of one page in memory */
    struct identity *who; /* taken over */
};

/* The folder with its parents, for its user alone, as prefix_disk_open makes it.  Whether that
 * worked is seen when it is opened. */
void prefix_disk_make(const char *folder);

/* NULL with e set when the folder cannot be used: ERR_IO, ERR_LIMIT when others may write to it. */
struct prefix_disk *prefix_disk_open(const struct prefix_disk_opts *o, struct err *e);
void prefix_disk_close(struct prefix_disk *d); /* NULL is allowed; waits for the writer */

/* chain [32]: the state that names a page; start it, and move it over KV_PAGE tokens.  -1: the
 * model's digest is not known yet (the first save computes it), or memory is short. */
int prefix_disk_start(struct prefix_disk *d, uint8_t chain[SHA256_BYTES]);
int prefix_disk_next(uint8_t chain[SHA256_BYTES], const int32_t *tok);

/* Read page `index` of the text, tok [KV_PAGE] being its tokens and chain the state before it, into
 * page.  False: it is not there, or was broken and is removed. */
bool prefix_disk_load(struct prefix_disk *d, const uint8_t chain[SHA256_BYTES], int index,
                      const int32_t *tok, uint8_t *page);

/* Write page[0..n_page), the beginning of tok [n_page * KV_PAGE], as far as it is missing and
 * when it is worth it (PREFIX_MIN_NEW pages).  In a thread: pages must not change and tok must stay
 * until prefix_disk_done says so.  False: the last one is not finished, nothing was begun. */
enum { PREFIX_MIN_NEW = 2 };
bool prefix_disk_save(struct prefix_disk *d, uint8_t *const *page, const int32_t *tok, int n_page);

/* True when no save is under way; wait: until then. */
bool prefix_disk_done(struct prefix_disk *d, bool wait);
