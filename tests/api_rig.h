/* What tests of the API's routes share: a server with small models in its store, files sent as
 * blobs, a table of requests and the statuses that they must get. */
#pragma once

#include "serve_rig.h"

/* The name "llama32" with the golden model of that name, and so on, through /api/blobs and
 * /api/create; `more`: JSON fields of the request (",\"system\":\"x\""), or "". */
void api_make(const struct serve *s, const char *name, const char *golden_model, const char *more);

/* Send a file as a blob: "sha256:<hex>" in digest; the status. */
int api_upload(const struct serve *s, const char *path, char digest[80]);
/* The same with these bytes under this digest. */
int api_upload_bytes(const struct serve *s, const char *digest, const void *bytes, size_t n);

/* Send the body, which may be NULL, and take the answer's status; its "error" in *text (buf_fini).
 */
int api_status(const struct serve *s, const char *method, const char *path, const char *body,
               struct buf *text);

/* {"a": 1} deeper than any request may be; a string longer than a name may be: free(). */
char *api_deep(void);
char *api_long(const char *before, size_t n, const char *after);

/* POST there: too deep and a name too long are 400, more bytes than a body may have 413. */
void api_huge_and_deep(const struct serve *s, const char *path);

/* The JSON that is written with single quotes: "{'model': 'x'}"; the caller owns it. */
json_t *api_quoted(const char *quoted);

/* The string of that key; "" where there is none. */
const char *text_of(const json_t *o, const char *key);

/* Of api_make: a template that shows tools and calls, so that the model can make some. */
#define API_CALLER                                                                                 \
    ",\"template\":\"{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}[{{ .Role }}]"         \
    "{{ .Content }}{{ if .ToolCalls }}e{{ range .ToolCalls }}{\\\"name\\\": "                      \
    "\\\"{{ .Function.Name }}\\\", \\\"arguments\\\": {{ .Function.Arguments }}}{{ end }}"         \
    "{{ end }}{{ end }}\""
