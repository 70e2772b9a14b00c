# SPDX-License-Identifier: MIT
"""Cases of LoRA's relatives, on a decoder, one with weights stored the other way round, an encoder, an encoder-decoder."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_gpt import GPT2
from cases_llama import BIASED, CLASS, LLAMA
from cases_t5 import FLAN, T5

SEQ2SEQ = dict(task="seq2seq", targets=[6, 3, 7])
# In ten steps: two before pruning, prunings down to the target, three after it.
VERA = dict(peft_type="VERA")
LOHA = dict(peft_type="LOHA")
LOKR = dict(peft_type="LOKR")
OFT = dict(peft_type="OFT")
ADALORA = dict(peft_type="ADALORA", init_r=6, target_r=3, tinit=2, tfinal=3, total_step=10)

LORA = {
    "adalora": (LLAMA, [6, 1, 2, 9], {}, dict(ADALORA, lora_alpha=16), dict(lr=0.03)),
    # Lengths with which no gradient of a bias cancels away.
    # Pruned every other step, and forced at the end; biases and a norm beside it.
    "adalora-rich": (BIASED, [6, 1, 2, 9], {},
                     dict(ADALORA, init_r=5, target_r=2, tinit=1, tfinal=1, deltaT=2, beta1=0.6, beta2=0.75, lora_alpha=20,
                          orth_reg_weight=0.3, bias="lora_only", modules_to_save=["model.norm"],
                          target_modules=["k_proj", "o_proj", "up_proj", "lm_head"]), dict(lr=0.015)),
    "adalora-gpt2": (GPT2, RAGGED, {}, dict(ADALORA, lora_alpha=12, target_modules=["c_attn", "mlp.c_proj"]),
                     dict(lr=0.02)),
    "adalora-bert": (ENCODER, RAGGED, dict(task="class", types=True), dict(ADALORA, lora_alpha=8), {}),
    "adalora-t5": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], dict(SEQ2SEQ, salt="b"),
                   dict(ADALORA, lora_alpha=6, target_modules=["SelfAttention.v", "EncDecAttention.o", "wo"]), dict(lr=0.02)),
    "vera": (LLAMA, RAGGED, {}, dict(VERA, r=7), dict(lr=0.2)),
    # Modules of several shapes take parts of the matrices that they share.
    "vera-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                  dict(VERA, r=5, bias="vera_only", target_modules=["query", "intermediate.dense", "output.dense"]),
                  dict(lr=0.008)),
    "loha": (LLAMA, RAGGED, dict(salt=11), dict(LOHA, r=3, alpha=5, target_modules=["q_proj", "v_proj", "down_proj"],
                                     alpha_pattern={"down_proj": 2}, rank_pattern={"layers.0.*q_proj": 2}), dict(lr=0.04)),
    "loha-t5": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], SEQ2SEQ,
                dict(LOHA, r=2, alpha=2, target_modules=["SelfAttention.v", "wo"]), dict(lr=0.05)),
    "loha-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                  dict(LOHA, r=2, alpha=3, target_modules=["query", "value", "output.dense"]), dict(lr=0.008)),
    # The second matrix is a product, and of the wide modules the first one too.
    "lokr": (LLAMA, RAGGED, {}, dict(LOKR, r=2, alpha=1.5, decompose_both=True,
                                     target_modules=["q_proj", "v_proj", "up_proj"]), dict(lr=0.07)),
    "lokr-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                  dict(LOKR, r=4, alpha=6, decompose_factor=3, target_modules=["query", "value", "output.dense"]),
                  dict(lr=0.006)),
    "oft": (LLAMA, RAGGED, {}, dict(OFT, oft_block_size=5, target_modules=["q_proj", "v_proj", "up_proj"]), dict(lr=0.03)),
    "oft-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                 dict(OFT, r=3, oft_block_size=0, block_share=True, num_cayley_neumann_terms=4, bias="oft_only",
                      target_modules=["query", "output.dense"]), dict(lr=0.008)),
    # Exact rotations, and those that may not grow; blocks are shared by the second.
    "oft-exact": (BIASED, RAGGED, {}, dict(OFT, oft_block_size=5, use_cayley_neumann=False, bias="all",
                                           target_modules=["q_proj", "v_proj", "up_proj"]), dict(lr=0.04)),
    "coft": (LLAMA, RAGGED, {}, dict(OFT, oft_block_size=6, coft=True, eps=2.5,
                                     target_modules=["q_proj", "v_proj", "o_proj", "up_proj"]), dict(lr=0.05)),
    "coft-share": (LLAMA, RAGGED, {}, dict(OFT, oft_block_size=10, coft=True, eps=1.5, block_share=True,
                                           use_cayley_neumann=False, target_modules=["q_proj", "v_proj", "up_proj"],
                                           modules_to_save=["lm_head"]), dict(lr=0.02)),
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
    "vera": (LLAMA, dict(VERA, r=4)),
    "vera-linear": (BIASED, dict(VERA, r=4, target_modules="all-linear", bias="all", vera_dropout=0.1)),
    "vera-unsaved": (LLAMA, dict(VERA, r=4, save_projection=False, projection_prng_key=77)),
    "vera-gpt2": (GPT2, dict(VERA, r=4)),
    "vera-encoder": (ENCODER, dict(VERA, r=4, **CLASSIFIES)),
    "loha": (LLAMA, dict(LOHA, r=3)),
    "loha-linear": (BIASED, dict(LOHA, r=3, target_modules="all-linear", rank_pattern={"down_proj": 2})),
    "loha-random": (LLAMA, dict(LOHA, init_weights=False)),
    "loha-encoder": (ENCODER, dict(LOHA, **CLASSIFIES)),
    "loha-t5": (FLAN, dict(LOHA, r=2, task_type="SEQ_2_SEQ_LM")),
    "lokr": (LLAMA, LOKR),
    "lokr-linear": (BIASED, dict(LOKR, r=2, target_modules="all-linear", decompose_both=True)),
    "lokr-lycoris": (LLAMA, dict(LOKR, init_weights="lycoris", decompose_factor=4, r=2)),
    "lokr-encoder": (ENCODER, dict(LOKR, **CLASSIFIES)),
    "oft": (LLAMA, dict(OFT, oft_block_size=6)),
    "oft-linear": (BIASED, dict(OFT, oft_block_size=0, r=3, target_modules=["q_proj", "up_proj"], bias="all")),
    "oft-exact": (BIASED, dict(OFT, oft_block_size=5, use_cayley_neumann=False, target_modules=["q_proj", "o_proj", "up_proj"])),
    "coft": (LLAMA, dict(OFT, oft_block_size=6, coft=True, eps=0.3)),
    "coft-share": (ENCODER, dict(OFT, oft_block_size=3, coft=True, eps=0.1, use_cayley_neumann=False, block_share=True,
                                 **CLASSIFIES)),
    "oft-encoder": (ENCODER, dict(OFT, oft_block_size=4, block_share=True, **CLASSIFIES)),
    "oft-t5": (FLAN, dict(OFT, oft_block_size=10, task_type="SEQ_2_SEQ_LM")),
    "lokr-t5": (FLAN, dict(LOKR, r=2, task_type="SEQ_2_SEQ_LM")),
}
