/* The models: one entry each, dimensions as in the config.json of the published weights, names and
 * tags as in Ollama's library.  Only what is certain stands here: a test computes the parameters
 * from the dimensions and compares them with the number that was published. */
#include "create/catalogue.h"

#define DIMS(embd, layer, head, kv_head, dim, ff)                                                  \
    .n_embd = embd, .n_layer = layer, .n_head = head, .n_kv_head = kv_head, .head_dim = dim, .n_ff = ff
#define APACHE .licence = "Apache 2.0"
#define LLAMA .arch = "llama", .n_vocab = 128256, .n_ctx = 131072
#define QWEN2 .arch = "qwen2", .parts = PART_QKV_BIAS
#define QWEN2_TIED .arch = "qwen2", .parts = PART_QKV_BIAS | PART_TIED, .n_vocab = 151936
#define QWEN3 .arch = "qwen3", .parts = PART_QK_NORM, .n_vocab = 151936, .n_ctx = 40960, APACHE
#define QWEN3_TIED                                                                                 \
    .arch = "qwen3", .parts = PART_QK_NORM | PART_TIED, .n_vocab = 151936, .n_ctx = 40960, APACHE
#define PHI3 .arch = "phi3", .licence = "MIT"
#define GEMMA2                                                                                     \
    .arch = "gemma2", .parts = PART_POST_NORM | PART_TIED, .n_vocab = 256000, .n_ctx = 8192,       \
    .licence = "Gemma terms", .tasks = TASK_CHAT, .files = FILES_ALL, .year = 2024
#define GEMMA3                                                                                     \
    .arch = "gemma3", .parts = PART_POST_NORM | PART_QK_NORM | PART_TIED,                          \
    .licence = "Gemma terms", .files = FILES_TWO, .year = 2025
#define BERT .arch = "bert", .parts = PART_ENCODER | PART_BIAS | PART_MLP | PART_POSITIONS
#define EMBED .tasks = TASK_EMBED, .made_for = TASK_EMBED, .files = FILES_F16
#define EVERYTHING TASK_CHAT | TASK_CODE | TASK_MATH | TASK_MULTILINGUAL
#define REASONS TASK_MATH | TASK_CODE, .made_for = TASK_MATH

