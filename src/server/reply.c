/* Whole replies and errors in the three dialects: request.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/allow.h"
#include "server/ask.h"
#include "server/front_priv.h"
#include "server/param.h"

void reply_header(struct request *r, const char *line) {
    buf_str(&r->headers, line);
}

void request_send(struct request *r, int status, const char *content_type, struct str text) {
    struct buf h = {0}, refusal = {0};
    struct err e = {0};
    if (!audit_door(r, &e)) {
        audit_refusal(r, &e, &refusal);
        status = 503, content_type = "application/json; charset=utf-8", text = buf_view(&refusal);
    }
    allow_settle(r, status);
    if (content_type) buf_printf(&h, "Content-Type: %s\r\n", content_type);
    allow_headers(r, &h);
    buf_append(&h, r->headers.p, r->headers.n);
    buf_str(&h, request_cache_header(r));
    pthread_mutex_lock(&r->lock);
    /* Headers of ours that are no lines would be a defect; the client still gets an answer. */
    if (h.failed || net_reply_start(r->net, status, h.p, (int64_t)text.n, &e) != 0) {
        log_line(r->server->log, LOG_ERROR, "reply headers are not lines");
        text.n = 0;
        net_reply_start(r->net, status = 500, NULL, 0, NULL);
    }
    if (text.n) net_reply_write(r->net, text.p, text.n);
    r->started = r->ending = r->over = true;
    r->status = status;
    r->n_sent = (int64_t)text.n;
    pthread_mutex_unlock(&r->lock);
    buf_fini(&h);
    buf_fini(&refusal);
    request_finish(r, true);
}

void reply_text(struct request *r, int status, const char *content_type, struct str text) {
    request_send(r, status, content_type, text);
}

void reply_status(struct request *r, int status) {
    request_send(r, status, NULL, STR(""));
}

/* An answer to a client that has left may be given up (base/work.h). */
static void send_json(struct request *r, int status, json_t *j, bool figures) {
    struct buf b = {0};
    struct err e = {0};
    if (!j || (figures ? json_append_figures : json_append)("reply", j, &b, &e) != 0) {
        json_decref(j);
        buf_fini(&b);
        const bool gone = e.code == ERR_CANCELLED;
        reply_text(r, gone ? 499 : 500, "application/json; charset=utf-8",
                   gone ? STR("{\"error\":\"cancelled\"}") : STR("{\"error\":\"out of memory\"}"));
        return;
    }
    json_decref(j);
    reply_text(r, status, "application/json; charset=utf-8", buf_view(&b));
    buf_fini(&b);
}

void reply_json(struct request *r, int status, json_t *j) {
    send_json(r, status, j, false);
}

void reply_figures(struct request *r, int status, json_t *j) {
    send_json(r, status, j, true);
}

/* ---- errors ---- */

static const char *openai_type(const struct request *r, int status) {
    static const char *const of_limit[] = {
        [KEY_LIMIT_NONE] = "rate_limit_error",
        [KEY_LIMIT_REQUESTS] = "requests",
        [KEY_LIMIT_TOKENS] = "tokens",
        [KEY_LIMIT_CONCURRENT] = "requests",
        [KEY_LIMIT_DAY_REQUESTS] = "insufficient_quota",
        [KEY_LIMIT_DAY_TOKENS] = "insufficient_quota",
    };
    if (status == 401) return "authentication_error";
    if (status == 403) return "permission_error";
    if (status == 404) return "not_found_error";
    if (status == 429) return of_limit[r->limit];
    return status < 500 ? "invalid_request_error" : "api_error";
}

static const char *anthropic_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503:
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

/* Clients know a prompt that is too long, and a model without room, by its code; and whether it is
 * worth to try again. */
static const char *openai_code(const struct request *r, int status, const struct err *e) {
    if (status == 401) return "invalid_api_key";
    if (status == 429)
        return r->limit >= KEY_LIMIT_DAY_REQUESTS ? "insufficient_quota" : "rate_limit_exceeded";
    if (e->code == ERR_DENIED && *e->field) return "model_not_found"; /* OpenAI's word for it */
    if (e->code == ERR_NOMEM) return "insufficient_memory";
    const bool too_long = e->code == ERR_LIMIT && ask_model(r) && strstr(e->msg, "context");
    return too_long ? "context_length_exceeded" : NULL;
}

json_t *error_json(const struct request *r, int status, const struct err *e) {
    char param[ERR_FIELD];
    switch (r->dialect) {
    case DIALECT_OPENAI:
        param_of(r->json, e->field, param);
        return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", e->msg, "type",
                         openai_type(r, status), "param", *param ? param : NULL, "code",
                         openai_code(r, status, e));
    case DIALECT_ANTHROPIC:
        return json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type",
                         anthropic_type(status), "message", e->msg);
    default: return json_pack("{s:s}", "error", e->msg);
    }
}

void audit_refusal(struct request *r, const struct err *e, struct buf *out) {
    json_t *j = error_json(r, 503, e);
    reply_header(r, "Retry-After: 1\r\n");
    if (!j || json_append("reply", j, out, NULL) != 0)
        buf_str(out, "{\"error\":\"out of memory\"}");
    json_decref(j);
}

static void reply_with(struct request *r, int status, const struct err *e) {
    if (stream_started(r))
        stream_fail(r, e);
    else
        reply_json(r, status, error_json(r, status, e));
}

void reply_error(struct request *r, int status, const char *fmt, ...) {
    struct err e; /* its escaping makes one clean line of whatever the text holds */
    va_list ap;
    va_start(ap, fmt);
    err_vset(&e, ERR_NONE, fmt, ap);
    va_end(ap);
    reply_with(r, status, &e);
}

int status_of(const struct err *e) {
    switch (e->code) {
    case ERR_USAGE:
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_LIMIT: return 400;
    case ERR_FORBIDDEN: return 403;
    case ERR_NOT_FOUND: return 404;
    case ERR_BUSY: return 503;
    case ERR_TIMEOUT: return 504;
    case ERR_DENIED: return 403;
    case ERR_RATE: return 429;
    case ERR_CANCELLED: return 499;
    default: return 500;
    }
}

void reply_err(struct request *r, const struct err *e) {
    reply_with(r, status_of(e), e);
}
