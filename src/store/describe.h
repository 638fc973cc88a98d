/* What a model of the store says about itself, as lists and `show` have it. */
#pragma once

#include <jansson.h>

#include "store/config.h"
#include "store/store.h"

/* {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}; what
 * its config does not say, or a config that cannot be read, is empty text.  NULL: out of memory. */
json_t *store_details(struct store *s, const struct manifest *m);
json_t *model_config_details(const struct model_config *c);
