/* API keys: who may do what.  A file of lines
 *
 *   NAME KEY [read|use|admin]      # read: lists and shows; use (usual): models work, too; admin:
 * all
 *
 * KEY is the key itself, at least 16 bytes, or "sha256:" and the 64 digits of its hash.  Only
 * hashes are kept.  Who asks is found in a time that does not depend on how much of a key is right:
 * all hashes are compared, each in constant time. */
#pragma once

#include <stdbool.h>

#include "base/str.h"
#include "server/route.h"

enum { KEY_NAME_MAX = 64 };

struct keys; /* immutable */

/* ERR_USAGE: "FILE, line N: ...", never with the key in it.  An empty file is one, too: it would
 * shut everybody out. */
struct keys *keys_read(const char *path, struct err *e);
void keys_free(struct keys *k);

/* The name and rights of a key; false: unknown. */
bool keys_find(const struct keys *k, struct str key, char name[KEY_NAME_MAX], enum right *right);

/* What a request has: the key of "Authorization: Bearer KEY" or "X-API-Key: KEY"; empty: none. */
struct str keys_of(const struct http_head *h);
