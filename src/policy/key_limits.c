/* See key_limits.h.  One mutex over all meters: it is held for some comparisons, and a request
 * takes it three times. */
#include "policy/key_limits.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/os.h"

#define MINUTE_NS INT64_C(60000000000)
enum { DAY_S = 86400, N_CHAIN = 1024 };
#define COST_MAX INT64_C(10000000)           /* tokens of one request that are counted */
#define DEBT_MAX (10 * COST_MAX * MINUTE_NS) /* 6e18: a full bucket above it is no overflow */

/* A bucket in whole numbers, exact: a token is MINUTE_NS units, and `rate` tokens a minute make
 * `rate` units a nanosecond.  KEY_TPM_MAX times MINUTE_NS is 6e17. */
struct bucket {
    int64_t rate; /* tokens a minute, and the most that is in it; 0: no limit */
    int64_t level;
    int64_t at_ns;
};

struct key_meter {
    struct key_meter *next;  /* in the order in which they came */
    struct key_meter *alike; /* of the same chain */
    char name[KEY_NAME_MAX];
    struct bucket requests, tokens;
    int64_t n_now;
    int64_t day, kept_requests, kept_tokens; /* of that day: what the database has */
    int64_t own_requests, own_tokens;        /* what it does not have yet */
    int64_t reserved;                        /* of the day's tokens */
    struct key_counts all;
};

struct key_limits {
    struct key_clock clock;
    pthread_mutex_t lock; /* of what follows */
    struct key_meter *first, **last;
    struct key_meter *chain[N_CHAIN]; /* by name: a set may have thousands */
};

/* ---- clocks ---- */

static int64_t system_ns(void *ctx) {
    (void)ctx;
    return os_now_ns();
}

static int64_t system_s(void *ctx) {
    (void)ctx;
    return (int64_t)time(NULL);
}

static int64_t now_ns(const struct key_limits *l) {
    return l->clock.now_ns(l->clock.ctx);
}

static int64_t unix_s(const struct key_limits *l) {
    return l->clock.unix_s(l->clock.ctx);
}

int64_t key_limits_day(struct key_limits *l) {
    return unix_s(l) / DAY_S;
}

/* ---- buckets ---- */

/* What has flowed in since it was looked at.  A changed rate keeps what is used up. */
static void fill(struct bucket *b, int64_t rate, int64_t now) {
    const int64_t full = rate * MINUTE_NS;
    if (rate == 0) {
        *b = (struct bucket){0};
        return;
    }
    if (b->rate != rate) {
        b->level = full - (b->rate ? b->rate * MINUTE_NS - b->level : 0);
        if (!b->rate) b->at_ns = now;
        b->rate = rate;
    }
    const int64_t passed = now - b->at_ns, needed = (full - b->level + rate - 1) / rate;
    b->level = passed >= needed ? full : b->level + passed * rate;
    b->at_ns = now;
}

static bool has(const struct bucket *b, int64_t n) {
    return b->level >= n * MINUTE_NS;
}

static void take(struct bucket *b, int64_t n) {
    b->level -= n * MINUTE_NS;
    if (b->level < -DEBT_MAX) b->level = -DEBT_MAX;
}

/* Until n are in it. */
static int64_t wait_ns(const struct bucket *b, int64_t n) {
    const int64_t missing = n * MINUTE_NS - b->level;
    return missing > 0 ? (missing + b->rate - 1) / b->rate : 0;
}

/* ---- meters ---- */

