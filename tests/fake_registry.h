/* A registry with one model, library/m, that behaves as a plan says, and what pulls from it must
 * come to: shared by the tests of registries that lie. */
#pragma once

#include "hostile.h"
#include "store_rig.h"

#include "store/digest.h"

/* How it behaves; zeros: well. */
struct plan {
    const char *name; /* pull this name; NULL: http://127.0.0.1:PORT/library/m */
    bool insecure;    /* with --insecure */

    const char *manifest;   /* instead of the right one */
    size_t manifest_repeat; /* blanks instead, chunked, up to so many bytes */
    const char *manifest_headers;
    int manifest_status;
    bool endless_header;

    const char *challenge; /* WWW-Authenticate of a 401 without a token */
    bool big_token;

    const char *redirect; /* blobs are there */
    int status_of_blobs;
    const char *blob_headers;
    bool wrong_bytes, wrong_range, no_ranges;
    bool etag_changes; /* each answer has another one, and, with wrong_bytes, another content */

    /* So often, then well.  Of the model's blob only. */
    int drip_times;  /* one byte, then closed */
    int busy_times;  /* busy_status with busy_headers */
    int drop_times;  /* it ends in the middle, or after drop_at bytes */
    int stall_times; /* nothing comes after stall_at bytes of an answer, and the line stays open */
    int longer_times, shorter_times; /* Content-Length says 1000 more, less than is meant */
    uint64_t stall_at, drop_at;
    int busy_status;
    const char *busy_headers;
    uint64_t refused_from; /* ranges from here or further are answered with 403; 0: none */
};
extern struct plan plan;

enum { FAKE_BYTES = 300000, FAKE_MAX_KEYS = 16 };

struct fake {
    struct shop shop;
    struct hostile server;
    char *blob; /* [n_blob], owned */
    size_t n_blob;
    struct digest blob_digest, config_digest;
    char manifest[2048];                 /* the right one */
    size_t least_rss_bytes;              /* of a pull that is refused at once */
    atomic_ullong bytes_sent;            /* of floods */
    atomic_ullong blob_bytes;            /* sent of blobs */
    atomic_ullong least_from, last_from; /* where ranges of the model's blob began */
    atomic_int blob_requests;            /* for the model's blob */
    atomic_int token_requests, bad_signatures;
    int n_keys; /* that signed */
    char key[FAKE_MAX_KEYS][200];
};
extern struct fake fake;

extern const char fake_config[]; /* the model's, as text */

int fake_set_up(void **state); /* of a group of tests */
int fake_tear_down(void **state);

/* Give the model another blob, of about n bytes, of which nothing is here. */
void fake_new_blob(size_t n);

/* As an earlier pull would have left it: so many parts, with nothing in them. */
void fake_begin_parts(size_t n_parts);

/* The registry itself, as a hostile_fn; and its blob, wherever it is asked for. */
void fake_answer(void *ctx, int fd, const struct hostile_request *q);
void fake_send_blob(int fd, const struct hostile_request *q, const char *bytes, size_t n);

/* "Bearer realm=..." at this registry's own address. */
const char *fake_challenge(void);

/* A manifest with the model's config and a layer of this digest and size. */
void fake_manifest(char *out, size_t n, const char *layer, unsigned long long layer_bytes);

/* Start the program and do not wait. */
int fake_start_pull(const char *name);

void fake_pull(struct ran *r);
/* It fails, says so, and nothing of it is in the store, and nothing beside it has changed. */
void fake_refused(const char *what, const char *said);
/* The same; r is the caller's to fini. */
void fake_refused_as(struct ran *r, const char *what, const char *said);
/* It succeeds; the model is removed again. */
void fake_pulled(const char *what);
void fake_pulled_as(struct ran *r, const char *what);

#define FAKE_MEDIA "application/vnd.docker.distribution.manifest.v2+json"
#define FAKE_MANIFEST(config_digest, config_size, layers)                                          \
    "{\"schemaVersion\":2,\"mediaType\":\"" FAKE_MEDIA                                             \
    "\",\"config\":{\"mediaType\":\"application/vnd.docker."                                       \
    "container.image.v1+json\",\"digest\":\"" config_digest "\",\"size\":" config_size             \
    "},\"layers\":[" layers "]}"
#define FAKE_LAYER(digest, size)                                                                   \
    "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"" digest                   \
    "\",\"size\":" size "}"
