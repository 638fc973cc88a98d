/* Pre-tokenizer patterns and the names they go by in tokenizer.ggml.pre.
 *
 * Source: the models' own tokenizer.json files as adapted by llama.cpp (src/llama-vocab.cpp and
 * src/unicode.cpp), whose reading is the reference: where its matcher deviates from the published
 * expression (case classes of letters, Kimi's Han handling, '~' that is no symbol), so do these.
 *
 * \s is spelled out: PCRE2 would count U+180E among the blanks, the reference does not.  Sets are
 * cut with double negation: [^\P{L}a-z] is "a letter, but not a-z". */
#include "text/pretok_data.h"

#include "text/pretok.h"

#include <stddef.h>

#define WS "\\t-\\r\\x20\\x{85}\\p{Z}"
#define BLANKS "[" WS "]+(?![^" WS "])|[" WS "]+"
#define CONTRACTION "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHER " ?[^" WS "\\p{L}\\p{N}]+"
#define LINES "[" WS "]*[\\r\\n]+"
#define GPT2 "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+|" OTHER "|" BLANKS
/* The family of GPT-4's cl100k: contractions, words with one leading mark, digits, the rest. */
#define CL100K(digits) CONTRACTION "|" WORD "|" digits "|" OTHER "[\\r\\n]*|" LINES "|" BLANKS
/* The family of o200k: a word is upper-case letters, then lower-case ones. */
#define UPPER "[^\\P{L}a-z]"
#define LOWER "[^\\P{L}A-Z]"
#define O200K(upper, lower, suffix, digits)                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower  \
    "*" suffix "|" digits "|" OTHER "[\\r\\n/]*|" LINES "|" BLANKS
#define MARKED "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+(?:" CONTRACTION ")?"
#define CJK "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
/* U+0800..U+9FA5 and Hangul, without the blanks among them. */
#define CJK_WIDE                                                                                   \
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"                 \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{4e00}"                 \
    "\\x{ac00}-\\x{d7ff}]+"
#define ASCII_PUNCT "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define SYMBOL "[^\\p{L}\\p{M}\\p{N}\\p{Z}\\p{C}~]" /* punctuation and symbols but ~ */
#define DEEPSEEK3(lines)                                                                           \
    ASCII_PUNCT "[A-Za-z]+|(?:[^\\r\\n\\p{L}\\p{P}\\p{S}]|~)?[\\p{L}\\p{M}]+| ?" SYMBOL "+" lines  \
                "|" BLANKS
#define HAN                                                                                        \
    "\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{20000}-\\x{2a6df}\\x{2a700}-\\x{2ebef}"             \
    "\\x{f900}-\\x{faff}\\x{2f800}-\\x{2fa1f}"
#define SENTENCE " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
/* Letters with case, as DeepSeek LLM lists them. */
#define CASED_LETTERS                                                                              \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                       \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"                 \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"        \
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"         \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"                 \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                  \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"                   \
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}"        \
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"         \
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"                  \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"                 \
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"               \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"         \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

const struct pretok_pattern pretok_default = {
    {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}};

