/* See describe.h. */
#include "store/describe.h"

json_t *model_config_details(const struct model_config *c) {
    json_t *families = json_array();
    for (int i = 0; i < c->n_family; i++)
        json_array_append_new(families, json_string(c->family[i]));
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "parent_model", "", "format",
                     c->model_format ? c->model_format : "", "family",
                     c->model_family ? c->model_family : "", "families", families, "parameter_size",
                     c->model_type ? c->model_type : "", "quantization_level",
                     c->file_type ? c->file_type : "");
}

json_t *store_details(struct store *s, const struct manifest *m) {
    struct buf text = {0};
    struct model_config c = {0};
    if (store_read_blob(s, &m->config.digest, CONFIG_MAX_BYTES, &text, NULL) == 0 &&
        model_config_parse("config", buf_view(&text), &c, NULL) != 0) {
        model_config_fini(&c);
        c = (struct model_config){0};
    }
    json_t *o = model_config_details(&c);
    model_config_fini(&c);
    buf_fini(&text);
    return o;
}
