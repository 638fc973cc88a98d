/* The ed25519 key that tells a registry who asks, in OpenSSH's formats as Ollama keeps it. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct key {
    unsigned char seed[32], public[32];
};

/* From PATH; NULL: ~/.cria/id_ed25519, else ~/.ollama/id_ed25519, else a new one is made at the
 * former (0600, its public half beside it as .pub).  ERR_FORMAT when the file is no such key or is
 * encrypted. */
int key_open(const char *path, struct key *k, struct err *e);

/* Append "<public key>:<signature>" of the bytes, both base64: what stands behind "Authorization:"
 * of a token request. */
int key_sign(const struct key *k, struct str bytes, struct buf *out, struct err *e);

/* Append base64 of the bytes. */
void key_base64(struct buf *out, const void *bytes, size_t n);
