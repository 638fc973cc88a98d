/* `cria audit verify`: policy/audit_verify.h in words. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/audit_file.h"
#include "policy/audit_verify.h"

static struct opt_list public_keys, hmac_keys;
static const char *noted;
static bool as_json;

const struct opt *cmd_audit_verify_options(void) {
    static const struct opt table[] = {
        {"public-key", 0, OPT_LIST, &public_keys, 0, 0, "FILE",
         "of CRIA_AUDIT_SIGN_KEY, PEM: signatures are checked; may be given again"},
        {"hmac-key", 0, OPT_LIST, &hmac_keys, 0, 0, "FILE",
         "CRIA_AUDIT_KEY_FILE: HMACs are checked; may be given again"},
        {"head", 0, OPT_STR, &noted, 0, 0, "SEQ:HASH",
         "of an entry, as verify printed it once: it must still be there"},
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL,
         "one object: whole, first, last, entries, hash, torn, crashes, lost, bad_seq, problem"},
        {0},
    };
    return table;
}

static int read_keys(struct audit_keys *k, struct err *e) {
    for (int i = 0; i < hmac_keys.n; i++)
        if (audit_keys_add_hmac(k, hmac_keys.v[i], e) != 0) return -1;
    for (int i = 0; i < public_keys.n; i++)
        if (audit_keys_add_verify(k, public_keys.v[i], e) != 0) return -1;
    return 0;
}

static int read_anchor(struct audit_anchor *a, struct err *e) {
    char *end;
    *a = (struct audit_anchor){0};
    if (!noted) return 0;
    a->seq = strtoull(noted, &end, 10);
    if (a->seq == 0 || *end != ':' || strlen(end + 1) != 2 * SHA256_BYTES ||
        strspn(end + 1, "0123456789abcdef") != 2 * SHA256_BYTES)
        return err_set(e, ERR_USAGE, "--head: found \"%s\"; SEQ:HASH is accepted, 64 hex digits",
                       noted);
    audit_unhex(end + 1, a->hash, SHA256_BYTES);
    return 0;
}

static void hex_of(const uint8_t hash[SHA256_BYTES], char out[2 * SHA256_BYTES + 1]) {
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static void print_json(const struct audit_verdict *v, const char *hash) {
    json_t *o =
        json_pack("{s:b, s:I, s:I, s:I, s:s, s:i, s:i, s:I, s:I}", "whole", v->whole, "first",
                  (json_int_t)v->first, "last", (json_int_t)v->last, "entries",
                  (json_int_t)v->n_entries, "hash", hash, "torn", v->n_torn, "crashes", v->n_crash,
                  "lost", (json_int_t)v->n_lost, "unsealed", (json_int_t)v->n_unsealed);
    if (!v->whole) {
        json_object_set_new(o, "bad_seq", json_integer((json_int_t)v->bad_seq));
        json_object_set_new(o, "problem", json_string(v->what));
    }
    cli_print_json(o);
}

static void print_text(const char *path, const struct audit_verdict *v, const char *hash) {
    printf("%s: whole: %" PRIu64 " entries, %" PRIu64 " to %" PRIu64 "\n", path, v->n_entries,
           v->first, v->last);
    if (v->first > 1) puts("  what was before was pruned or rotated away, as an entry says");
    if (v->n_torn) printf("  %d writes were cut by a crash, as entries say\n", v->n_torn);
    if (v->n_crash) printf("  %d starts after the server was killed\n", v->n_crash);
    if (v->n_lost)
        printf("  %" PRIu64 " entries could not be written, as entries say\n", v->n_lost);
    if (v->n_unsealed)
        printf("  %" PRIu64 " entries before the first sealed one have no seal of their own\n",
               v->n_unsealed);
    if (!v->head_known)
        puts("  its head is not beside it: whether entries are missing at its end is not known");
    printf("  head %" PRIu64 ":%s\n", v->last, hash);
}

/* A server may be in the middle of a line. */
static int verify(const char *path, const struct audit_keys *k, const struct audit_anchor *a,
                  struct audit_verdict *v, struct err *e) {
    int rc = 0;
    for (int tries = 0; rc == 0 && tries < 5; tries++) {
        struct audit_reader *r = audit_reader_open(path, e);
        rc = r ? audit_verify(r, k, a, v, e) : -1;
        audit_reader_close(r);
        if (v->whole || !v->torn) break;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return rc;
}

int cmd_audit_verify(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    char path[AUDIT_PATH], hash[2 * SHA256_BYTES + 1];
    struct audit_keys k = {0};
    struct audit_anchor a;
    struct audit_verdict v = {0};
    if (cli_parse(argc, argv, cmd_audit_verify_options(), args, &n_args, e) != 0) return -1;
    if (cli_check_args("audit verify", n_args, 0, 1, "[FILE]", e) != 0) return -1;
    int rc = read_anchor(&a, e);
    if (rc == 0) rc = read_keys(&k, e);
    if (rc == 0) rc = audit_file_name(n_args ? args[0] : NULL, path, e);
    if (rc == 0) rc = verify(path, &k, &a, &v, e);
    audit_keys_fini(&k);
    if (rc != 0) return -1;
    hex_of(v.hash, hash);
    if (as_json)
        print_json(&v, hash);
    else if (v.whole)
        print_text(path, &v, hash);
    return v.whole ? 0 : err_set(e, ERR_FORMAT, "%s", v.what);
}
