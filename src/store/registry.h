/* Models from and to registries (COMPAT.md 4.3, 4.4; SECURITY.md 1.2).  Hubs that speak /v2/ are
 * registries like any other. */
#pragma once

#include "store/store.h"

struct registry_opts {
    bool insecure; /* the name's host may have any certificate, or be asked by plain http when the
                      name says so or TLS is not spoken there */
    const char *key_path; /* ed25519 key; NULL: ~/.cria/id_ed25519, else ~/.ollama/id_ed25519; made
                             on first use */
    int n_streams;        /* 0: 8 ranges at once */
    const volatile int *stop; /* or NULL */
};

/* Progress as Ollama tells it (COMPAT.md 1.5): a status line, and for a blob its digest with the
 * bytes done, which never go back. */
struct registry_event {
    const char
        *status; /* "pulling manifest", "pulling 8eeb52dfb3bb", "verifying sha256 digest", ... */
    const char *digest; /* "sha256:...", or NULL */
    uint64_t total, completed;
};
typedef void registry_event_fn(void *ctx, const struct registry_event *ev);

/* Fetch what is missing, then the manifest.  The tag is looked up as written first; when there is
 * none and the name had a short one ("3b-q8_0"), in the registry's usual long form
 * ("3b-instruct-q8_0"): *took (may be NULL) is the name it was found by, and it is stored under the
 * name asked for. */
int registry_pull(struct store *s, const struct name *n, const struct registry_opts *o,
                  struct name *took, registry_event_fn *say, void *ctx, struct err *e);

int registry_push(struct store *s, const struct name *n, const struct registry_opts *o,
                  registry_event_fn *say, void *ctx, struct err *e);

/* Tags of a model ("/v2/.../tags/list").  Each is handed to fn. */
int registry_tags(const struct name *n, const struct registry_opts *o,
                  void (*fn)(void *ctx, const char *tag), void *ctx, struct err *e);