const struct catalogue_model catalogue[] = {
    {"llama3.2", "1b", "1b-instruct", LLAMA, DIMS(2048, 16, 32, 8, 64, 8192), .parts = PART_TIED,
     .n_param_m = 1235.814, .tasks = TASK_CHAT, .year = 2024, .licence = "Llama 3.2 Community"},
    {"llama3.2", "3b", "3b-instruct", LLAMA, DIMS(3072, 28, 24, 8, 128, 8192), .parts = PART_TIED,
     .n_param_m = 3212.750, .tasks = TASK_CHAT | TASK_MULTILINGUAL, .year = 2024,
     .licence = "Llama 3.2 Community"},
    {"llama3.1", "8b", "8b-instruct", LLAMA, DIMS(4096, 32, 32, 8, 128, 14336),
     .n_param_m = 8030.261, .tasks = EVERYTHING, .year = 2024, .licence = "Llama 3.1 Community"},

    {"qwen2.5", "0.5b", "0.5b-instruct", QWEN2_TIED, DIMS(896, 24, 14, 2, 64, 4864),
     .n_ctx = 32768, .n_param_m = 494.033, .tasks = TASK_CHAT, .year = 2024, APACHE},
    {"qwen2.5", "1.5b", "1.5b-instruct", QWEN2_TIED, DIMS(1536, 28, 12, 2, 128, 8960),
     .n_ctx = 32768, .n_param_m = 1543.714, .tasks = EVERYTHING, .year = 2024, APACHE},
    {"qwen2.5", "3b", "3b-instruct", QWEN2_TIED, DIMS(2048, 36, 16, 2, 128, 11008),
     .n_ctx = 32768, .n_param_m = 3085.939, .tasks = EVERYTHING, .year = 2024,
     .licence = "Qwen Research (non-commercial)"},
    {"qwen2.5", "7b", "7b-instruct", QWEN2, DIMS(3584, 28, 28, 4, 128, 18944), .n_vocab = 152064,
     .n_ctx = 32768, .n_param_m = 7615.617, .tasks = EVERYTHING, .year = 2024, APACHE},
    {"qwen2.5", "14b", "14b-instruct", QWEN2, DIMS(5120, 48, 40, 8, 128, 13824), .n_vocab = 152064,
     .n_ctx = 32768, .n_param_m = 14770.034, .tasks = EVERYTHING, .year = 2024, APACHE},

    {"qwen2.5-coder", "0.5b", "0.5b-instruct", QWEN2_TIED, DIMS(896, 24, 14, 2, 64, 4864),
     .n_ctx = 32768, .n_param_m = 494.033, .tasks = TASK_CODE, .made_for = TASK_CODE, .year = 2024,
     APACHE},
    {"qwen2.5-coder", "1.5b", "1.5b-instruct", QWEN2_TIED, DIMS(1536, 28, 12, 2, 128, 8960),
     .n_ctx = 32768, .n_param_m = 1543.714, .tasks = TASK_CODE, .made_for = TASK_CODE, .year = 2024,
     APACHE},
    {"qwen2.5-coder", "3b", "3b-instruct", QWEN2_TIED, DIMS(2048, 36, 16, 2, 128, 11008),
     .n_ctx = 32768, .n_param_m = 3085.939, .tasks = TASK_CODE, .made_for = TASK_CODE, .year = 2024,
     .licence = "Qwen Research (non-commercial)"},
    {"qwen2.5-coder", "7b", "7b-instruct", QWEN2, DIMS(3584, 28, 28, 4, 128, 18944),
     .n_vocab = 152064, .n_ctx = 32768, .n_param_m = 7615.617, .tasks = TASK_CODE,
     .made_for = TASK_CODE, .year = 2024, APACHE},
    {"qwen2.5-coder", "14b", "14b-instruct", QWEN2, DIMS(5120, 48, 40, 8, 128, 13824),
     .n_vocab = 152064, .n_ctx = 32768, .n_param_m = 14770.034, .tasks = TASK_CODE,
     .made_for = TASK_CODE, .year = 2024, APACHE},
    {"qwen2-math", "1.5b", "1.5b-instruct", QWEN2_TIED, DIMS(1536, 28, 12, 2, 128, 8960),
     .n_ctx = 4096, .n_param_m = 1543.714, .tasks = TASK_MATH, .made_for = TASK_MATH, .year = 2024,
     APACHE},
    {"qwen2-math", "7b", "7b-instruct", QWEN2, DIMS(3584, 28, 28, 4, 128, 18944),
     .n_vocab = 152064, .n_ctx = 4096, .n_param_m = 7615.617, .tasks = TASK_MATH,
     .made_for = TASK_MATH, .year = 2024, APACHE},

    {"qwen3", "0.6b", "0.6b", QWEN3_TIED, DIMS(1024, 28, 16, 8, 128, 3072), .n_param_m = 596.050,
     .tasks = TASK_CHAT, .files = FILES_TWO, .year = 2025},
    {"qwen3", "1.7b", "1.7b", QWEN3_TIED, DIMS(2048, 28, 16, 8, 128, 6144), .n_param_m = 1720.575,
     .tasks = EVERYTHING, .files = FILES_TWO, .year = 2025},
    {"qwen3", "4b", "4b", QWEN3_TIED, DIMS(2560, 36, 32, 8, 128, 9728), .n_param_m = 4022.468,
     .tasks = EVERYTHING, .files = FILES_TWO, .year = 2025},
    {"qwen3", "8b", "8b", QWEN3, DIMS(4096, 36, 32, 8, 128, 12288), .n_param_m = 8190.735,
     .tasks = EVERYTHING, .files = FILES_TWO, .year = 2025},
    {"qwen3", "14b", "14b", QWEN3, DIMS(5120, 40, 40, 8, 128, 17408), .n_param_m = 14768.307,
     .tasks = EVERYTHING, .files = FILES_TWO, .year = 2025},

    {"phi3", "mini", "3.8b-mini-4k-instruct", PHI3, DIMS(3072, 32, 32, 32, 96, 8192),
     .parts = PART_FUSED_QKV | PART_FUSED_UP, .n_vocab = 32064, .n_ctx = 4096,
     .n_param_m = 3821.080, .tasks = TASK_CHAT | TASK_CODE | TASK_MATH, .year = 2024},
    {"phi3.5", "3.8b", "3.8b-mini-instruct", PHI3, DIMS(3072, 32, 32, 32, 96, 8192),
     .parts = PART_FUSED_QKV | PART_FUSED_UP, .n_vocab = 32064, .n_ctx = 131072,
     .n_param_m = 3821.080, .tasks = TASK_CHAT | TASK_CODE | TASK_MATH, .year = 2024},
    {"phi4-mini", "3.8b", "3.8b", PHI3, DIMS(3072, 32, 24, 8, 128, 8192),
     .parts = PART_FUSED_QKV | PART_FUSED_UP | PART_TIED, .n_vocab = 200064, .n_ctx = 131072,
     .n_param_m = 3836.022, .tasks = EVERYTHING, .files = FILES_TWO, .year = 2025},
    {"phi4", "14b", "14b", PHI3, DIMS(5120, 40, 40, 10, 128, 17920),
     .parts = PART_FUSED_QKV | PART_FUSED_UP, .n_vocab = 100352, .n_ctx = 16384,
     .n_param_m = 14659.507, .tasks = TASK_CHAT | TASK_CODE | TASK_MATH, .files = FILES_TWO,
     .year = 2024},

    {"gemma2", "2b", "2b-instruct", GEMMA2, DIMS(2304, 26, 8, 4, 256, 9216),
     .n_param_m = 2614.342},
    {"gemma2", "9b", "9b-instruct", GEMMA2, DIMS(3584, 42, 16, 8, 256, 14336),
     .n_param_m = 9241.706},
    {"gemma3", "1b", "1b-it", GEMMA3, DIMS(1152, 26, 4, 1, 256, 6912), .n_vocab = 262144,
     .n_ctx = 32768, .n_param_m = 999.886, .tasks = TASK_CHAT},
    {"gemma3", "4b", "4b-it", GEMMA3, DIMS(2560, 34, 8, 4, 256, 10240), .n_vocab = 262208,
     .n_ctx = 131072, .n_param_m = 3880.263, .n_image_m = 419.82, .tasks = EVERYTHING},

    {"mistral", "7b", "7b-instruct-v0.3", .arch = "llama", DIMS(4096, 32, 32, 8, 128, 14336),
     .n_vocab = 32768, .n_ctx = 32768, .n_param_m = 7248.024, .tasks = TASK_CHAT, .year = 2024,
     APACHE},
    {"mistral-nemo", "12b", "12b-instruct-2407", .arch = "llama",
     DIMS(5120, 40, 32, 8, 128, 14336), .n_vocab = 131072, .n_ctx = 131072, .n_param_m = 12247.782,
     .tasks = TASK_CHAT | TASK_CODE | TASK_MULTILINGUAL, .year = 2024, APACHE},

    {"granite3.1-dense", "2b", "2b-instruct", .arch = "granite", DIMS(2048, 40, 32, 8, 64, 8192),
     .parts = PART_TIED, .n_vocab = 49155, .n_ctx = 131072, .n_param_m = 2533.532,
     .tasks = TASK_CHAT | TASK_CODE | TASK_MULTILINGUAL, .year = 2024, APACHE},
    {"granite3.1-dense", "8b", "8b-instruct", .arch = "granite",
     DIMS(4096, 40, 32, 8, 128, 12800), .parts = PART_TIED, .n_vocab = 49155, .n_ctx = 131072,
     .n_param_m = 8170.848, .tasks = TASK_CHAT | TASK_CODE | TASK_MULTILINGUAL, .year = 2024,
     APACHE},
    {"granite3.1-moe", "1b", "1b-instruct", .arch = "granitemoe", DIMS(1024, 24, 16, 8, 64, 512),
     .parts = PART_TIED, .n_vocab = 49155, .n_ctx = 131072, .n_expert = 32, .n_expert_used = 8,
     .n_param_m = 1334, .tasks = TASK_CHAT, .year = 2024, APACHE},
    {"granite3.1-moe", "3b", "3b-instruct", .arch = "granitemoe", DIMS(1536, 32, 24, 8, 64, 512),
     .parts = PART_TIED, .n_vocab = 49155, .n_ctx = 131072, .n_expert = 40, .n_expert_used = 8,
     .n_param_m = 3299, .tasks = TASK_CHAT, .year = 2024, APACHE},

    {"olmo2", "7b", "7b-1124-instruct", .arch = "olmo2", DIMS(4096, 32, 32, 32, 128, 11008),
     .parts = PART_ONLY_POST | PART_QK_NORM_ROW, .n_vocab = 100352, .n_ctx = 4096,
     .n_param_m = 7299, .tasks = TASK_CHAT | TASK_MATH, .files = FILES_TWO, .year = 2024, APACHE},
    {"olmo2", "13b", "13b-1124-instruct", .arch = "olmo2", DIMS(5120, 40, 40, 40, 128, 13824),
     .parts = PART_ONLY_POST | PART_QK_NORM_ROW, .n_vocab = 100352, .n_ctx = 4096,
     .n_param_m = 13716, .tasks = TASK_CHAT | TASK_MATH, .files = FILES_TWO, .year = 2024, APACHE},

    {"smollm2", "135m", "135m-instruct", .arch = "llama", DIMS(576, 30, 9, 3, 64, 1536),
     .parts = PART_TIED, .n_vocab = 49152, .n_ctx = 8192, .n_param_m = 134.515, .tasks = TASK_CHAT,
     .year = 2024, APACHE},
    {"smollm2", "360m", "360m-instruct", .arch = "llama", DIMS(960, 32, 15, 5, 64, 2560),
     .parts = PART_TIED, .n_vocab = 49152, .n_ctx = 8192, .n_param_m = 361.821, .tasks = TASK_CHAT,
     .year = 2024, APACHE},
    {"smollm2", "1.7b", "1.7b-instruct", .arch = "llama", DIMS(2048, 24, 32, 32, 64, 8192),
     .parts = PART_TIED, .n_vocab = 49152, .n_ctx = 8192, .n_param_m = 1711.376,
     .tasks = TASK_CHAT, .year = 2024, APACHE},
    {"tinyllama", "1.1b", "1.1b-chat-v1", .arch = "llama", DIMS(2048, 22, 32, 4, 64, 5632),
     .n_vocab = 32000, .n_ctx = 2048, .n_param_m = 1100.048, .tasks = TASK_CHAT, .year = 2024,
     APACHE},

    {"deepseek-r1", "1.5b", "1.5b-qwen-distill", QWEN2, DIMS(1536, 28, 12, 2, 128, 8960),
     .n_vocab = 151936, .n_ctx = 131072, .n_param_m = 1777.088, .tasks = REASONS,
     .files = FILES_TWO, .year = 2025, .licence = "MIT"},
    {"deepseek-r1", "7b", "7b-qwen-distill", QWEN2, DIMS(3584, 28, 28, 4, 128, 18944),
     .n_vocab = 152064, .n_ctx = 131072, .n_param_m = 7615.617, .tasks = REASONS,
     .files = FILES_TWO, .year = 2025, .licence = "MIT"},
    {"deepseek-r1", "14b", "14b-qwen-distill", QWEN2, DIMS(5120, 48, 40, 8, 128, 13824),
     .n_vocab = 152064, .n_ctx = 131072, .n_param_m = 14770.034, .tasks = REASONS,
     .files = FILES_TWO, .year = 2025, .licence = "MIT"},

    {"exaone3.5", "2.4b", "2.4b-instruct", .arch = "exaone", DIMS(2560, 30, 32, 8, 80, 7168),
     .parts = PART_TIED, .n_vocab = 102400, .n_ctx = 32768, .n_param_m = 2405.327,
     .tasks = TASK_CHAT | TASK_MULTILINGUAL, .files = FILES_TWO, .year = 2024,
     .licence = "EXAONE (non-commercial)"},
    {"aya-expanse", "8b", "8b", .arch = "command-r", DIMS(4096, 32, 32, 8, 128, 14336),
     .parts = PART_ONE_NORM | PART_TIED, .n_vocab = 256000, .n_ctx = 8192, .n_param_m = 8028.033,
     .tasks = TASK_CHAT | TASK_MULTILINGUAL, .made_for = TASK_MULTILINGUAL, .files = FILES_TWO,
     .year = 2024, .licence = "CC BY-NC 4.0"},
    {"starcoder2", "3b", "3b", .arch = "starcoder2", DIMS(3072, 30, 24, 2, 128, 12288),
     .parts = PART_TIED | PART_BIAS | PART_MLP, .n_vocab = 49152, .n_ctx = 16384,
     .n_param_m = 3030.371, .tasks = TASK_CODE, .made_for = TASK_CODE, .files = FILES_TWO,
     .year = 2024, .licence = "BigCode OpenRAIL-M"},

    {"nomic-embed-text", "v1.5", .arch = "nomic-bert", DIMS(768, 12, 12, 12, 64, 3072),
     .parts = PART_ENCODER | PART_FUSED_QKV, .n_vocab = 30528, .n_ctx = 2048, .n_param_m = 136.732,
     EMBED, .year = 2024, APACHE},
    {"all-minilm", "22m", BERT, DIMS(384, 6, 12, 12, 32, 1536), .n_vocab = 30522, .n_ctx = 512,
     .n_param_m = 22.565, EMBED, .year = 2021, APACHE},
    {"all-minilm", "33m", BERT, DIMS(384, 12, 12, 12, 32, 1536), .n_vocab = 30522, .n_ctx = 512,
     .n_param_m = 33.212, EMBED, .year = 2021, APACHE},
    {"mxbai-embed-large", "335m", BERT, DIMS(1024, 24, 16, 16, 64, 4096), .n_vocab = 30522,
     .n_ctx = 512, .n_param_m = 334.092, EMBED, .year = 2024, APACHE},
    {"snowflake-arctic-embed", "110m", BERT, DIMS(768, 12, 12, 12, 64, 3072), .n_vocab = 30522,
     .n_ctx = 512, .n_param_m = 108.892, EMBED, .year = 2024, APACHE},
    {"bge-large", "335m", BERT, DIMS(1024, 24, 16, 16, 64, 4096), .n_vocab = 30522, .n_ctx = 512,
     .n_param_m = 334.092, EMBED, .year = 2023, .licence = "MIT"},
    {"bge-m3", "567m", BERT, DIMS(1024, 24, 16, 16, 64, 4096), .n_vocab = 250002, .n_ctx = 8192,
     .n_param_m = 566.703, .tasks = TASK_EMBED | TASK_MULTILINGUAL, .made_for = TASK_EMBED,
     .files = FILES_F16, .year = 2024, .licence = "MIT"},
    {0},
};
