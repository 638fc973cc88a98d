/* Until the conversion is merged: safetensors are refused.  Whoever brings src/create/convert.c
 * removes this file. */
#include "create/convert.h"

int convert_model(const char *folder, const char *out, const struct convert_opts *o,
                  struct err *e) {
    (void)out, (void)o;
    return err_set(e, ERR_UNSUPPORTED, "%s: this build does not convert safetensors", folder);
}

int convert_adapter(const char *folder, const char *base, const char *out,
                    const struct convert_opts *o, struct err *e) {
    (void)base, (void)out, (void)o;
    return err_set(e, ERR_UNSUPPORTED, "%s: this build does not convert safetensors", folder);
}
