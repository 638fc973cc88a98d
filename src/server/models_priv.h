/* What the files of the models' life cycle share.
 *
 *   want      one that waits for a model, then uses it; lives in its owner (ask_model.c, preload)
 *   loaded    one model on its way: WAITING (for room) -> OPENING -> READY -> CLOSING, on a thread
 * of its own from the beginning to the end models    the table of both, with one mutex; `changed`
 * tells of every change in it
 *
 * Data flow: models_want -> granted at once, or queued at a `loaded` -> its thread opens the gen
 * and grants -> models_done -> idle -> it expires, or makes room for another: the thread closes it.
 *
 * Lock order: models.lock, then the locks of a want's owner, then those of gen.  No want's fn is
 * called with a lock held. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "policy/keys.h"
#include "server/log.h"
#include "server/models.h"
#include "store/recipe.h"

/* How a model is to be opened; 0: left open. */
struct load_key {
    int num_ctx, num_batch, num_thread;
};

struct loaded;

/* An engine child, which models of the same weights share (models_share.c).  Under models.lock. */
struct process {
    struct gen *gen;       /* owned */
    int n_ref;             /* models that use it */
    struct loaded *holder; /* with whom it counts */
};

enum { WANT_FIRST_LATE = -1 };

struct want {
    /* Set by the owner. */
    struct name name;
    struct load_key key;
    int64_t keep_alive_ns; /* with has_keep_alive */
    bool has_keep_alive;
    bool slot; /* it will generate: counts for the queue */
    /* Name of a key, or "": nobody's may fill the queue alone.  Its own: the request may be over
     * while this still ends. */
    char owner[KEY_NAME_MAX];
    enum key_class class;
    int64_t deadline_ns; /* monotonic; 0: none */
    /* The same for the first piece of its answer; 0: none, or it came in time; WANT_FIRST_LATE: it
     * did not, and what comes now is not told. */
    atomic_llong first_ns;
    /* Once: the model is there (e NULL) and `at` is used until models_done; or it never will be.
     * ERR_NOMEM with the numbers: there is no room for it. */
    void (*fn)(struct want *w, const struct err *e);
    /* The deadline is over while it uses the model: cancel.  Called with models.lock held. */
    void (*late)(struct want *w);
    /* What late does not get done under the lock: it sets `goes_on`, and this is called soon. */
    void (*later)(struct want *w);
    bool goes_on;

    struct name found; /* as the store writes it; models_want's */

    /* The table's, under models.lock. */
    struct loaded *at;
    enum { WANT_WAITS, WANT_USES, WANT_OVER } state;
    bool forgotten, told_late;
    const struct loaded *made;       /* the one made for it: taken as it turned out */
    struct want *next;               /* those that wait for `at`, oldest first; or are being told */
    struct want *later_next;         /* the clock's, of those that are late */
    struct want *all_next, **all_at; /* all that wait or use */
};

enum phase { PHASE_WAITING, PHASE_OPENING, PHASE_READY, PHASE_CLOSING };

struct loaded {
    struct loaded *next; /* oldest first */
    struct models *models;
    struct name name;
    struct digest id;
    char text[NAME_TEXT]; /* name_short */

    /* Its own thread's before READY, constant then. */
    struct recipe recipe;
    struct model_config config;
    json_t *params, *messages; /* or NULL */
    struct buf system, template;
    struct gen *gen;     /* of `process` */
    const char *adapter; /* what its requests say: it joined another's child; NULL: nothing */
    int64_t load_ns;
    bool ctx_reduced;
    int n_parallel;

    /* Under models.lock. */
    struct name asked; /* the name that it was last asked for by: others of the same manifest get
                          it, too */
    struct process *process;
    struct load_key key; /* as asked for; when READY with the model's parameters */
    enum phase phase;
    bool leaving; /* nobody gets it any more; goes when nobody uses it */
    bool crashed; /* counted */
    bool timed_out;
    volatile int stop;     /* ends its opening; written atomically */
    uint64_t bytes;        /* that it may take: planned, or all that it was allowed while opening */
    uint64_t used_bytes;   /* resident when last looked at */
    int n_use, n_run;      /* wants that use it; those with a slot */
    int64_t turn_ns;       /* WAITING: the earliest turn of those who want it (models_queue.c) */
    int64_t keep_alive_ns; /* < 0: for ever */
    int64_t since_ns;      /* idle since; OPENING: since when; leaving: since when */
    struct want *wants;    /* that wait for it */
    int refused_ctx;       /* WAITING: a context that did not fit, the least; 0: none */
};

