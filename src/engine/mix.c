/* The rules of the file types.  Source: llama.cpp, src/llama-quant.cpp.  Roughly: the output and,
 * in the better mixes, some layers of attn_v and ffn_down get more bits; which layers is decided
 * by use_more_bits. */
#include "engine/mix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum role {
    ROLE_OTHER,
    ROLE_OUTPUT,
    ROLE_EMBED,
    ROLE_ATTN_Q,
    ROLE_ATTN_K,
    ROLE_ATTN_V, /* also fused qkv and kv_b */
    ROLE_ATTN_OUTPUT,
    ROLE_FFN_GATE,
    ROLE_FFN_UP,
    ROLE_FFN_DOWN,
};

struct model {
    int mix;
    bool has_imatrix, tied, falcon, is_70b;
    int n_layer, n_expert, n_gqa;
    int n_attn_v; /* tensors of that role */
};

int mix_by_name(const char *name) {
    static const struct {
        const char *name;
        int mix;
    } alias[] = {
        {"Q3_K", MIX_Q3_K_M}, {"Q4_K", MIX_Q4_K_M}, {"Q5_K", MIX_Q5_K_M}, {"MXFP4_MOE", MIX_MXFP4}};
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (strcasecmp(alias[i].name, name) == 0) return alias[i].mix;
    return gguf_file_type_by_name(name);
}

int mix_base_type(int mix) {
    static const struct {
        enum mix_id mix;
        enum qtype type;
    } base[] = {
        {MIX_F32, QT_F32},         {MIX_F16, QT_F16},       {MIX_BF16, QT_BF16},
        {MIX_Q4_0, QT_Q4_0},       {MIX_Q4_1, QT_Q4_1},     {MIX_Q5_0, QT_Q5_0},
        {MIX_Q5_1, QT_Q5_1},       {MIX_Q8_0, QT_Q8_0},     {MIX_Q2_K, QT_Q2_K},
        {MIX_Q2_K_S, QT_Q2_K},     {MIX_Q3_K_S, QT_Q3_K},   {MIX_Q3_K_M, QT_Q3_K},
        {MIX_Q3_K_L, QT_Q3_K},     {MIX_Q4_K_S, QT_Q4_K},   {MIX_Q4_K_M, QT_Q4_K},
        {MIX_Q5_K_S, QT_Q5_K},     {MIX_Q5_K_M, QT_Q5_K},   {MIX_Q6_K, QT_Q6_K},
        {MIX_IQ1_S, QT_IQ1_S},     {MIX_IQ1_M, QT_IQ1_M},   {MIX_IQ2_XXS, QT_IQ2_XXS},
        {MIX_IQ2_XS, QT_IQ2_XS},   {MIX_IQ2_S, QT_IQ2_XS},  {MIX_IQ2_M, QT_IQ2_S},
        {MIX_IQ3_XXS, QT_IQ3_XXS}, {MIX_IQ3_XS, QT_IQ3_S},  {MIX_IQ3_S, QT_IQ3_S},
        {MIX_IQ3_M, QT_IQ3_S},     {MIX_IQ4_NL, QT_IQ4_NL}, {MIX_IQ4_XS, QT_IQ4_XS},
        {MIX_TQ1_0, QT_TQ1_0},     {MIX_TQ2_0, QT_TQ2_0},   {MIX_MXFP4, QT_MXFP4},
        {MIX_NVFP4, QT_NVFP4},     {MIX_Q1_0, QT_Q1_0},     {MIX_Q2_0, QT_Q2_0},
    };
    for (size_t i = 0; i < sizeof base / sizeof *base; i++)
        if ((int)base[i].mix == mix) return (int)base[i].type;
    return -1;
}

void mix_list(char *out, size_t n) {
    size_t at = 0;
    out[0] = 0;
    for (int id = 0; id <= MIX_Q2_0; id++)
        if (mix_base_type(id) >= 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " " : "",
                                   gguf_file_type_name((uint32_t)id));
}

