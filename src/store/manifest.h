/* A manifest: what a model is made of (COMPAT.md 4.1).  Its bytes are kept as they came: their
 * SHA-256 is the model's id. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "store/digest.h"

#define MEDIA_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_CONFIG "application/vnd.docker.container.image.v1+json"
#define MEDIA_LAYER "application/vnd.ollama.image."

enum {
    MANIFEST_MAX_BYTES = 4 << 20,
    MANIFEST_MAX_LAYERS = 4096,
};
#define LAYER_MAX_BYTES ((uint64_t)1 << 44) /* 16 TiB */

enum layer_kind {
    LAYER_OTHER, /* kept, not used */
    LAYER_MODEL,
    LAYER_PROJECTOR,
    LAYER_ADAPTER,
    LAYER_DRAFT,
    LAYER_TEMPLATE, /* also the old "prompt" */
    LAYER_SYSTEM,
    LAYER_PARAMS,   /* a JSON object */
    LAYER_MESSAGES, /* a JSON array of {role, content} */
    LAYER_LICENSE,
    LAYER_EXTENSION, /* application/vnd.cria.*: commands of our own */
};

struct layer {
    enum layer_kind kind;
    const char *media_type;
    struct digest digest;
    uint64_t n_bytes;
    const char *from, *name; /* or NULL */
};

struct manifest {
    struct layer config; /* of kind LAYER_OTHER */
    struct layer *layer; /* [n_layer] */
    int n_layer;
    struct str bytes; /* as they came */
    struct digest id; /* of the bytes */
    struct arena a;   /* owns all of it */
};

/* Parse bytes from anywhere.  ERR_FORMAT: deep, duplicate keys, wrong media type, no config, a
 * digest that is none, a size below 0 or above LAYER_MAX_BYTES; ERR_LIMIT: over MANIFEST_MAX_BYTES
 * or _LAYERS.  where begins the messages.  manifest_fini also after a failure. */
int manifest_parse(const char *where, const void *bytes, size_t n, struct manifest *m,
                   struct err *e);
void manifest_fini(struct manifest *m);

/* Append the manifest of these parts, with keys in Ollama's order and no blanks, to out. */
int manifest_build(const struct layer *config, const struct layer *layer, int n_layer,
                   struct buf *out, struct err *e);

/* The first layer of this kind, or NULL. */
const struct layer *manifest_layer(const struct manifest *m, enum layer_kind kind);

/* config and all layers, a digest that comes twice counted once. */
uint64_t manifest_total_bytes(const struct manifest *m);

enum layer_kind layer_kind_of(const char *media_type);
/* "application/vnd.ollama.image.model", ...; not for LAYER_OTHER and LAYER_EXTENSION. */
const char *layer_media_type(enum layer_kind kind);
