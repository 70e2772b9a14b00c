# SPDX-License-Identifier: MIT
"""Cases of rows of the embedding that train alone: by themselves and beside LoRA, with and without a tied head."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_gemma import GEMMA
from cases_gpt import GPT2
from cases_llama import BIASED, LLAMA, TIED
from cases_t5 import T5

SEQ2SEQ = dict(task="seq2seq", targets=[6, 3, 7])
SOME = [3, 52, 9, 17, 4, 30, 31, 8, 22, 45, 11, 40]
TOKENS = dict(peft_type="TRAINABLE_TOKENS", token_indices=SOME)
BESIDE = dict(r=3, lora_alpha=4, target_modules=["q_proj", "v_proj"])

LORA = {
    "tokens": (LLAMA, RAGGED, {}, dict(TOKENS, token_indices=list(range(3, 53))), dict(lr=0.2)),
    "tokens-tied": (TIED, RAGGED, {}, TOKENS, dict(lr=0.1)),
    # Each its own rows.
    "tokens-both": (LLAMA, RAGGED, {}, dict(TOKENS, target_modules=["embed_tokens", "lm_head"]), dict(lr=0.1)),
    "tokens-gpt2": (GPT2, RAGGED, {}, TOKENS, dict(lr=0.13)),
    # Embeddings are scaled.
    "tokens-gemma": (GEMMA, RAGGED, {}, TOKENS, dict(lr=0.1)),
    "tokens-t5": (T5, [9, 3, 12], SEQ2SEQ, dict(TOKENS, token_indices=list(range(2, 53))), dict(lr=0.3)),
    "tokens-bert": (ENCODER, RAGGED, dict(task="class", types=True), TOKENS, dict(lr=0.2)),
    "lora-tokens": (LLAMA, RAGGED, {}, dict(BESIDE, trainable_token_indices=SOME), dict(lr=0.05)),
    "lora-tokens-tied": (TIED, RAGGED, {}, dict(BESIDE, trainable_token_indices=SOME), dict(lr=0.05)),
    # Of a tied head others than of the embedding.
    "dora-tokens": (TIED, RAGGED, dict(salt=12),
                    dict(BESIDE, use_dora=True, trainable_token_indices={"embed_tokens": SOME, "lm_head": [3, 5, 52, 7]}),
                    dict(lr=0.04)),
}

EXCHANGE = {
    "tokens": (LLAMA, TOKENS),
    "tokens-tied": (TIED, TOKENS),
    "tokens-both": (LLAMA, dict(TOKENS, target_modules=["embed_tokens", "lm_head"])),
    "tokens-random": (TIED, dict(TOKENS, init_weights=False)),
    "tokens-gpt2": (GPT2, TOKENS),
    "tokens-t5": (T5, dict(TOKENS, task_type="SEQ_2_SEQ_LM")),
    "tokens-class": (ENCODER, dict(TOKENS, task_type="SEQ_CLS")),
    "lora-tokens": (LLAMA, dict(BESIDE, trainable_token_indices=SOME)),
    "lora-tokens-tied": (TIED, dict(BESIDE, trainable_token_indices=SOME)),
    "lora-tokens-own": (TIED, dict(BESIDE, trainable_token_indices={"embed_tokens": SOME, "lm_head": [3, 5]})),
    "lora-tokens-head": (BIASED, dict(BESIDE, trainable_token_indices={"lm_head": SOME})),
    "lora-tokens-t5": (T5, dict(r=2, target_modules=["q"], trainable_token_indices=SOME, task_type="SEQ_2_SEQ_LM")),
}
