/* The inverse of `cria create` on a Hugging Face folder: a golden GGUF model written as
 * transformers' save_pretrained publishes that family.  Written from the published modeling code
 * and checkpoints, not from the converter, so that a mistake in one is a difference between them.
 */
#pragma once

enum hf_flags {
    HF_SHARDED = 1, /* two files and model.safetensors.index.json */
    HF_BF16 = 2,    /* tensors rounded to BF16; else F16; else F32 */
    HF_F16 = 4,
    HF_TOKENIZER_MODEL = 8,  /* SentencePiece vocabularies as tokenizer.model only */
    HF_MERGES_AS_PAIRS = 16, /* ["a", "b"], as since tokenizers 0.20; else "a b" */
};

/* Write the folder DIR for the golden file GGUF; 0, or -1 with a message on stderr when the family
 * is not known. */
int hf_write(const char *gguf, const char *dir, unsigned flags);

/* A PEFT adapter folder (adapter_config.json, adapter_model.safetensors) equal to the GGUF adapter
 * for that base. */
int hf_write_adapter(const char *adapter_gguf, const char *base_gguf, const char *dir);
