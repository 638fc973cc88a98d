/* libcria: run GGUF language models from C and C++.
 *
 *     cria_model *m = cria_model_open("model.gguf", NULL, &err);
 *     cria_session *s = cria_session_new(m, &err);
 *     cria_generate(s, "Once upon a time", NULL, on_text, NULL, NULL, &err);
 *
 * Ownership.  Objects are opaque; who opens or makes one closes or frees it, sessions before their
 * model.  Texts and arrays that are passed in are read during the call only, unless said otherwise.
 *
 * Threads.  A model may be used from several threads at once: tokenizing runs in parallel, while
 * generating and embedding take turns.  A session belongs to one thread at a time.  Callbacks run
 * on the calling thread and must not generate, embed or free anything of the same model.
 *
 * Errors.  A function that can fail returns NULL or a negative number and, when `error` is not
 * NULL, says why in *error.  Nothing is printed, no signal is touched, the program never exits.
 *
 * Compatibility.  Option structs begin with their size and are filled by their _init function, so
 * that a program built against an older header keeps working with a newer library. */
#ifndef CRIA_H
#define CRIA_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CRIA_API __attribute__((visibility("default")))
#else
#define CRIA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CRIA_API_VERSION 2 /* grows when functions or fields are added */

enum cria_status {
    CRIA_OK = 0,
    CRIA_ERROR_USAGE = 1,       /* an argument that is not accepted */
    CRIA_ERROR_NOT_FOUND = 2,   /* no such file */
    CRIA_ERROR_FORMAT = 3,      /* a file or token list that breaks its format */
    CRIA_ERROR_UNSUPPORTED = 4, /* well formed, but not something this library does */
    CRIA_ERROR_LIMIT = 5,       /* does not fit the context or another limit */
    CRIA_ERROR_NO_MEMORY = 6,
    CRIA_ERROR_IO = 7,
    CRIA_ERROR_CANCELLED = 8
};

typedef struct cria_error {
    int status;        /* enum cria_status */
    char message[480]; /* one line of UTF-8: where, what was found, what is accepted */
} cria_error;

/* A short English name of a status: "not found".  Static text. */
CRIA_API const char *cria_status_name(int status);

/* The library's version, "0.1.0", and the CRIA_API_VERSION it was built with. */
CRIA_API const char *cria_version(void);
CRIA_API int cria_api_version(void);

/* ---- models ---- */

typedef struct cria_model cria_model;

typedef struct cria_model_options {
    size_t size;         /* set by cria_model_options_init */
    int n_ctx;           /* tokens a session holds; 0: 4096 or what the model was trained for */
    int n_batch;         /* prompt tokens in one step; 0: 512 */
    int n_threads;       /* 0: one per performance core */
    int n_sessions;      /* sessions that may hold text at the same time; 0: 1 */
    const char *kv_type; /* "f32" "f16" "bf16" "q8_0" "q4_0"; NULL: f16 */
    const char *lora;    /* path of a LoRA adapter, or NULL */
    float lora_scale;    /* multiplies the adapter's own scale */
    int vocab_only;      /* nonzero: tokenize only; no weights are read */
} cria_model_options;

/* Fill *o with the defaults; pass sizeof(cria_model_options). */
CRIA_API void cria_model_options_init(cria_model_options *o, size_t size);

/* Open a GGUF file (or the first of a split one).  o NULL: the defaults.  The file is mapped and
 * must not change while the model is open. */
CRIA_API cria_model *cria_model_open(const char *path, const cria_model_options *o,
                                     cria_error *error);

/* NULL is allowed.  All sessions of the model must have been freed. */
CRIA_API void cria_model_close(cria_model *m);

/* "llama", "qwen2"...; "" for vocab_only.  Valid until the model is closed. */
CRIA_API const char *cria_model_arch(const cria_model *m);

CRIA_API int cria_model_n_vocab(const cria_model *m); /* token ids are 0 .. n_vocab-1 */
CRIA_API int cria_model_n_embd(const cria_model *m);  /* length of an embedding; 0: vocab_only */
CRIA_API int cria_model_n_ctx(const cria_model *m);   /* tokens a session holds */
CRIA_API int cria_model_is_embedding(const cria_model *m); /* 1: embeds only, cannot generate */

/* ---- text and tokens ---- */

enum {
    CRIA_ADD_SPECIAL = 1,   /* tokenize: begin and end tokens where the model wants them */
    CRIA_PARSE_SPECIAL = 2, /* tokenize: "<|im_start|>" and the like are tokens, not text */
    CRIA_SHOW_SPECIAL = 4   /* detokenize: special tokens appear as their text */
};

/* Tokens of text[0..n_bytes) into out[0..cap).  Returns how many tokens there are, which may be
 * more than cap: then only cap are written (cap 0 and out NULL ask for the number).  -1: error. */
CRIA_API long cria_tokenize(const cria_model *m, const char *text, size_t n_bytes, int flags,
                            int32_t *out, size_t cap, cria_error *error);