#define P(id) static const struct pretok_pattern id
P(gpt2) = {{GPT2}};
P(llama3) = {{CL100K("\\p{N}{1,3}")}};
P(qwen2) = {{CL100K("\\p{N}")}};
P(qwen35) = {{CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS
                          "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES "|" BLANKS}};
P(ufakzeka) = {{WORD "|\\p{N}|" OTHER "[\\r\\n]*|" LINES "|" BLANKS}};
P(laguna) = {{"[^\\n]+|\\n+", CL100K("\\p{N}")}};
P(minicpm5) = {{"\\p{N}{1,3}", CL100K("\\p{N}+")}};
P(jais2) = {{CONTRACTION "|" WORD "|\\p{N}{1,3}|" OTHER "[\\r\\n]*|" LINES "|[" WS "]{512}(?![^" WS
                         "])|[" WS "]{256}(?![^" WS "])|[" WS "]{128}(?![^" WS "])|[" WS
                         "]{64}(?![^" WS "])|[" WS "]{32}(?![^" WS "])|[" WS "]{16}(?![^" WS
                         "])|[" WS "]{8}(?![^" WS "])|[" WS "]{4}(?![^" WS "])|[" WS
                         "]{1,2}(?![^" WS "])|[" WS "]"}};
P(deepseek_llm) = {{"[\\r\\n]", "[" WS "]?[" CASED_LETTERS "]+",
                    "[" WS "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}"
                    "\\x{3001}\\x{3002}]+",
                    /* \s+$; a run is tried only at its start, else n blanks cost n*n */
                    "(?<![" WS "])[" WS "]++\\z", CJK_WIDE, "\\p{N}+"}};
P(deepseek_coder) = {{"[\\r\\n]", "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+", CJK_WIDE, "\\p{N}"}};
P(deepseek3) = {{"\\p{N}{1,3}", CJK, DEEPSEEK3("[\\r\\n]*|" LINES)}};
P(spark) = {{"\\p{N}{1,3}", CJK, DEEPSEEK3("|[\\r\\n]"), "\\p{N}"}};
P(youtu) = {{"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"
             "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+"
             "|[\\x{3105}-\\x{312f}]+|" CJK,
             MARKED "|\\p{N}|" OTHER "[\\r\\n/]*|" LINES "|" BLANKS}};
P(falcon) = {{"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}};
P(digits) = {{"\\p{N}", GPT2}};
P(sentence) = {{SENTENCE}};
P(viking) = {{SENTENCE, "\\p{N}"}};
P(tekken) = {{O200K(UPPER, LOWER, "", "\\p{N}")}};
P(gpt4o) = {{O200K(UPPER, LOWER, "(?:" CONTRACTION ")?", "\\p{N}{1,3}")}};
#define UPPER_M "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}a-z]" /* letters and marks but a-z */
#define LOWER_M "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}A-Z]"
P(granite_multi) = {{O200K(UPPER_M, LOWER_M, "(?:" CONTRACTION ")?", "\\p{N}{1,3}")}};
P(chameleon) = {{"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
                 "[\\p{P}!-/:-@\\[-`{-~]", GPT2}};
P(tiny_aya) = {{PRETOK_DIGITS_TAIL, MARKED "|\\p{N}{1,3}|" OTHER "[\\r\\n/]*|" LINES "|" BLANKS}};
P(kimi) = {{"[" HAN "]+|[^\\r\\n\\p{L}\\p{N}]?[^\\P{L}" HAN "]+(?:" CONTRACTION
            ")?|\\p{N}{1,3}|" OTHER "[\\r\\n]*|" LINES "|" BLANKS}};
P(superbpe) = {{"\\p{N}+", PRETOK_DIGITS_ASCII}};
P(bailing) = {{CONTRACTION "|" WORD "|\\p{N}|" OTHER "[\\r\\n]*|[" WS "]*[\\r\\n]|" BLANKS}};
P(seed) = {{CONTRACTION "|" WORD "|\\p{N}| ?[^" WS "\\p{L}\\p{N}\\r\\n]+|" LINES "|" BLANKS}};
P(afmoe) = {{PRETOK_DIGITS_TAIL,
             /* The third range was meant to be U+F900..U+FAFF; the reference has it wider. */
             "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{8c48}-\\x{faff}\\x{3040}-\\x{30ff}"
             "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{eff}\\x{1780}-\\x{17ff}"
             "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}"
             "\\x{1100}-\\x{11ff}]+",
             DEEPSEEK3("[\\r\\n]*|" LINES)}};
P(exaone_moe) = {{CONTRACTION
                  "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}(?:[\\p{L}\\p{M}]++| (?=\\p{L}))*+|\\p{N}|" OTHER
                  "[\\r\\n/]?|[" WS "]*[\\r\\n]|" BLANKS}};
P(lines) = {{"[^\\n]+|\\n+"}};
P(whitespace) = {{"[^" WS "]+"}};
#undef P

enum {
    WHOLE = PRETOK_WHOLE_WORDS,
    BOS = PRETOK_ADD_BOS,
    SEP = PRETOK_ADD_SEP,
    KEEP = PRETOK_KEEP_SPACES,
    RAW = PRETOK_RAW,
    ESC = PRETOK_ESCAPE,
    NOBOS = PRETOK_NO_BOS,
    NL = PRETOK_WHOLE_LINES,
    MASK = PRETOK_MASK_LSTRIP,
};

const struct pretok_name pretok_names[] = {
    {"default", &pretok_default, 0},
    {"llama-bpe", &llama3, WHOLE | BOS},
    {"llama3", &llama3, WHOLE | BOS},
    {"llama-v3", &llama3, WHOLE | BOS},
    {"falcon3", &llama3, WHOLE | BOS},
    {"falcon-h1", &llama3, WHOLE | BOS},
    {"pixtral", &llama3, WHOLE | BOS},
    {"midm-2.0", &llama3, WHOLE | BOS},
    {"lfm2", &llama3, WHOLE | BOS},
    {"jina-v5-nano", &llama3, WHOLE | BOS},
    {"dbrx", &llama3, 0},
    {"smaug-bpe", &llama3, 0},
    {"chatglm-bpe", &llama3, NOBOS},
    {"glm4", &llama3, NOBOS},
    {"jais-2", &jais2, 0},
    {"minicpm5", &minicpm5, WHOLE},
    {"laguna", &laguna, KEEP},
    {"qwen2", &qwen2, KEEP},
    {"deepseek-r1-qwen", &qwen2, KEEP},
    {"kormo", &qwen2, KEEP},
    {"openpangu", &qwen2, KEEP},
    {"f2llmv2", &qwen2, KEEP},
    {"megrez", &qwen2, 0},
    {"stablelm2", &qwen2, 0},
    {"hunyuan", &qwen2, KEEP},
    {"solar-open", &qwen2, KEEP},
    {"grok-2", &qwen2, KEEP},
    {"qwen35", &qwen35, KEEP},
    {"ufakzeka", &ufakzeka, KEEP},
    {"deepseek-llm", &deepseek_llm, KEEP},
    {"deepseek-coder", &deepseek_coder, KEEP},
    {"deepseek-v3", &deepseek3, KEEP},
    {"hunyuan-dense", &deepseek3, KEEP},
    {"hy_v4", &deepseek3, KEEP},
    {"joyai-llm", &deepseek3, KEEP},
    {"spark2_5", &spark, KEEP},
    {"youtu", &youtu, KEEP | WHOLE},
    {"falcon", &falcon, 0},
    {"starcoder", &digits, 0},
    {"refact", &digits, 0},
    {"command-r", &digits, KEEP},
    {"cohere2_moe", &digits, KEEP},
    {"smollm", &digits, KEEP},
    {"codeshell", &digits, 0},
    {"exaone", &digits, 0},
    {"minerva-7b", &digits, 0},
    {"mellum2", &digits, 0},
    {"gpt-2", &gpt2, 0},
    {"phi-2", &gpt2, 0},
    {"jina-es", &gpt2, 0},
    {"jina-de", &gpt2, 0},
    {"jina-v2-es", &gpt2, MASK},
    {"jina-v2-de", &gpt2, MASK},
    {"gigachat", &gpt2, 0},
    {"a.x-4.0", &gpt2, 0},
    {"mellum", &gpt2, 0},
    {"modern-bert", &gpt2, 0},
    {"exaone4", &gpt2, 0},
    {"mpt", &gpt2, 0},
    {"olmo", &gpt2, 0},
    {"jais", &gpt2, 0},
    {"trillion", &gpt2, KEEP},
    {"granite-docling", &gpt2, KEEP},
    {"jina-v1-en", &gpt2, SEP},
    {"jina-v2-code", &gpt2, SEP | MASK},
    {"roberta-bpe", &gpt2, SEP},
    {"poro-chat", &sentence, KEEP},
    {"bloom", &sentence, 0},
    {"gpt3-finnish", &sentence, 0},
    {"viking", &viking, KEEP},
    {"tekken", &tekken, KEEP | WHOLE | BOS},
    {"gpt-4o", &gpt4o, KEEP},
    {"llama4", &gpt4o, KEEP},
    {"kanana2", &gpt4o, KEEP},
    {"talkie", &gpt4o, KEEP},
    {"minimax-m2", &gpt4o, KEEP},
    {"granite-embed-multi-97m", &granite_multi, KEEP | WHOLE},
    {"chameleon", &chameleon, KEEP | BOS},
    {"tiny_aya", &tiny_aya, KEEP},
    {"cohere2moe", &tiny_aya, KEEP},
    {"kimi-k2", &kimi, KEEP},
    {"superbpe", &superbpe, KEEP},
    {"bailingmoe", &bailing, KEEP},
    {"bailingmoe2", &bailing, KEEP},
    {"llada-moe", &bailing, KEEP},
    {"seed-coder", &seed, KEEP},
    {"afmoe", &afmoe, KEEP},
    {"exaone-moe", &exaone_moe, 0},
    {"gemma4", &lines, RAW | ESC | NL},
    {"granite-embed-multi-311m", &lines, RAW | ESC | NL},
    {"sarvam-moe", &lines, RAW | ESC | KEEP},
    {"whitespace", &whitespace, RAW},
    {NULL, NULL, 0},
};
