/* Placeholders: "<EMAIL_1>" for a value, the same for the same value, and back again.
 *
 * A vault lives as long as one request.  Restoring is a stream: an answer comes in pieces, and a
 * model may write a placeholder in several of them. */
#pragma once

#include "policy/pii.h"

struct pii_vault;

struct pii_vault *pii_vault_new(struct err *e);
void pii_vault_free(struct pii_vault *v); /* accepts NULL */

/* A text that is going to be replaced: placeholders which it has of itself are never given out, so
 * that none of them is taken for one of ours.  Numbers of nine digits nobody gets. */
void pii_vault_reserve(struct pii_vault *v, struct str text);

/* Append the placeholder of the value.  1: its kind has no number left, nothing was appended. */
int pii_vault_put(struct pii_vault *v, enum pii_kind k, struct str value, struct buf *out,
                  struct err *e);

/* The i-th placeholder and its value, borrowed; false: there are fewer. */
bool pii_vault_at(const struct pii_vault *v, size_t i, char name[40], struct str *value);

/* A place in a text that comes in pieces. */
struct pii_restore {
    char held[40]; /* what may become a placeholder */
    size_t n;
};
/* Append the text with placeholders given back; whatever may yet become one, less than 40 bytes,
 * stays in r.  They are found in any case of letters. */
void pii_restore_feed(struct pii_restore *r, const struct pii_vault *v, struct str text,
                      struct buf *out);
void pii_restore_end(struct pii_restore *r, const struct pii_vault *v, struct buf *out);
