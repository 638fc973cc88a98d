/* Names of models: [host[:port]/][namespace/]model[:tag][@sha256:<64 hex>] (COMPAT.md 4.2).  The
 * one parser: no other text becomes the path of a manifest. */
#pragma once

#include "store/digest.h"

#define NAME_DEFAULT_HOST "registry.ollama.ai"
#define NAME_DEFAULT_NAMESPACE "library"
#define NAME_DEFAULT_TAG "latest"

enum {
    NAME_PART_MAX = 80,
    NAME_HOST_MAX = 350,
    NAME_TEXT = NAME_HOST_MAX + 3 * (NAME_PART_MAX + 1) + DIGEST_TEXT + 2,
};

/* All parts are set, by default when the text had none.  Each is made of [A-Za-z0-9_.-], begins
 * with a letter, a digit or "_", and is no path: ".", ".." and separators cannot be in it.  The
 * host may have a port. */
struct name {
    char host[NAME_HOST_MAX + 1]; /* lower case */
    char space[NAME_PART_MAX + 1];
    char model[NAME_PART_MAX + 1];
    char tag[NAME_PART_MAX + 1];
    struct digest pin; /* of the manifest; hex empty: none */
    bool has_tag;      /* the text had one */
    bool plain_http;   /* the text began with http:// */
    bool tls;          /* with https:// */
};

/* ERR_USAGE: what part is wrong and what it may be. */
int name_parse(const char *text, struct name *out, struct err *e);

/* As users see it: without default host and namespace, always with the tag, without the pin. */
void name_short(const struct name *n, char out[NAME_TEXT]);
/* host/namespace/model:tag: parses to the same name. */
void name_full(const struct name *n, char out[NAME_TEXT]);

/* Same model and tag, letter case aside. */
bool name_eq(const struct name *a, const struct name *b);
