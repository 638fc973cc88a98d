/* What the kernel has to enforce.  See isolation.h. */
#include "policy/isolation.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ABI_TCP = 4, ABI_SCOPED = 6 }; /* of Landlock: Linux 6.7, 6.12 */

int isolation_parse(const char *text, enum isolation *out, struct err *e) {
    static const struct {
        const char *text;
        enum isolation mode;
    } known[] = {
        {"off", ISOLATION_OFF},   {"0", ISOLATION_OFF},   {"no", ISOLATION_OFF},
        {"false", ISOLATION_OFF}, {"on", ISOLATION_ON},   {"1", ISOLATION_ON},
        {"yes", ISOLATION_ON},    {"true", ISOLATION_ON}, {"best-effort", ISOLATION_BEST_EFFORT}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *out = known[i].mode;
        if (strcasecmp(known[i].text, text) == 0) return 0;
    }
    return err_set(e, ERR_USAGE, "isolation: found \"%s\"; off, on or best-effort is accepted",
                   text);
}

/* ---- the walls ---- */

void isolation_missing(const struct sandbox_state *s, char *out, size_t n_out) {
    char landlock[96] = "";
    if (!s->landlock_abi)
        snprintf(landlock, sizeof landlock, "Landlock with rules for TCP (Linux 6.7; here: none)");
    else if (s->landlock_abi < ABI_TCP)
        snprintf(landlock, sizeof landlock,
                 "Landlock with rules for TCP (ABI %d, Linux 6.7; here: ABI %d)", ABI_TCP,
                 s->landlock_abi);
    snprintf(out, n_out, "%s%s%s", landlock, *landlock && !s->seccomp ? ", " : "",
             s->seccomp ? "" : "seccomp filters");
}

int isolation_enter(enum isolation mode, const struct isolation_files *f, struct sandbox_state *got,
                    struct err *e) {
    const struct sandbox_state offered = sandbox_offered();
    char missing[200];
    if (f->failed) return err_nomem(e, "isolation");
    isolation_missing(&offered, missing, sizeof missing);
    if (mode == ISOLATION_ON && *missing)
        return err_set(e, ERR_LIMIT,
                       "isolation: this system cannot enforce it; missing: %s.  "
                       "--isolation=best-effort starts with what there is",
                       missing);
    policy_stay(false);
    return sandbox_enter_front(f->rule, f->n, got, e);
}

void isolation_explain(const struct sandbox_state *s, char *out, size_t n_out) {
    char calls[48] = "no seccomp", landlock[64] = "no Landlock";
    if (s->seccomp) snprintf(calls, sizeof calls, "seccomp (%d calls)", s->n_call);
    if (s->landlock_abi)
        snprintf(landlock, sizeof landlock, "Landlock ABI %d (files%s%s)", s->landlock_abi,
                 s->landlock_abi >= ABI_TCP ? ", TCP" : "",
                 s->landlock_abi >= ABI_SCOPED ? ", signals" : "");
    snprintf(out, n_out, "%s, %s, %s", calls, landlock,
             s->network ? "an empty network" : "the system's network");
}
