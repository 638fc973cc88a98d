/* See renderers.h. */
#include "text/chat/renderers.h"

#include "base/buf.h"
#include "text/chat/answer_style.h"

static const struct {
    const char *name;
    const char *style;  /* of the answers (answer_style.c): the file's template must have it, too */
    const char *source; /* NULL: only the file's own */
} renderers[] = {
    {"qwen3", "hermes", renderer_qwen3},
    {"qwen3-instruct", "hermes", renderer_qwen3},
    {"qwen3-thinking", "hermes", renderer_qwen3},
    {"qwen3-coder", "qwen3-coder", renderer_qwen3_coder},
    {"qwen3.5", "qwen3-coder", NULL},
    {"harmony", "harmony", NULL},
    {"deepseek3", "deepseek", renderer_deepseek3},
    {"deepseek3.1", "deepseek", renderer_deepseek3},
    {"cogito", "deepseek", renderer_deepseek3},
    {"mistral", "mistral", renderer_ministral},
    {"ministral", "mistral", renderer_ministral},
    {"lfm2", "lfm2", renderer_lfm2},
    {"lfm2-thinking", "lfm2", renderer_lfm2},
    {"glm-4.6", "glm", renderer_glm},
    {"glm-4.7", "glm", renderer_glm},
    {"olmo3", "olmo3", NULL},
    {"olmo3-instruct", "olmo3", NULL},
    {"olmo3-think", "olmo3", NULL},
    {"gemma4", "gemma4", NULL},
    {"functiongemma", "functiongemma", NULL},
    {"nemotron", "qwen3-coder", NULL},
    {"nemotron-3-nano", "qwen3-coder", NULL},
    {"cohere", "command-r", NULL},
    {"laguna", "glm", NULL},
};

int renderer_source(const char *renderer, struct str file, struct str *out, struct err *e) {
    struct buf list = {0};
    for (size_t i = 0; i < sizeof renderers / sizeof *renderers; i++) {
        buf_printf(&list, "%s%s", i ? " " : "", renderers[i].name);
        if (strcmp(renderers[i].name, renderer) != 0) continue;
        buf_fini(&list);
        const bool same = file.n > 0 && strcmp(answer_style_of(file).name, renderers[i].style) == 0;
        *out = same || !renderers[i].source ? file : str_of(renderers[i].source);
        if (out->n > 0) return 0;
        return err_set(e, ERR_UNSUPPORTED,
                       "RENDERER \"%s\": this family is rendered by the file's own chat template, "
                       "and the file has none",
                       renderer);
    }
    const int rc = err_set(e, ERR_UNSUPPORTED, "RENDERER \"%.60s\": not known; known are %s",
                           renderer, list.p ? list.p : "");
    buf_fini(&list);
    return rc;
}
