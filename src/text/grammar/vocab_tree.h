/* A vocabulary's texts as a tree of bytes, laid out for one walk in order: the children of a node
 * come right behind it, and a node whose byte may not come is left with all below it by one jump.
 */
#pragma once

#include "text/grammar/grammar.h"

enum { VOCAB_TREE_MAX_TEXT = 1024 }; /* bytes; longer tokens are never allowed */

struct grammar_vocab {
    int n_vocab, n_node, depth; /* depth: of the deepest node, from 1 */
    uint64_t serial;            /* no two are alike in a process */
    uint8_t *byte;              /* [n_node] */
    uint16_t *level;            /* [n_node] from 0 */
    int32_t *skip;              /* [n_node] the next node that is not below */
    int32_t *first;             /* [n_node + 1] its tokens are order[first[i]..first[i + 1]) */
    int32_t *order;             /* [n_vocab] tokens as the tree has them */
    uint32_t *below;            /* [n_node] what bytes come below: bits of vocab_tree_group */
    uint16_t *height;           /* [n_node] levels below */
    uint32_t *at;               /* [n_vocab + 1] where a token's text begins in text */
    char *text;
    int32_t *end; /* [n_end] end tokens */
    int n_end;
};

/* The text of a token: empty when it has none that an answer could show. */
static inline struct str vocab_tree_text(const struct grammar_vocab *gv, int32_t id) {
    return (struct str){gv->text + gv->at[id], gv->at[id + 1] - gv->at[id]};
}

/* Bytes of which nearly every set of characters in use has all or none; _TEXT are those beyond
 * ASCII where they are UTF-8 from the root on, _BROKEN where not. */
enum { VOCAB_TREE_TEXT = 28, VOCAB_TREE_BROKEN = 29 };

int vocab_tree_group(uint8_t ascii);
