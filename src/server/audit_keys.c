/* Who may ask, as it changes while a server runs: an entry "keys" with the names of keys that came,
 * went, or may something else now.  `cria keys` works on the database, so nobody asks the server to
 * change them; whoever gives himself a key that way stands in the log. */
#include <stdlib.h>
#include <string.h>

#include "server/audit.h"

static int by_name(const void *a, const void *b) {
    const struct key *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Its keys in the order of their names; free().  NULL: out of memory. */
static const struct key **sorted(struct keys *k) {
    const int n = k ? keys_count(k) : 0;
    const struct key **list = malloc((size_t)(n + 1) * sizeof *list);
    for (int i = 0; list && i < n; i++)
        list[i] = keys_at(k, i);
    if (list) qsort(list, (size_t)n, sizeof *list, by_name);
    return list;
}

static bool is_same(const struct key *a, const struct key *b) {
    const char *x = a->models ? a->models : "", *y = b->models ? b->models : "";
    return memcmp(a->hash, b->hash, sizeof a->hash) == 0 && a->rights == b->rights &&
           strcmp(x, y) == 0 && memcmp(&a->quota, &b->quota, sizeof a->quota) == 0 &&
           a->class == b->class && a->expires_s == b->expires_s && a->disabled == b->disabled;
}

static void put_name(json_t *lists, const char *what, const struct key *k) {
    json_t *list = json_object_get(lists, what);
    if (!list) json_object_set_new(lists, what, list = json_array());
    json_array_append_new(list, json_string(k->name));
}

static void compare(const struct key **was, int n_was, const struct key **now, int n_now,
                    json_t *lists) {
    for (int i = 0, j = 0; i < n_was || j < n_now;) {
        const int order = i == n_was ? 1 : j == n_now ? -1 : strcmp(was[i]->name, now[j]->name);
        if (order < 0)
            put_name(lists, "removed", was[i++]);
        else if (order > 0)
            put_name(lists, "added", now[j++]);
        else if (!is_same(was[i++], now[j++]))
            put_name(lists, "changed", now[j - 1]);
    }
}

void audit_key_changes(struct audit *a, struct keys *was, struct keys *now) {
    static const char *const what[] = {"added", "removed", "changed"};
    const struct key **x = sorted(was), **y = sorted(now);
    json_t *lists = json_object();
    if (x && y && lists) compare(x, was ? keys_count(was) : 0, y, now ? keys_count(now) : 0, lists);
    if (json_object_size(lists)) {
        struct audit_entry e;
        audit_entry_begin(&e, "keys");
        for (int i = 0; i < 3; i++)
            audit_json(&e.text, what[i], json_object_get(lists, what[i]));
        audit_put(a, &e);
    }
    json_decref(lists);
    free(x), free(y);
}