/* Text of n tokens into out[0..cap), always terminated when cap > 0.  Returns the length without
 * the terminator, which may be cap or more: then the text was cut.  -1: an id out of range. */
CRIA_API long cria_detokenize(const cria_model *m, const int32_t *tokens, size_t n, int flags,
                              char *out, size_t cap, cria_error *error);

typedef struct cria_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8 */
} cria_message;

/* The prompt that the model's own chat template makes of a conversation, ending where the
 * assistant begins to speak: its tokens into out[0..cap), as cria_tokenize does.  What messages
 * say is text: they cannot forge the template's control tokens.  CRIA_ERROR_UNSUPPORTED when the
 * model has no template that this library knows, or the template refuses the conversation. */
CRIA_API long cria_chat_tokens(const cria_model *m, const cria_message *messages, size_t n,
                               int32_t *out, size_t cap, cria_error *error);

/* ---- generating ---- */

/* A conversation's or a text's place in the model's memory. */
typedef struct cria_session cria_session;

CRIA_API cria_session *cria_session_new(cria_model *m, cria_error *error);
CRIA_API void cria_session_free(cria_session *s); /* NULL is allowed */

typedef struct cria_generate_options {
    size_t size;       /* set by cria_generate_options_init */
    int n_predict;     /* tokens at most; -1: until the model ends (at most 10 contexts) */
    int64_t seed;      /* < 0: another answer each time; else the same answer for the same seed */
    float temperature; /* 0: always the most likely token */
    int top_k;         /* 0: off */
    float top_p, min_p, typical_p;
    int repeat_last_n; /* -1: the whole context */
    float repeat_penalty, presence_penalty, frequency_penalty;
    const char *const *stop; /* [n_stop] texts that end the answer and are not part of it */
    int n_stop;
    int n_keep;                 /* prompt tokens that stay when the context overflows; -1: all */
    int no_shift;               /* nonzero: a full context ends the answer */
    int show_special;           /* nonzero: special tokens appear as their text */
    const volatile int *cancel; /* the answer ends soon after *cancel becomes nonzero; or NULL.  Set
                                 * by a signal handler or, with an atomic store, another thread */
    /* Speculation: tokens are guessed and checked several at a time, which is faster where a text
     * repeats itself or its prompt.  The answer is the same with and without.  (API version 2) */
    int n_draft;         /* tokens guessed at once, at most: 1 to 16; 0: none */
    cria_session *draft; /* NULL, or a session of a smaller model with the same vocabulary, which
                          * guesses too; what it held is lost.  It belongs to this call until that
                          * returns */
} cria_generate_options;

/* Fill *o with the defaults (temperature 0.8, top_k 40, top_p 0.9, n_predict -1, seed -1, n_draft
 * 16...); pass sizeof(cria_generate_options). */
CRIA_API void cria_generate_options_init(cria_generate_options *o, size_t size);

/* One piece of the answer: text is UTF-8 of whole characters, terminated, n_bytes long, possibly
 * empty, and valid during the call; token is its id, or -1 for text that was held back.  Nonzero
 * return ends the answer. */
typedef int (*cria_text_fn)(void *user, const char *text, size_t n_bytes, int32_t token);

enum cria_reason { CRIA_STOP, CRIA_LENGTH, CRIA_CANCELLED };

typedef struct cria_result {
    int reason;          /* enum cria_reason */
    int n_prompt;        /* tokens of the prompt */
    int n_prompt_cached; /* of them, reused from this session or another one of the model */
    int n_generated;
    double prompt_s, generate_s; /* seconds */
} cria_result;

/* Continue a prompt.  It is tokenized with CRIA_ADD_SPECIAL | CRIA_PARSE_SPECIAL (a begin token
 * that the text already starts with is not doubled).  What this or another session of the
 * model has computed of the same beginning is not computed again.  o, fn and result may be NULL. 0,
 * or -1 with *error set; an answer that was cancelled returns 0. */
CRIA_API int cria_generate(cria_session *s, const char *prompt, const cria_generate_options *o,
                           cria_text_fn fn, void *user, cria_result *result, cria_error *error);

/* The same from tokens, which are fed as they are. */
CRIA_API int cria_generate_tokens(cria_session *s, const int32_t *tokens, size_t n,
                                  const cria_generate_options *o, cria_text_fn fn, void *user,
                                  cria_result *result, cria_error *error);

/* ---- embeddings ---- */

enum { CRIA_NORMALIZE = 1 /* scale to length 1 */ };

/* The embedding of a text into out[0..cap), cap >= cria_model_n_embd().  Pooling is the model's
 * own (mean, first or last token); models that only generate use the last token.  Returns n_embd,
 * or -1. */
CRIA_API int cria_embed(cria_model *m, const char *text, size_t n_bytes, int flags, float *out,
                        size_t cap, cria_error *error);

#ifdef __cplusplus
}
#endif
#endif /* CRIA_H */
