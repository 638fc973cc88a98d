/* What the issuers say of their tokens (their documentation, and the patterns that they give to
 * secret scanners). */
#include "policy/pii_token.h"

#include <stddef.h>

/* clang-format off */
const struct token_form token_forms[] = {
    /* Amazon: access key ids of users, roles, temporary ones */
    {"AKIA", TOKEN_ALNUM, 16, 16}, {"ASIA", TOKEN_ALNUM, 16, 16}, {"AROA", TOKEN_ALNUM, 16, 17}, {"AIDA", TOKEN_ALNUM, 16, 17}, {"ABIA", TOKEN_ALNUM, 16, 16}, {"ACCA", TOKEN_ALNUM, 16, 16},
    {"ABSK", TOKEN_B64, 100, 0},
    /* Google */
    {"AIza", TOKEN_URL64, 35, 35}, {"GOCSPX-", TOKEN_URL64, 24, 40}, {"ya29.", TOKEN_URL64, 20, 0},
    /* GitHub, GitLab, Bitbucket, Atlassian */
    {"ghp_", TOKEN_ALNUM, 36, 251}, {"gho_", TOKEN_ALNUM, 36, 251}, {"ghu_", TOKEN_ALNUM, 36, 251}, {"ghs_", TOKEN_ALNUM, 36, 251}, {"ghr_", TOKEN_ALNUM, 36, 251},
    {"github_pat_", TOKEN_WORD, 50, 251},
    {"glpat-", TOKEN_DOTTED, 20, 300}, {"gldt-", TOKEN_URL64, 20, 64}, {"glrt-", TOKEN_DOTTED, 20, 300}, {"glptt-", TOKEN_HEX, 40, 40}, {"glcbt-", TOKEN_URL64, 20, 64}, {"glsoat-", TOKEN_URL64, 20, 64}, {"GR1348941", TOKEN_URL64, 20, 20},
    {"ATATT3", TOKEN_B64, 100, 0}, {"ATBB", TOKEN_ALNUM, 32, 32},
    /* Slack, Discord-like, Telegram (pii_token.c) */
    {"xoxb-", TOKEN_URL64, 20, 0}, {"xoxp-", TOKEN_URL64, 20, 0}, {"xoxa-", TOKEN_URL64, 20, 0}, {"xoxr-", TOKEN_URL64, 20, 0}, {"xoxs-", TOKEN_URL64, 20, 0}, {"xoxe-", TOKEN_URL64, 20, 0}, {"xoxe.", TOKEN_DOTTED, 20, 0}, {"xapp-", TOKEN_URL64, 20, 0},
    /* payments */
    {"sk_live_", TOKEN_ALNUM, 16, 0}, {"sk_test_", TOKEN_ALNUM, 16, 0}, {"rk_live_", TOKEN_ALNUM, 16, 0}, {"rk_test_", TOKEN_ALNUM, 16, 0}, {"whsec_", TOKEN_B64, 24, 0},
    {"sq0atp-", TOKEN_URL64, 22, 22}, {"sq0csp-", TOKEN_URL64, 43, 43}, {"shpat_", TOKEN_HEX, 32, 32}, {"shpss_", TOKEN_HEX, 32, 32}, {"shpca_", TOKEN_HEX, 32, 32}, {"shppa_", TOKEN_HEX, 32, 32},
    {"access_token$production$", TOKEN_ALNUM, 30, 0},
    /* models */
    {"sk-ant-", TOKEN_URL64, 24, 0}, {"sk-proj-", TOKEN_URL64, 20, 0}, {"sk-svcacct-", TOKEN_URL64, 20, 0}, {"sk-or-v1-", TOKEN_HEX, 64, 64}, {"sk-", TOKEN_URL64, 32, 0},
    {"hf_", TOKEN_ALNUM, 30, 40}, {"gsk_", TOKEN_ALNUM, 40, 60}, {"r8_", TOKEN_ALNUM, 37, 37}, {"pplx-", TOKEN_ALNUM, 40, 60}, {"xai-", TOKEN_ALNUM, 60, 100},
    /* packages, clouds, monitoring */
    {"npm_", TOKEN_ALNUM, 36, 36}, {"pypi-AgEI", TOKEN_URL64, 50, 0}, {"rubygems_", TOKEN_HEX, 48, 48}, {"dckr_pat_", TOKEN_URL64, 27, 27},
    {"dop_v1_", TOKEN_HEX, 64, 64}, {"doo_v1_", TOKEN_HEX, 64, 64}, {"dor_v1_", TOKEN_HEX, 64, 64}, {"dapi", TOKEN_HEX, 32, 34}, {"hvs.", TOKEN_URL64, 24, 0}, {"hvb.", TOKEN_URL64, 100, 0}, {"dp.pt.", TOKEN_ALNUM, 43, 43},
    {"glsa_", TOKEN_WORD, 41, 41}, {"glc_", TOKEN_B64, 32, 400}, {"NRAK-", TOKEN_ALNUM, 27, 27}, {"PMAK-", TOKEN_URL64, 59, 59}, {"pul-", TOKEN_HEX, 40, 40}, {"fo1_", TOKEN_URL64, 43, 43}, {"fm2_", TOKEN_B64, 100, 0},
    {"SG.", TOKEN_DOTTED, 60, 70}, {"key-", TOKEN_HEX, 32, 32}, {"SK", TOKEN_HEX, 32, 32}, {"lin_api_", TOKEN_ALNUM, 40, 40}, {"ntn_", TOKEN_ALNUM, 40, 50}, {"secret_", TOKEN_ALNUM, 43, 43}, {"sntrys_", TOKEN_B64, 60, 0},
    {"AGE-SECRET-KEY-1", TOKEN_ALNUM, 58, 58}, {"PRIVATE-TOKEN-", TOKEN_ALNUM, 20, 64}, {"EAACEdEose0cBA", TOKEN_ALNUM, 20, 0},
    {NULL, 0, 0, 0},
};
