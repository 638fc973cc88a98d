/* See work.h. */
#include "base/work.h"

#include <stddef.h>

static _Thread_local const volatile int *watched[2];

void work_watch(const volatile int *a, const volatile int *b) {
    watched[0] = a;
    watched[1] = b;
}

static bool is_set(const volatile int *flag) {
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

bool work_stopped(void) {
    return is_set(watched[0]) || is_set(watched[1]);
}

int work_given_up(struct err *e) {
    return err_set(e, ERR_CANCELLED, "cancelled");
}