struct models {
    struct log *log;
    struct store *store;
    struct models_opts o; /* under lock; preload: owned; max_bytes: without own_bytes */
    uint64_t limit_bytes; /* max_bytes as it was set; under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a loaded's phase, leaving, or its last user */
    pthread_cond_t tick;    /* something for the clock */
    struct loaded *list;
    struct want *all;
    int n_thread; /* of loaded */
    bool draining, over;
    volatile int stop; /* ends the preload's pull; written atomically */
    long n_loads, n_evictions, n_crashes, n_refused;
    uint64_t other_bytes, other_used; /* of what is no model: models_reserve */
    char other_name[64];
    pthread_t clock, preload;
    bool has_clock, has_preload;
    bool preloading; /* under lock */
};

/* ---- models.c ---- */

/* Ask for a model: w->fn follows, maybe before this returns, on this thread or another; then w is
 * owed models_done (also after fn was told an error).  -1, and fn is never called: ERR_NOT_FOUND,
 * ERR_BUSY (the queue is full; drained). */
int models_want(struct models *m, struct want *w, struct err *e);
/* The owner no longer waits: fn comes soon with ERR_CANCELLED from another thread, unless it comes
 * otherwise.  Never blocks, never calls fn. */
void models_forget(struct models *m, struct want *w);
void models_done(struct models *m, struct want *w);
/* The name of a model that is there, as the store writes it.  ERR_NOT_FOUND with Ollama's text. */
int models_find(struct models *m, const struct name *n, struct name *found, struct digest *id,
                struct err *e);

/* With the lock: wait for m->changed, at most until then (os_now_ns) and never more than a second:
 * glibc before 2.41 can lose a wake-up among many waiters (its bug 25847). */
void models_await_change(struct models *m, int64_t until_ns);
/* With the lock. */
void models_leave(struct loaded *l); /* nobody gets it any more */
void models_grant(struct loaded *l, struct want *w);
/* A want that was admitted gets, or waits for, a model.  True: granted, call w->fn(w, NULL)
 * without the lock.  False: it waits, or (e->code) there will be none. */
bool models_dispatch(struct models *m, struct want *w, const struct digest *id, bool admitted,
                     struct err *e);
bool models_satisfies(const struct loaded *l, const struct want *w);
void models_check_alive(struct loaded *l); /* leaves when its child is gone */
/* Without: fn of the wants in a list, of each once. */
void wants_tell(struct want *list, const struct err *e);

/* ---- models_queue.c ---- */

int models_n_waiting(const struct models *m);
/* May one more wait?  ERR_BUSY. */
int models_admit(struct models *m, const struct want *w, struct err *e);
/* w waits for l from now on, which may make it l's turn earlier. */
void models_queue(struct loaded *l, struct want *w);
/* Is it a's turn to be loaded before b's, which is behind it in the list? */
bool models_before(const struct loaded *a, const struct loaded *b);

/* ---- models_clock.c ---- */
void *models_clock(void *models);

/* ---- models_load.c ---- */
/* A new one at the end of the list, with its thread; NULL: ERR_NOMEM, ERR_IO. */
struct loaded *loaded_new(struct models *m, const struct name *n, const struct digest *id,
                          const struct load_key *key, struct err *e);

/* ---- models_memory.c ---- */

struct room {
    bool limited;
    uint64_t limit, taken; /* bytes in all; by the others */
    int n_loaded;          /* others that are there or on their way */
    bool more;             /* one of them is idle or on its way out: there could be more */
};
struct room room_for(const struct loaded *l);
static inline uint64_t room_left(const struct room *r) {
    return r->limit > r->taken ? r->limit - r->taken : 0;
}
/* Send one away to make room for l: an idle one that was used longest ago, else a busy one when it
 * has ended what it does.  True: something will change, wait for it. */
bool room_make(struct loaded *l);
/* What it takes, compared with the plan; for the log once.  Its thread, without the lock. */
void loaded_measure(struct loaded *l);

/* ---- models_open.c ---- */
/* Read what the model brings. */
int loaded_read(struct loaded *l, struct err *e);
/* Open l->gen within the room.  ERR_LIMIT: it does not fit, or only with a smaller context although
 * there could be more room.  Without the lock. */
int loaded_open(struct loaded *l, const struct room *r, struct err *e);
/* Clients learn a model's name, not where its files are. */
void loaded_hide_paths(const struct loaded *l, struct err *e);

/* ---- models_share.c ---- */
/* With the lock, which is let go meanwhile.  True: l is READY, in the child of another. */
bool loaded_join(struct loaded *l);
/* l->gen is opened: a process of its own.  Without the lock. */
int loaded_new_process(struct loaded *l, struct err *e);
bool loaded_is_guest(const struct loaded *l); /* another is the holder */
/* With the lock, which is let go meanwhile: the child of the last one ends. */
void loaded_leave_process(struct loaded *l);

/* ---- models_preload.c ---- */
void *models_preload(void *models);
