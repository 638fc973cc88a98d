/* The routes of the OpenAI dialect, and its lists of models.  The paths of the lists are those of
 * the Anthropic API, too: a client that sends "anthropic-version" gets them in that form. */
#include "server/openai.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/allow.h"
#include "server/route.h"
#include "store/store.h"

static bool is_anthropic(const struct request *r) {
    return http_head_get(request_head(r), "anthropic-version") != NULL;
}

static json_t *describe(const struct request *r, const struct store_entry *m) {
    char name[NAME_TEXT], when[32];
    struct tm tm;
    const time_t t = (time_t)m->modified_s;
    name_short(&m->name, name);
    if (!is_anthropic(r))
        return json_pack("{s:s, s:s, s:I, s:s}", "id", name, "object", "model", "created",
                         (json_int_t)m->modified_s, "owned_by", m->name.space);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    return json_pack("{s:s, s:s, s:s, s:s}", "type", "model", "id", name, "display_name", name,
                     "created_at", when);
}

static void models(struct request *r) {
    struct store_entry *list = NULL;
    struct err e = {0};
    int n = 0;
    if (store_list(server_store(request_server(r)), NULL, &list, &n, &e) != 0) {
        reply_err(r, &e);
        return;
    }
    json_t *data = json_array();
    for (int i = 0; i < n; i++)
        if (!list[i].damaged && allow_sees(r, &list[i].name))
            json_array_append_new(data, describe(r, &list[i]));
    free(list);
    const size_t n_model = json_array_size(data);
    if (!is_anthropic(r)) {
        reply_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", data));
        return;
    }
    const char *first = n_model ? field_text(json_array_get(data, 0), "id") : NULL,
               *last = n_model ? field_text(json_array_get(data, n_model - 1), "id") : NULL;
    reply_json(r, 200,
               json_pack("{s:o, s:b, s:s?, s:s?}", "data", data, "has_more", 0, "first_id", first,
                         "last_id", last));
}

static void no_model(struct request *r) {
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "model '%.200s' not found", request_param(r));
    err_field(&e, "model");
    if (is_anthropic(r))
        reply_json(r, 404,
                   json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type",
                             "not_found_error", "message", e.msg));
    else
        reply_err(r, &e);
}

static void model(struct request *r) {
    struct name want;
    struct store_entry *list = NULL;
    struct err e = {0};
    int n = 0, i = 0;
    /* A name that is none is a model that is not there: the same answer, and no path. */
    if (name_parse(request_param(r), &want, &e) != 0) {
        no_model(r);
        return;
    }
    if (allow_model(r, &want, &e) != 0) {
        reply_err(r, &e);
        return;
    }
    if (store_list(server_store(request_server(r)), NULL, &list, &n, &e) != 0) {
        reply_err(r, &e);
        return;
    }
    while (i < n && !name_eq(&list[i].name, &want))
        i++;
    if (i < n)
        reply_json(r, 200, describe(r, &list[i]));
    else
        no_model(r);
    free(list);
}

const struct route routes_openai[] = {
    {HTTP_POST, "/v1/chat/completions", RIGHT_USE, DIALECT_OPENAI, BODY_MAX, openai_chat, 0,
     openai_chat_fields},
    {HTTP_POST, "/v1/completions", RIGHT_USE, DIALECT_OPENAI, BODY_MAX, openai_text, 0,
     openai_text_fields},
    {HTTP_POST, "/v1/embeddings", RIGHT_USE, DIALECT_OPENAI, BODY_MAX, openai_embed, 0,
     openai_embed_fields},
    {HTTP_GET, "/v1/models", RIGHT_READ, DIALECT_OPENAI, 0, models, 0, NULL},
    {HTTP_GET, "/v1/models/:model", RIGHT_READ, DIALECT_OPENAI, 0, model, 0, NULL},
    {0}};
