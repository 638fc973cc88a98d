/* Prompts and answers in the audit log, for one reader only: encrypted to a public key, which is
 * all that the server has.
 *
 *   X25519: ephemeral key, shared secret, HKDF-SHA-256 (salt: none; info: "cria audit content 1",
 *           ephemeral and recipient's public key) -> key of AES-256-GCM
 *   RSA:    random key of AES-256-GCM, itself by RSA-OAEP (SHA-256, MGF1 SHA-256); 2048 bits at
 * least
 *
 * The nonce is 12 random bytes; a key is used once.  The request's id is bound to it as additional
 * data: what is moved to another request does not open. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

struct audit_content;

/* PEM files: "PUBLIC KEY", and "PRIVATE KEY" without a pass phrase.  ERR_USAGE for other keys. */
struct audit_content *audit_content_public(const char *path, struct err *e);
struct audit_content *audit_content_private(const char *path, struct err *e);
void audit_content_free(struct audit_content *c); /* accepts NULL */

/* Append {"alg", "to", "key", "nonce", "data"} to out. */
int audit_content_seal(const struct audit_content *c, struct str id, struct str plain,
                       struct buf *out, struct err *e);
/* ERR_FORMAT: not for this key, or altered. */
int audit_content_open(const struct audit_content *c, struct str id, const json_t *sealed,
                       struct buf *plain, struct err *e);
