/* See pack.h.  Packs with the same room left stand in one list; the fullest that still has enough
 * is found in a set of bits, one for each room that some pack has. */
#include "train/pack.h"

#include <stdlib.h>

struct packing {
    const int *len;
    int *head;     /* [max + 1] newest pack that has this room left, or -1 */
    int *next;     /* [n] the pack behind it in its list, or -1 */
    uint64_t *has; /* bit r: head[r] >= 0 */
    int *pack_of;  /* [n] */
    int n, max, n_pack;
};

struct sized {
    int len, at;
};

static int longest_first(const void *a, const void *b) {
    const struct sized *x = a, *y = b;
    if (x->len != y->len) return x->len > y->len ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The smallest room of at least `need` that a pack has; -1: none. */
static int find_room(const struct packing *p, int need) {
    const int n_word = p->max / 64 + 1;
    uint64_t bits = p->has[need / 64] >> (need % 64) << (need % 64);
    for (int i = need / 64; i < n_word; bits = ++i < n_word ? p->has[i] : 0)
        if (bits) return i * 64 + __builtin_ctzll(bits);
    return -1;
}

static void put_pack(struct packing *p, int pack, int room) {
    p->next[pack] = p->head[room];
    p->head[room] = pack;
    p->has[room / 64] |= (uint64_t)1 << (room % 64);
}

static int take_pack(struct packing *p, int room) {
    const int pack = p->head[room];
    p->head[room] = p->next[pack];
    if (p->head[room] < 0) p->has[room / 64] &= ~((uint64_t)1 << (room % 64));
    return pack;
}

static void place(struct packing *p, int at) {
    int room = find_room(p, p->len[at]);
    const int pack = room >= 0 ? take_pack(p, room) : p->n_pack++;
    if (room < 0) room = p->max;
    p->pack_of[at] = pack;
    put_pack(p, pack, room - p->len[at]);
}

/* Units by pack; inside one in their own order. */
static void sort_out(const struct packing *p, int32_t *order, int *start) {
    for (int k = 0; k <= p->n; k++)
        start[k] = 0;
    for (int i = 0; i < p->n; i++)
        start[p->pack_of[i] + 1]++;
    for (int k = 0; k < p->n; k++)
        start[k + 1] += start[k];
    for (int k = 0; k < p->n; k++)
        p->next[k] = start[k];
    for (int i = 0; i < p->n; i++)
        order[p->next[p->pack_of[i]]++] = i;
}

int pack_best_fit(const int *len, int n, int max, int32_t *order, int *start, struct err *e) {
    int64_t all = 0;
    for (int i = 0; i < n; i++)
        all += len[i];
    if (all < max) max = (int)all; /* one pack: what stays empty needs no place in the lists */
    struct packing p = {.len = len, .n = n, .max = max};
    struct sized *by_size = malloc(((size_t)n + 1) * sizeof *by_size);
    p.head = malloc(((size_t)max + 1) * sizeof *p.head);
    p.next = malloc(((size_t)n + 1) * sizeof *p.next);
    p.has = calloc((size_t)max / 64 + 1, sizeof *p.has);
    p.pack_of = malloc(((size_t)n + 1) * sizeof *p.pack_of);
    const bool fine = by_size && p.head && p.next && p.has && p.pack_of;
    if (fine) {
        for (int r = 0; r <= max; r++)
            p.head[r] = -1;
        for (int i = 0; i < n; i++)
            by_size[i] = (struct sized){len[i], i};
        qsort(by_size, (size_t)n, sizeof *by_size, longest_first);
        for (int i = 0; i < n; i++)
            place(&p, by_size[i].at);
        sort_out(&p, order, start);
    }
    free(by_size);
    free(p.head);
    free(p.next);
    free(p.has);
    free(p.pack_of);
    return fine ? p.n_pack : err_nomem(e, "packs");
}