struct key_limits *key_limits_new(const struct key_clock *c, struct err *e) {
    struct key_limits *l = calloc(1, sizeof *l);
    if (!l) {
        err_nomem(e, "limits of keys");
        return NULL;
    }
    if (c) l->clock = *c;
    if (!l->clock.now_ns) l->clock.now_ns = system_ns;
    if (!l->clock.unix_s) l->clock.unix_s = system_s;
    l->last = &l->first;
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

void key_limits_free(struct key_limits *l) {
    if (!l) return;
    for (struct key_meter *m = l->first, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct key_meter **chain_of(struct key_limits *l, const char *name) {
    return &l->chain[hash64(name, strlen(name), 0) % N_CHAIN];
}

static struct key_meter *find(struct key_limits *l, const char *name) {
    struct key_meter *m = *chain_of(l, name);
    while (m && strcmp(m->name, name) != 0)
        m = m->alike;
    return m;
}

/* With the lock. */
static struct key_meter *meter_of(struct key_limits *l, const char *name) {
    struct key_meter *m = find(l, name);
    if (m || !(m = calloc(1, sizeof *m))) return m;
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->all.name, sizeof m->all.name, "%s", name);
    m->day = key_limits_day(l);
    struct key_meter **chain = chain_of(l, name);
    m->alike = *chain;
    *chain = m;
    *l->last = m;
    l->last = &m->next;
    return m;
}

int key_limits_attach(struct key_limits *l, struct keys *k, struct err *e) {
    bool good = true;
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < keys_count(k) && good; i++)
        good = (keys_at(k, i)->meter = meter_of(l, keys_at(k, i)->name)) != NULL;
    pthread_mutex_unlock(&l->lock);
    return good ? 0 : err_nomem(e, "limits of keys");
}

/* Today's counts. */
static void turn_day(struct key_limits *l, struct key_meter *m) {
    const int64_t day = key_limits_day(l);
    if (day == m->day || day == m->day - 1) return;
    m->day = day;
    m->kept_requests = m->kept_tokens = m->own_requests = m->own_tokens = 0;
}

static int64_t next_day_s(const struct key_limits *l, const struct key_meter *m) {
    return (m->day + 1) * DAY_S - unix_s(l);
}

/* Everything as it is now.  With the lock. */
static struct key_meter *refresh(struct key_limits *l, const struct key *k) {
    const int64_t now = now_ns(l);
    fill(&k->meter->requests, k->quota.rpm, now);
    fill(&k->meter->tokens, k->quota.tpm, now);
    turn_day(l, k->meter);
    return k->meter;
}

static int refuse(struct key_meter *m, struct key_refusal *why, enum key_limit limit, int64_t most,
                  int64_t wait_s) {
    m->all.n_refused++;
    *why = (struct key_refusal){limit, most, wait_s > 1 ? wait_s : 1};
    return -1;
}

static int64_t in_s(int64_t ns) {
    return (ns + 999999999) / 1000000000;
}

static int enter(struct key_limits *l, const struct key *k, struct key_refusal *why) {
    const struct key_quota *q = &k->quota;
    struct key_meter *m = refresh(l, k);
    if (q->daily_requests && m->kept_requests + m->own_requests >= q->daily_requests)
        return refuse(m, why, KEY_LIMIT_DAY_REQUESTS, q->daily_requests, next_day_s(l, m));
    if (q->concurrent && m->n_now >= q->concurrent)
        return refuse(m, why, KEY_LIMIT_CONCURRENT, q->concurrent, 1);
    if (q->rpm && !has(&m->requests, 1))
        return refuse(m, why, KEY_LIMIT_REQUESTS, q->rpm, in_s(wait_ns(&m->requests, 1)));
    if (q->rpm) take(&m->requests, 1);
    m->n_now++;
    m->own_requests++;
    m->all.n_requests++;
    return 0;
}

int key_enter(struct key_limits *l, const struct key *k, struct key_refusal *why) {
    pthread_mutex_lock(&l->lock);
    const int rc = enter(l, k, why);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* ---- tokens ---- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t at_least_0(int64_t n) {
    return n > 0 ? n : 0;
}

/* It was let in for nothing: whoever tries again and again has no requests less for it. */
static void forget(struct key_meter *m) {
    const struct bucket *b = &m->requests;
    if (b->rate && b->level + MINUTE_NS <= b->rate * MINUTE_NS) take(&m->requests, -1);
    if (m->kept_requests + m->own_requests > 0) m->own_requests--;
    m->all.n_requests--;
}

/* What nobody has used or put aside; below zero when the last one may need more than there was. */
static int64_t left_today(const struct key_meter *m, int64_t daily) {
    return daily - m->kept_tokens - m->own_tokens - m->reserved;
}

static int reserve(struct key_limits *l, const struct key *k, const struct key_need *need,
                   struct key_hold *hold, struct key_refusal *why) {
    const struct key_quota *q = &k->quota;
    struct key_meter *m = refresh(l, k);
    const int64_t prompt = least(need->prompt, COST_MAX), answer = least(need->answer, COST_MAX);
    const int64_t left = left_today(m, q->daily_tokens);
    /* At least one: what is used up lets in nothing. */
    const int64_t minute = least(prompt + answer > 1 ? prompt + answer : 1, q->tpm);
    if (q->daily_tokens && left < (need->least > 1 ? need->least : 1)) {
        /* What others have put aside may come back. */
        const bool others = m->reserved > 0 && left + m->reserved > 0;
        forget(m);
        return refuse(m, why, KEY_LIMIT_DAY_TOKENS, q->daily_tokens, others ? 1 : next_day_s(l, m));
    }
    if (q->tpm && !has(&m->tokens, minute)) {
        forget(m);
        return refuse(m, why, KEY_LIMIT_TOKENS, q->tpm, in_s(wait_ns(&m->tokens, minute)));
    }
    *hold = (struct key_hold){.minute = q->tpm ? minute : 0,
                              .day = q->daily_tokens ? prompt + answer : 0,
                              .answer = answer};
    if (q->tpm) take(&m->tokens, hold->minute);
    m->reserved += hold->day;
    return 0;
}

int key_reserve(struct key_limits *l, const struct key *k, const struct key_need *need,
                struct key_hold *hold, struct key_refusal *why) {
    pthread_mutex_lock(&l->lock);
    const int rc = reserve(l, k, need, hold, why);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void key_correct(struct key_limits *l, const struct key *k, struct key_hold *hold,
                 int64_t n_prompt) {
    const struct key_quota *q = &k->quota;
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = refresh(l, k);
    const int64_t n = least(n_prompt, COST_MAX) + hold->answer;
    const int64_t minute = q->tpm ? least(n > 1 ? n : 1, q->tpm) : 0;
    const int64_t day = q->daily_tokens ? n : 0;
    if (q->tpm) take(&m->tokens, minute - hold->minute);
    m->reserved += day - hold->day;
    *hold = (struct key_hold){.minute = minute, .day = day, .answer = hold->answer};
    pthread_mutex_unlock(&l->lock);
}

void key_settle(struct key_limits *l, const struct key *k, const struct key_hold *hold,
                int64_t n_tokens) {
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = refresh(l, k);
    const int64_t n = least(n_tokens, COST_MAX), full = k->quota.tpm * MINUTE_NS;
    /* The limit may have come, or gone, meanwhile. */
    if (k->quota.tpm) take(&m->tokens, n - least(hold->minute, k->quota.tpm));
    if (m->tokens.level > full) m->tokens.level = full;
    m->reserved -= hold->day;
    m->own_tokens += n;
    m->all.n_tokens += n;
    m->n_now--;
    pthread_mutex_unlock(&l->lock);
}

/* ---- what is left ---- */

static struct key_left left_of(const struct bucket *b, int64_t daily, int64_t used,
                               int64_t day_ns) {
    struct key_left r = {0};
    if (b->rate)
        r = (struct key_left){b->rate, at_least_0(b->level / MINUTE_NS), wait_ns(b, b->rate)};
    const int64_t left = at_least_0(daily - used);
    if (daily && (!b->rate || left < r.left)) r = (struct key_left){daily, left, day_ns};
    return r;
}

void key_look(struct key_limits *l, const struct key *k, struct key_left *requests,
              struct key_left *tokens) {
    pthread_mutex_lock(&l->lock);
    const struct key_meter *m = refresh(l, k);
    const int64_t day_ns = next_day_s(l, m) * 1000000000;
    *requests =
        left_of(&m->requests, k->quota.daily_requests, m->kept_requests + m->own_requests, day_ns);
    *tokens = left_of(&m->tokens, k->quota.daily_tokens,
                      m->kept_tokens + m->own_tokens + m->reserved, day_ns);
    pthread_mutex_unlock(&l->lock);
}

/* Go's durations, as OpenAI words them, are for headers; this one is for people. */
static void wait_text(int64_t s, char out[48]) {
    if (s < 120)
        snprintf(out, 48, "%lld s", (long long)s);
    else if (s < 7200)
        snprintf(out, 48, "%lld min", (long long)(s + 59) / 60);
    else
        snprintf(out, 48, "%lld h", (long long)(s + 3599) / 3600);
}

void key_refusal_text(const struct key_refusal *r, struct err *e) {
    static const char *const what[] = {
        [KEY_LIMIT_REQUESTS] = "requests a minute",  [KEY_LIMIT_TOKENS] = "tokens a minute",
        [KEY_LIMIT_CONCURRENT] = "requests at once", [KEY_LIMIT_DAY_REQUESTS] = "requests a day",
        [KEY_LIMIT_DAY_TOKENS] = "tokens a day",
    };
    char wait[48];
    wait_text(r->retry_s, wait);
    err_set(e, ERR_RATE, "rate limit of this API key: %lld %s; try again in %s", (long long)r->most,
            what[r->limit], wait);
}

/* ---- kept, and told ---- */

/* With the lock. */
static struct key_meter *behind(const struct key_limits *l, const struct key_meter *m) {
    return m ? m->next : l->first;
}

bool key_limits_unkept(struct key_limits *l, struct key_meter **at, struct key_day *out) {
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = behind(l, *at);
    for (; m; m = m->next) {
        turn_day(l, m);
        if (m->own_requests || m->own_tokens) break;
    }
    if (m) {
        *out = (struct key_day){
            .meter = m, .day = m->day, .requests = m->own_requests, .tokens = m->own_tokens};
        snprintf(out->name, sizeof out->name, "%s", m->name);
    }
    pthread_mutex_unlock(&l->lock);
    *at = m;
    return m != NULL;
}

void key_limits_kept(struct key_limits *l, const struct key_day *d) {
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = d->meter;
    if (m->day == d->day) {
        m->own_requests -= d->requests, m->kept_requests += d->requests;
        m->own_tokens -= d->tokens, m->kept_tokens += d->tokens;
    }
    pthread_mutex_unlock(&l->lock);
}

void key_limits_restore(struct key_limits *l, const char *name, int64_t day, int64_t requests,
                        int64_t tokens) {
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = find(l, name);
    if (m) turn_day(l, m);
    if (m && m->day == day) m->kept_requests = requests, m->kept_tokens = tokens;
    pthread_mutex_unlock(&l->lock);
}

bool key_limits_counts(struct key_limits *l, struct key_meter **at, struct key_counts *out) {
    pthread_mutex_lock(&l->lock);
    struct key_meter *m = behind(l, *at);
    if (m) *out = m->all, out->n_now = (int)m->n_now;
    pthread_mutex_unlock(&l->lock);
    *at = m;
    return m != NULL;
}
