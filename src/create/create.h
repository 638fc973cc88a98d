/* `create`: a model in the store from a Modelfile.  One code path for the command line and the
 * server; only the former lets FROM and ADAPTER be paths. */
#pragma once

#include "store/modelfile.h"
#include "store/store.h"

/* A blob of the store, with the name that the file had where it came from. */
struct create_file {
    const char *name;
    struct digest digest;
};

struct tune_opts; /* create/tune.h */
struct train_plan;
struct train_seq;
struct train_event;

enum create_resume {
    CREATE_RESUME,      /* from a checkpoint of the same create, if there is one */
    CREATE_RESUME_MUST, /* ERR_NOT_FOUND when there is none */
    CREATE_RESTART,     /* forget it */
};

struct create_opts {
    const char *folder; /* that paths are relative to; NULL: paths are refused */
    const char
        *quantize; /* file type of the result, as of `cria quantize --types`; NULL: as the source */
    bool link;     /* GGUF files stay where they are (STORE_LINK) */
    bool quality;  /* also KL divergence against the source, on a built-in text, or on: */
    const struct train_seq *quality_seq; /* [n_quality_seq] the model's tokens; or NULL */
    int n_quality_seq;
    bool insecure; /* of a FROM that is pulled */
    int n_threads; /* 0: cores_default_threads() */
    /* Beside the Modelfile: what FROM, ADAPTER and DRAFT are to a client that has sent its files
     * before.  GGUF files, all parts of a split one, or all files of a safetensors folder. */
    const struct create_file *file, *adapter, *draft;
    int n_file, n_adapter, n_draft;
    const volatile int *stop; /* or NULL */
    /* Fine-tuning (create/tune.h): of TRAINFILE, or of a client's blobs. */
    const struct tune_opts *tune; /* what PARAMETER train_* of the Modelfile adds to; or NULL */
    const struct create_file *train_file, *valid_file; /* or NULL */
    const char *merge; /* no adapter, but a model of its own: of this file type, or "" for
                        * that of the base; NULL: an adapter */
    const char *log;   /* a file that gets the run's events as JSON lines, or NULL */
    bool plan_only;    /* say what would be done, and stop there: nothing is made */
    enum create_resume resume;
    bool one_run; /* the store is one fine-tune's alone: ERR_USAGE when another one's checkpoint is
                   * in it; CREATE_RESTART removes that */
    /* Before anything large is made: -1 with e ends it.  NULL: nobody is asked. */
    int (*on_plan)(void *ctx, const struct train_plan *plan, struct err *e);
    /* Called while it trains; NULL: statuses instead.  ctx of both: create_model's. */
    void (*on_train)(void *ctx, const struct train_plan *plan, const struct train_event *ev);
};

/* "gathering model components", "copying file sha256:...", "converting model", "quantizing F16
 * model to Q4_K_M", "using autodetected template chatml", "using existing layer sha256:...",
 * "creating new layer sha256:...", "writing manifest", "success" (COMPAT.md 2.6); with bytes where
 * that takes time. */
typedef void create_event_fn(void *ctx, const char *status, const char *digest, uint64_t completed,
                             uint64_t total);

int create_model(struct store *s, const struct name *n, const struct modelfile *m,
                 const struct create_opts *o, create_event_fn *say, void *ctx, struct err *e);

/* What of a Modelfile and options can be wrong before any file is looked at. */
int create_check(const struct modelfile *m, const struct create_opts *o, struct err *e);

/* ---- files of a client: create_source.c, create_gather.c ---- */

enum create_what { CREATE_NOTHING, CREATE_FILE, CREATE_FOLDER };

/* What a value of FROM, ADAPTER or DRAFT names among files: path is set but for CREATE_NOTHING,
 * when it may be the name of a model.  folder: as in create_opts. */
int create_look(const char *folder, const char *value, char path[STORE_PATH],
                enum create_what *what, struct err *e);

/* The files that a path stands for, for one who sends them to a server: a GGUF file with all parts
 * of a split one, or of a folder its one GGUF file, or its safetensors with what is read beside
 * them.  create_gathered_fini also after a failure. */
struct create_gathered {
    char **path; /* [n], owned */
    int n;
};
int create_gather(const char *path, enum create_what what, struct create_gathered *out,
                  struct err *e);
void create_gathered_fini(struct create_gathered *g);

/* A Modelfile that makes this model again ("show --modelfile"). */
int create_print_modelfile(struct store *s, const struct name *n, struct buf *out, struct err *e);

/* Remove the files of creates that were killed. */
void create_sweep(struct store *s);
