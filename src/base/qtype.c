/* Block geometry of the tensor types. */
#include "base/qtype.h"

#include <assert.h>
#include <strings.h>

static const struct qtype_geom geom[QT_COUNT] = {
    [QT_F32] = {"F32", 1, 4},
    [QT_F16] = {"F16", 1, 2},
    [QT_BF16] = {"BF16", 1, 2},
    [QT_F64] = {"F64", 1, 8},
    [QT_I8] = {"I8", 1, 1},
    [QT_I16] = {"I16", 1, 2},
    [QT_I32] = {"I32", 1, 4},
    [QT_I64] = {"I64", 1, 8},
    [QT_Q4_0] = {"Q4_0", 32, 18},
    [QT_Q4_1] = {"Q4_1", 32, 20},
    [QT_Q5_0] = {"Q5_0", 32, 22},
    [QT_Q5_1] = {"Q5_1", 32, 24},
    [QT_Q8_0] = {"Q8_0", 32, 34},
    [QT_Q2_K] = {"Q2_K", 256, 84},
    [QT_Q3_K] = {"Q3_K", 256, 110},
    [QT_Q4_K] = {"Q4_K", 256, 144},
    [QT_Q5_K] = {"Q5_K", 256, 176},
    [QT_Q6_K] = {"Q6_K", 256, 210},
    [QT_IQ2_XXS] = {"IQ2_XXS", 256, 66},
    [QT_IQ2_XS] = {"IQ2_XS", 256, 74},
    [QT_IQ2_S] = {"IQ2_S", 256, 82},
    [QT_IQ3_XXS] = {"IQ3_XXS", 256, 98},
    [QT_IQ3_S] = {"IQ3_S", 256, 110},
    [QT_IQ1_S] = {"IQ1_S", 256, 50},
    [QT_IQ1_M] = {"IQ1_M", 256, 56},
    [QT_IQ4_NL] = {"IQ4_NL", 32, 18},
    [QT_IQ4_XS] = {"IQ4_XS", 256, 136},
    [QT_TQ1_0] = {"TQ1_0", 256, 54},
    [QT_TQ2_0] = {"TQ2_0", 256, 66},
    [QT_MXFP4] = {"MXFP4", 32, 17},
    [QT_NVFP4] = {"NVFP4", 64, 36},
    [QT_Q1_0] = {"Q1_0", 128, 18},
    [QT_Q2_0] = {"Q2_0", 64, 18},
};

const struct qtype_geom *qtype_geom(uint32_t id) {
    return id < QT_COUNT && geom[id].name ? &geom[id] : NULL;
}

const char *qtype_name(uint32_t id) {
    const struct qtype_geom *g = qtype_geom(id);
    return g ? g->name : "?";
}

int qtype_by_name(const char *name) {
    for (int i = 0; i < QT_COUNT; i++)
        if (geom[i].name && strcasecmp(geom[i].name, name) == 0) return i;
    return -1;
}

size_t qtype_row_bytes(enum qtype t, int n) {
    assert(n >= 0 && n % geom[t].block == 0);
    return (size_t)(n / geom[t].block) * (size_t)geom[t].block_bytes;
}
