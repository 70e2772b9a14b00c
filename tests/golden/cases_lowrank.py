# SPDX-License-Identifier: MIT
"""Cases of LoRA's relatives, on a decoder, one with weights stored the other way round, an encoder, an encoder-decoder."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_gpt import GPT2
from cases_llama import BIASED, CLASS, LLAMA
from cases_t5 import FLAN, T5

SEQ2SEQ = dict(task="seq2seq", targets=[6, 3, 7])
# In ten steps: two before pruning, prunings down to the target, three after it.
ADALORA = dict(peft_type="ADALORA", init_r=6, target_r=3, tinit=2, tfinal=3, total_step=10)

LORA = {
    "adalora": (LLAMA, RAGGED, {}, dict(ADALORA, lora_alpha=16), dict(lr=0.03)),
    # Pruned every other step, and forced at the end; biases and a norm beside it.
    "adalora-rich": (BIASED, RAGGED, {},
                     dict(ADALORA, init_r=5, target_r=2, tinit=1, tfinal=1, deltaT=2, beta1=0.6, beta2=0.75, lora_alpha=20,
                          orth_reg_weight=0.3, bias="lora_only", modules_to_save=["model.norm"],
                          target_modules=["k_proj", "o_proj", "up_proj", "lm_head"]), dict(lr=0.015)),
    "adalora-gpt2": (GPT2, RAGGED, {}, dict(ADALORA, lora_alpha=12, target_modules=["c_attn", "mlp.c_proj"]),
                     dict(lr=0.02)),
    "adalora-bert": (ENCODER, RAGGED, dict(task="class", types=True), dict(ADALORA, lora_alpha=8), {}),
    "adalora-t5": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], SEQ2SEQ,
                   dict(ADALORA, lora_alpha=6, target_modules=["SelfAttention.v", "EncDecAttention.o", "wo"]), dict(lr=0.02)),
}

CLASSIFIES = dict(task_type="SEQ_CLS")
EXCHANGE = {
    "adalora": (LLAMA, ADALORA),
    "adalora-linear": (BIASED, dict(ADALORA, target_modules="all-linear", bias="all", lora_dropout=0.1)),
    "adalora-random": (LLAMA, dict(ADALORA, init_lora_weights=False)),
    "adalora-class": (CLASS, dict(ADALORA, **CLASSIFIES)),
    "adalora-encoder": (ENCODER, dict(ADALORA, **CLASSIFIES)),
    "adalora-gpt2": (GPT2, ADALORA),
    "adalora-t5": (FLAN, dict(ADALORA, task_type="SEQ_2_SEQ_LM", target_modules=["q", "v"])),
}
