/* The native API: its routes, and the lists of models. */
#include "server/native.h"

#include <stdlib.h>

#include "server/allow.h"
#include "server/models.h"
#include "server/route.h"
#include "store/describe.h"

/* ---- lists ---- */

static json_t *tag(struct store *s, const struct store_entry *m) {
    char name[NAME_TEXT], when[API_TIME];
    struct manifest manifest = {0};
    json_t *details = NULL;
    name_short(&m->name, name);
    api_time(m->modified_s, when);
    if (store_get(s, &m->name, NULL, &manifest, NULL) == 0) details = store_details(s, &manifest);
    manifest_fini(&manifest);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:s, s:o*}", "name", name, "model", name, "modified_at",
                  when, "size", (json_int_t)m->n_bytes, "digest", m->id.hex, "details", details);
    if (m->damaged) json_object_set_new(o, "damaged", json_true());
    return o;
}

static void list_tags(struct request *r) {
    struct store *s = server_store(request_server(r));
    struct store_entry *m;
    struct err e;
    int n;
    if (store_list(s, NULL, &m, &n, &e) != 0) {
        reply_err(r, &e);
        return;
    }
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (allow_sees(r, &m[i].name)) json_array_append_new(list, tag(s, &m[i]));
    free(m);
    reply_json(r, 200, json_pack("{s:o}", "models", list));
}

static void list_loaded(struct request *r) {
    json_t *list = models_list(server_models(request_server(r)));
    allow_hide(r, list);
    reply_json(r, 200, json_pack("{s:o}", "models", list ? list : json_array()));
}

const struct route routes_native[] = {
    {HTTP_POST, "/api/generate", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, native_generate, NULL,
     native_generate_fields},
    {HTTP_POST, "/api/chat", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, native_chat, NULL,
     native_chat_fields},
    {HTTP_POST, "/api/embed", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, native_embed, NULL,
     native_embed_fields},
    {HTTP_POST, "/api/embeddings", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, native_embeddings, NULL,
     native_embeddings_fields},
    {HTTP_GET, "/api/tags", RIGHT_READ, DIALECT_OLLAMA, 0, list_tags, NULL, NULL},
    {HTTP_GET, "/api/ps", RIGHT_READ, DIALECT_OLLAMA, 0, list_loaded, NULL, NULL},
    {.path = NULL},
};