static bool has(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

static enum role role_of(const char *name) {
    if (strcmp(name, "output.weight") == 0) return ROLE_OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return ROLE_EMBED;
    if (has(name, "attn_qkv.weight") || has(name, "attn_kv_b.weight") || has(name, "attn_v.weight"))
        return ROLE_ATTN_V;
    if (has(name, "attn_k.weight")) return ROLE_ATTN_K;
    if (has(name, "attn_q.weight")) return ROLE_ATTN_Q;
    if (has(name, "attn_output.weight")) return ROLE_ATTN_OUTPUT;
    if (has(name, "ffn_up")) return ROLE_FFN_UP;
    if (has(name, "ffn_gate")) return ROLE_FFN_GATE;
    if (has(name, "ffn_down")) return ROLE_FFN_DOWN;
    return ROLE_OTHER;
}

/* Matrices are quantized, but for a few that are small or sensitive. */
static bool is_quantized(const struct gguf_tensor *t) {
    static const char *const keep[] = {
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".position_embd",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
    };
    const size_t n = strlen(t->name);
    if (t->n_dim < 2 || n < 6 || strcmp(t->name + n - 6, "weight") != 0) return false;
    if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        return false;
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        if (has(t->name, keep[i])) return false;
    return true;
}

/* The first and last eighth of the layers, and every third in between. */
static bool use_more_bits(int layer, int n_layer) {
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

static bool is_low_iq(int mix) {
    return mix == MIX_IQ1_S || mix == MIX_IQ1_M || mix == MIX_IQ2_XXS || mix == MIX_IQ2_XS ||
           mix == MIX_IQ2_S || mix == MIX_IQ2_M;
}

static bool is_iq2_s(int mix) {
    return mix == MIX_IQ2_S || mix == MIX_IQ2_M;
}

static enum qtype for_output(const struct model *m, const struct gguf_tensor *t, enum qtype base) {
    if (m->mix == MIX_MXFP4 || m->falcon || t->ne[0] % qtype_geom(base)->block != 0) return QT_Q8_0;
    if (is_low_iq(m->mix) || m->mix == MIX_IQ3_XXS) return QT_Q5_K;
    return base == QT_Q8_0 ? QT_Q8_0 : QT_Q6_K;
}

static enum qtype for_embed(const struct model *m, enum qtype base) {
    switch (m->mix) {
    case MIX_IQ1_S:
    case MIX_IQ1_M:
    case MIX_IQ2_XXS:
    case MIX_IQ2_XS: return QT_Q2_K;
    case MIX_IQ2_S:
    case MIX_IQ2_M:
    case MIX_IQ3_XXS: return QT_IQ3_S;
    case MIX_TQ1_0:
    case MIX_TQ2_0:
    case MIX_Q2_0: return QT_Q4_K;
    default: return base;
    }
}

/* The mixes of about 2 bits; `rank` is the tensor's number among those of its role. */
static enum qtype for_low_iq(const struct model *m, enum role role, int rank, enum qtype base) {
    switch (role) {
    case ROLE_ATTN_V:
        if (m->n_gqa >= 4 || m->n_expert >= 4) return QT_Q4_K;
        return is_iq2_s(m->mix) ? QT_IQ3_S : QT_Q2_K;
    case ROLE_ATTN_K: return m->n_expert == 8 ? QT_Q4_K : base;
    case ROLE_FFN_DOWN:
        if (rank >= m->n_layer / 8) return base;
        return is_iq2_s(m->mix) ? QT_IQ3_S : QT_Q2_K;
    case ROLE_ATTN_OUTPUT:
        if (m->n_expert == 8) return QT_Q5_K;
        if (m->mix == MIX_IQ1_S || m->mix == MIX_IQ1_M) return QT_IQ2_XXS;
        return is_iq2_s(m->mix) ? QT_IQ3_S : base;
    default: return base;
    }
}

static enum qtype attn_v_of_mix(const struct model *m, int rank, enum qtype base) {
    const bool gqa = m->n_gqa >= 4, more = use_more_bits(rank, m->n_attn_v);
    switch (m->mix) {
    case MIX_Q2_K: return gqa ? QT_Q4_K : QT_Q3_K;
    case MIX_Q2_K_S:
    case MIX_IQ3_XS:
    case MIX_IQ3_S: return gqa ? QT_Q4_K : base;
    case MIX_IQ3_XXS: return gqa ? QT_Q4_K : m->has_imatrix ? QT_IQ3_XXS : QT_IQ3_S;
    case MIX_IQ3_M: return QT_Q4_K;
    case MIX_Q3_K_M: return rank < 2 ? QT_Q5_K : QT_Q4_K;
    case MIX_Q3_K_L: return QT_Q5_K;
    case MIX_IQ4_NL:
    case MIX_IQ4_XS: return gqa ? QT_Q5_K : base;
    case MIX_Q4_K_M:
    case MIX_Q5_K_M: return more ? QT_Q6_K : base;
    case MIX_Q4_K_S: return rank < 4 ? QT_Q5_K : base;
    default: return base;
    }
}

static enum qtype for_attn_v(const struct model *m, int rank, enum qtype base) {
    if (m->n_expert == 8) return QT_Q8_0; /* small beside the experts */
    const enum qtype t = attn_v_of_mix(m, rank, base);
    /* Eight heads share attn_v there: it is cheap, and matters eight times. */
    return m->is_70b && (t == QT_Q3_K || t == QT_Q4_K) ? QT_Q5_K : t;
}

static enum qtype for_attn_qk(const struct model *m, enum role role, enum qtype base) {
    if (role == ROLE_ATTN_K && m->n_expert == 8) return QT_Q8_0;
    if (m->mix == MIX_IQ3_XS) return QT_IQ3_XXS;
    return m->mix == MIX_IQ3_XXS ? QT_IQ2_S : base;
}

static enum qtype for_ffn_down(const struct model *m, int layer, enum qtype base) {
    const int n = m->n_layer;
    const bool first = layer < n / 8, more = use_more_bits(layer, n);
    switch (m->mix) {
    case MIX_Q2_K: return QT_Q3_K;
    case MIX_Q2_K_S: return first ? QT_Q4_K : base;
    case MIX_IQ3_XXS: return m->has_imatrix ? base : first ? QT_Q4_K : QT_Q3_K;
    case MIX_Q3_K_M:
        if (layer < n / 16) return QT_Q5_K;
        return !m->falcon || more ? QT_Q4_K : QT_Q3_K;
    case MIX_IQ3_M: return first || (m->n_expert == 8 && more) ? QT_Q4_K : base;
    case MIX_Q3_K_L: return m->falcon ? QT_Q4_K : QT_Q5_K;
    case MIX_Q4_K_M:
        if (!m->falcon) return more ? QT_Q6_K : base;
        return layer < n / 16 ? QT_Q6_K : more ? QT_Q5_K : QT_Q4_K;
    case MIX_IQ4_NL:
    case MIX_IQ4_XS: return first && !m->has_imatrix ? QT_Q5_K : base;
    case MIX_Q5_K_M: return more ? QT_Q6_K : base;
    case MIX_Q4_K_S: return first && !m->falcon ? QT_Q5_K : base;
    case MIX_Q4_0: return first && m->has_imatrix ? QT_Q4_1 : base;
    case MIX_Q5_0: return first && m->has_imatrix ? QT_Q5_1 : base;
    default: return base;
    }
}

static enum qtype for_attn_output(const struct model *m, enum qtype base) {
    if (m->falcon) return m->mix == MIX_Q3_K_L ? QT_Q4_K : base;
    switch (m->mix) {
    case MIX_Q2_K: return m->n_expert == 8 ? QT_Q5_K : QT_Q3_K;
    case MIX_IQ3_XXS: return m->n_expert == 8 ? QT_Q5_K : QT_IQ3_S;
    case MIX_Q3_K_M:
    case MIX_IQ3_M: return m->n_expert == 8 ? QT_Q5_K : QT_Q4_K;
    case MIX_Q3_K_L: return m->n_expert == 8 ? base : QT_Q5_K;
    case MIX_IQ3_XS:
    case MIX_IQ3_S:
    case MIX_Q3_K_S:
    case MIX_IQ4_NL:
    case MIX_IQ4_XS:
    case MIX_Q4_K_S:
    case MIX_Q4_K_M: return m->n_expert == 8 ? QT_Q5_K : base;
    default: return base;
    }
}

static enum qtype for_gate_up(const struct model *m, int layer, enum qtype base) {
    const bool middle = layer >= m->n_layer / 8 && layer < 7 * m->n_layer / 8;
    return m->mix == MIX_IQ3_XS && middle ? QT_IQ3_XXS : base;
}

/* rank: the tensor's number among those of its role; layer: from its name. */
static enum qtype choose(const struct model *m, const struct gguf_tensor *t, enum role role,
                         int rank, int layer, enum qtype base) {
    /* Experts of a layer may be many tensors: then only the name tells the layer. */
    const int at = m->n_expert > 1 ? layer : rank;
    if (role == ROLE_OUTPUT || (role == ROLE_EMBED && m->tied)) return for_output(m, t, base);
    if (m->mix == MIX_MXFP4) return t->ne[2] > 1 ? QT_MXFP4 : QT_Q8_0;
    if (role == ROLE_EMBED) return for_embed(m, base);
    if (is_low_iq(m->mix)) return for_low_iq(m, role, rank, base);
    switch (role) {
    case ROLE_ATTN_V: return for_attn_v(m, rank, base);
    case ROLE_ATTN_K:
    case ROLE_ATTN_Q: return for_attn_qk(m, role, base);
    case ROLE_ATTN_OUTPUT: return for_attn_output(m, base);
    case ROLE_FFN_DOWN: return for_ffn_down(m, at, base);
    case ROLE_FFN_GATE:
    case ROLE_FFN_UP: return for_gate_up(m, at, base);
    default: return base;
    }
}

/* A type whose blocks fill rows of n. */
static enum qtype fitting(enum qtype t, int64_t n) {
    if (n % qtype_geom(t)->block == 0) return t;
    enum qtype small;
    switch (t) {
    case QT_Q4_K: small = QT_Q5_0; break;
    case QT_Q5_K: small = QT_Q5_1; break;
    case QT_Q6_K: small = QT_Q8_0; break;
    case QT_Q2_0:
    case QT_Q2_K:
    case QT_Q3_K:
    case QT_TQ1_0:
    case QT_TQ2_0: small = QT_Q4_0; break;
    case QT_NVFP4:
    case QT_Q1_0: small = QT_Q4_0; break; /* no rule there: the reference refuses */
    default: small = QT_IQ4_NL;           /* the IQ types, 256 wide */
    }
    return n % qtype_geom(small)->block == 0 ? small : QT_F16;
}

static int layer_of(const char *name) {
    if (strncmp(name, "blk.", 4) != 0) return -1;
    const long layer = strtol(name + 4, NULL, 10);
    return layer >= 0 && layer < 1 << 24 ? (int)layer : -1;
}

struct place {
    const struct gguf_tensor *t;
    int index; /* in the file */
};

/* By layer, then by name: the order in which the rules count. */
static int by_layer(const void *a, const void *b) {
    const struct gguf_tensor *x = ((const struct place *)a)->t, *y = ((const struct place *)b)->t;
    const int lx = layer_of(x->name), ly = layer_of(y->name);
    if (lx != ly) return lx < ly ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* An integer key ARCH.name; the first element of an array; or 0. */
static int arch_int(const struct gguf *g, struct str arch, const char *name) {
    char key[160];
    snprintf(key, sizeof key, "%.*s.%s", arch.n > 64 ? 64 : (int)arch.n, arch.p, name);
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    const enum gguf_type t = kv->type == GGUF_ARR ? kv->elem_type : kv->type;
    if (kv->n == 0 || t == GGUF_STR || t == GGUF_F32 || t == GGUF_F64 || t == GGUF_BOOL) return 0;
    const int64_t v = gguf_int_at(kv, 0);
    return v > 0 && v < 1 << 24 ? (int)v : 0;
}

static void read_model(struct model *m, const struct mix_model *mm, int mix, bool has_imatrix) {
    *m = (struct model){
        .mix = mix,
        .has_imatrix = has_imatrix,
        .falcon = str_is(mm->arch, "falcon"),
        .tied = true,
        .n_layer = mm->n_layer,
        .n_expert = mm->n_expert,
        .n_gqa = mm->n_kv_head ? mm->n_head / mm->n_kv_head : 1,
    };
    m->is_70b = m->n_layer == 80 && (str_is(mm->arch, "llama") || str_is(mm->arch, "qwen2"));
    for (int i = 0; i < mm->n_tensor; i++) {
        const enum role role = role_of(mm->tensor[i]->name);
        m->n_attn_v += role == ROLE_ATTN_V;
        if (role == ROLE_OUTPUT) m->tied = false;
    }
}

int mix_choose_of(const struct mix_model *mm, int mix, bool pure, bool has_imatrix, enum qtype *out,
                  int *n_fallback, struct err *e) {
    const enum qtype base = (enum qtype)mix_base_type(mix);
    const bool floats = base == QT_F32 || base == QT_F16 || base == QT_BF16;
    int rank[ROLE_FFN_DOWN + 1] = {0};
    const int n = mm->n_tensor;
    struct model m;
    struct place *order = malloc(((size_t)n + 1) * sizeof *order);
    if (!order) return err_nomem(e, "types of tensors");
    read_model(&m, mm, mix, has_imatrix);
    for (int i = 0; i < n; i++)
        order[i] = (struct place){mm->tensor[i], i};
    qsort(order, (size_t)n, sizeof *order, by_layer);
    *n_fallback = 0;
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = order[i].t;
        const enum role role = role_of(t->name);
        enum qtype type = t->type;
        if (is_quantized(t)) {
            type = base;
            if (!floats && !pure) type = choose(&m, t, role, rank[role]++, layer_of(t->name), base);
            const enum qtype fit = fitting(type, t->ne[0]);
            *n_fallback += fit != type;
            type = fit;
        }
        out[order[i].index] = type;
    }
    free(order);
    return 0;
}

int mix_choose(const struct gguf *g, int mix, bool pure, bool has_imatrix, enum qtype *out,
               int *n_fallback, struct err *e) {
    const int n = gguf_n_tensor(g);
    struct str arch = STR("");
    const struct gguf_tensor **tensor = malloc(((size_t)n + 1) * sizeof *tensor);
    if (!tensor) return err_nomem(e, gguf_path(g));
    for (int i = 0; i < n; i++)
        tensor[i] = gguf_tensor_at(g, i);
    gguf_get_str(g, "general.architecture", &arch, NULL);
    const struct mix_model mm = {.arch = arch,
                                 .n_layer = arch_int(g, arch, "block_count"),
                                 .n_head = arch_int(g, arch, "attention.head_count"),
                                 .n_kv_head = arch_int(g, arch, "attention.head_count_kv"),
                                 .n_expert = arch_int(g, arch, "expert_count"),
                                 .tensor = tensor,
                                 .n_tensor = n};
    const int rc = mix_choose_of(&mm, mix, pure, has_imatrix, out, n_fallback, e);
    free(tensor);
    return rc;
}
