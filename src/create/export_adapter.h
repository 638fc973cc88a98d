/* GGUF adapters as PEFT folders: adapter_config.json and adapter_model.safetensors, with the names
 * and the order of rows that the base's checkpoint has.  convert_adapter() undone. */
#pragma once

#include "base/err.h"

struct export_opts {
    const char *base_name; /* base_model_name_or_path; NULL: what the adapter says, or null */
};

/* Write the adapter in the file ADAPTER to FOLDER, which is made when it is not there; files of
 * these two names in it are replaced.  base: the GGUF file that it is for; NULL where the adapter
 * itself tells of heads and layers (adapter_file_write's do).
 *
 * ERR_UNSUPPORTED: an architecture or a weight whose names in checkpoints are not known here;
 * ERR_NOT_FOUND: the base is needed; ERR_FORMAT, ERR_IO. */
int export_adapter(const char *adapter, const char *base, const char *folder,
                   const struct export_opts *o, struct err *e);
