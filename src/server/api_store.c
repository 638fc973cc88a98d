/* The store's routes (COMPAT.md 2.1), and its two short ones: copy, delete. */
#include "server/allow.h"
#include "server/models.h"
#include "server/store_routes.h"
#include "store/store.h"

static const struct field copy_fields[] = {
    {.name = "source", .types = FIELD_TEXT}, {.name = "destination", .types = FIELD_TEXT}, {0}};
static const struct field delete_fields[] = {API_MODEL, {0}};

/* ---- copy ---- */

static void copy(struct request *r) {
    const json_t *body = api_body(r, NULL);
    struct name from, to;
    struct err e = {0};
    if (!body) return;
    const char *source = field_text(body, "source"), *target = field_text(body, "destination");
    if (!source || name_parse(source, &from, NULL) != 0)
        reply_error(r, 400, "source \"%s\" is invalid", source ? source : "");
    else if (!target || name_parse(target, &to, NULL) != 0 || to.pin.hex[0])
        reply_error(r, 400, "destination \"%s\" is invalid", target ? target : "");
    else if (allow_model(r, &from, &e) != 0 || allow_model(r, &to, &e) != 0)
        reply_err(r, &e);
    else if (store_copy(server_store(request_server(r)), &from, &to, &e) == 0)
        reply_status(r, 200);
    else if (e.code == ERR_NOT_FOUND)
        reply_error(r, 404, "model \"%s\" not found", source);
    else
        reply_err(r, &e);
}

/* ---- delete ---- */

/* Unloaded first: what is gone answers no more. */
static void delete (struct request *r) {
    struct store *s = server_store(request_server(r));
    struct manifest m = {0};
    const char *model;
    struct name n;
    struct err e = {0};
    if (!api_read(r, &model, &n)) return;
    const bool there = store_get(s, &n, NULL, &m, &e) == 0 || e.code != ERR_NOT_FOUND;
    manifest_fini(&m);
    if (there) models_unload(server_models(request_server(r)), &n);
    if (there && store_remove(s, &n, &e) == 0)
        reply_status(r, 200);
    else if (e.code == ERR_NOT_FOUND)
        reply_error(r, 404, "model '%s' not found", model);
    else
        reply_err(r, &e);
}

const struct route routes_store[] = {
    {HTTP_POST, "/api/show", RIGHT_READ, DIALECT_OLLAMA, BODY_MAX, store_show, NULL,
     store_show_fields},
    {HTTP_POST, "/api/create", RIGHT_MODELS, DIALECT_OLLAMA, BODY_MAX, store_create, NULL,
     store_create_fields},
    {HTTP_POST, "/api/pull", RIGHT_MODELS, DIALECT_OLLAMA, BODY_MAX, store_pull, NULL,
     store_transfer_fields},
    {HTTP_POST, "/api/push", RIGHT_MODELS, DIALECT_OLLAMA, BODY_MAX, store_push, NULL,
     store_transfer_fields},
    {HTTP_POST, "/api/copy", RIGHT_MODELS, DIALECT_OLLAMA, BODY_MAX, copy, NULL, copy_fields},
    {HTTP_DELETE, "/api/delete", RIGHT_MODELS, DIALECT_OLLAMA, BODY_MAX, delete, NULL,
     delete_fields},
    {HTTP_HEAD, "/api/blobs/:digest", RIGHT_MODELS | RIGHT_TRAIN, DIALECT_OLLAMA, 0,
     store_head_blob, NULL, NULL},
    {HTTP_POST, "/api/blobs/:digest", RIGHT_MODELS | RIGHT_TRAIN, DIALECT_OLLAMA, BLOB_BODY_MAX,
     store_post_blob, &store_blob_sink, NULL},
    {.path = NULL},
};
