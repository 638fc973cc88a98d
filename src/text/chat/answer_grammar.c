/* See answer.h. */
#include "text/chat/answer_priv.h"

int answer_call_grammar(const struct answer *a, const json_t *tools, const char *name,
                        bool parallel, struct buf *out, struct err *e) {
    (void)tools, (void)name, (void)parallel, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "tool_choice: not yet with answers of form %s",
                   a->style.name);
}
