/* Who may drive this server from a browser: the Host and Origin of a request (SECURITY.md H1, H2).
 *
 * A page that a user merely visits must not reach a server on loopback: neither under a name of its
 * own that resolves to 127.0.0.1 (Host), nor by a request across origins (Origin).  Pure functions
 * on text. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

/* May a server on loopback be called by this Host ("NAME", "NAME:PORT", "[IPv6]:PORT")?  localhost
 * and names below it, loopback and private addresses and 0.0.0.0, the machine's own name, names
 * below local and internal, and those of `more`: "a.example,.b.example" (the latter: names below
 * it).  An empty one may not. */
bool host_is_local(struct str host, const char *more);

struct origin_rules {
    const char *origins; /* patterns, as ORIGINS has them, beside the local ones */
    const char *hosts;   /* as `more` above */
    bool any_host;       /* a page of whatever name this server has is its own: there are keys */
};

/* May a page of this origin ask a server that was called by `host`?  Pages of localhost and
 * loopback at any port; of desktop programs (app, tauri, vscode-webview, vscode-file); the server's
 * own; those that a pattern names, "*" in it standing for any text.  Never "null" or "file:" unless
 * "*" says so.
 */
bool origin_is_allowed(struct str origin, struct str host, const struct origin_rules *r);

/* Headers for the page: complete lines.  Preflight: what it may send, too. */
void origin_headers(struct str origin, bool preflight, struct buf *out);
