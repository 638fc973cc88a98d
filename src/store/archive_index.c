/* Format: OCI image specification, "Image Index"; the name is an annotation of its own. */
#include "store/archive_index.h"

#include <stdlib.h>

#include "base/json.h"
#include "store/manifest.h"

enum { MAX_VALUES = 100000 };

static int read_entry(const char *where, const json_t *o, const struct name *as,
                      struct index_entry *out, struct err *e) {
    const char *digest = json_string_value(json_object_get(o, "digest"));
    const json_int_t size = json_integer_value(json_object_get(o, "size"));
    const json_t *notes = json_object_get(o, "annotations");
    const char *name =
        json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
    if (!digest || digest_parse(str_of(digest), &out->id, e) != 0)
        return err_set(e, ERR_FORMAT, "%s: index.json names a manifest without a digest", where);
    if (size <= 0 || size > MANIFEST_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "%s: index.json has a manifest of %lld bytes", where,
                       (long long)size);
    out->n_bytes = (uint64_t)size;
    if (as) {
        out->name = *as;
        return 0;
    }
    if (!name)
        return err_set(e, ERR_FORMAT,
                       "%s: index.json has a model without a name; --as NAME gives it one", where);
    return name_parse(name, &out->name, e) == 0 ? 0 : err_prefix(e, where);
}

static int read_list(const char *where, const json_t *all, const struct name *as,
                     struct index_entry **list, int *n, struct err *e) {
    const size_t found = json_array_size(all);
    if (found == 0 || found > INDEX_MAX_MODELS)
        return err_set(e, ERR_FORMAT, "%s: index.json names %zu models", where, found);
    if (as && found > 1)
        return err_set(e, ERR_USAGE, "--as: %s holds %zu models; one is accepted", where, found);
    *list = calloc(found, sizeof **list);
    if (!*list) return err_nomem(e, where);
    for (size_t i = 0; i < found; i++)
        if (read_entry(where, json_array_get(all, i), as, &(*list)[i], e) != 0) return -1;
    *n = (int)found;
    return 0;
}

int index_parse(const char *where, struct str text, const struct name *as,
                struct index_entry **list, int *n, struct err *e) {
    *list = NULL, *n = 0;
    if (text.n == 0) return err_set(e, ERR_FORMAT, "%s: no index.json: no OCI image layout", where);
    json_t *root = json_read_object(where, text, MAX_VALUES, e);
    if (!root) return -1;
    const int rc = read_list(where, json_object_get(root, "manifests"), as, list, n, e);
    json_decref(root);
    return rc;
}
