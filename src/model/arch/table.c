/* The architectures this build runs. */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

#include "model/model.h"

extern const struct arch arch_bert, arch_cohere2, arch_command_r, arch_deepseek2, arch_exaone,
    arch_falcon, arch_gemma, arch_gemma2, arch_gemma3, arch_gpt_oss, arch_gpt2, arch_gptneox,
    arch_granite, arch_granitemoe, arch_internlm2, arch_jina_bert_v2, arch_llama, arch_minicpm,
    arch_nomic_bert, arch_olmo, arch_olmo2, arch_olmoe, arch_phi2, arch_phi3, arch_qwen2,
    arch_qwen2moe, arch_qwen3, arch_qwen3moe, arch_smollm3, arch_stablelm, arch_starcoder2;

const struct arch *const arch_table[] = {
    &arch_bert,         &arch_cohere2, &arch_command_r, &arch_deepseek2,  &arch_exaone,
    &arch_falcon,       &arch_gemma,   &arch_gemma2,    &arch_gemma3,     &arch_gpt_oss,
    &arch_gpt2,         &arch_gptneox, &arch_granite,   &arch_granitemoe, &arch_internlm2,
    &arch_jina_bert_v2, &arch_llama,   &arch_minicpm,   &arch_nomic_bert, &arch_olmo,
    &arch_olmo2,        &arch_olmoe,   &arch_phi2,      &arch_phi3,       &arch_qwen2,
    &arch_qwen2moe,     &arch_qwen3,   &arch_qwen3moe,  &arch_smollm3,    &arch_stablelm,
    &arch_starcoder2,   NULL,
};

enum { N_ARCH = sizeof arch_table / sizeof *arch_table - 1 };

const char *const *model_arch_names(void) {
    static const char *names[N_ARCH + 1]; /* the same values whoever writes them */
    for (int i = 0; i < N_ARCH; i++)
        names[i] = arch_table[i]->name;
    return names;
}

const struct arch *arch_find(struct str name, struct err *e) {
    char list[400] = "";
    size_t n = 0;
    for (int i = 0; i < N_ARCH; i++) {
        if (str_is(name, arch_table[i]->name)) return arch_table[i];
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? " " : "", arch_table[i]->name);
        if (n >= sizeof list) n = sizeof list - 1;
    }
    err_set(e, ERR_UNSUPPORTED,
            "key 'general.architecture': architecture \"%.*s\" is not supported; supported: %s",
            (int)(name.n < 40 ? name.n : 40), name.p, list);
    return NULL;
}
