# SPDX-License-Identifier: MIT
"""Cases of methods with virtual tokens: prompt tuning, prefix tuning, P-tuning."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_gpt import BLOOM, GPT2
from cases_llama import BIASED, CLASS, GRANITE, LLAMA
from cases_t5 import T5

PROMPT = dict(peft_type="PROMPT_TUNING", num_virtual_tokens=5)
PREFIX = dict(peft_type="PREFIX_TUNING", num_virtual_tokens=5)
PTUNING = dict(peft_type="P_TUNING", num_virtual_tokens=5, encoder_hidden_size=11)
# PEFT takes the size of a head from the width, and the number of layers from the encoder.
EVEN = dict(T5, d_kv=10, num_decoder_layers=2, feed_forward_proj="gelu_new")

LORA = {
    # Few targets: a prompt teaches a random model little.
    "prompt": (LLAMA, [7, 1, 4], {}, PROMPT, dict(lr=0.3)),
    # Virtual tokens are scaled as words are.
    "prompt-granite": (GRANITE, [3, 2, 1], {}, dict(PROMPT, num_virtual_tokens=8), dict(lr=0.5)),
    "prompt-gpt2": (GPT2, [4, 2, 1], {}, dict(PROMPT, num_virtual_tokens=8), dict(lr=0.3)),
    "prompt-bert": (ENCODER, RAGGED, dict(task="class", types=True), PROMPT, dict(lr=0.1)),
    "prompt-class": (CLASS, RAGGED, dict(task="class"), PROMPT, dict(lr=0.05)),
    "prompt-t5": (dict(T5, feed_forward_proj="gelu_new"), [3, 1], dict(task="seq2seq", targets=[3, 1]),
                  dict(PROMPT, num_virtual_tokens=8), dict(lr=0.3)),
    "prefix": (LLAMA, [7, 1, 4], {}, PREFIX, dict(lr=0.1)),
    "prefix-projection": (BIASED, [7, 1, 4], dict(salt=11), dict(PREFIX, prefix_projection=True, encoder_hidden_size=11), dict(lr=0.05)),
    "prefix-gpt2": (GPT2, [4, 2, 1], {}, PREFIX, dict(lr=0.05)),
    "prefix-bloom": (BLOOM, [4, 2, 1], {}, PREFIX, dict(lr=0.06)),
    "prefix-t5": (EVEN, [3, 1], dict(task="seq2seq", targets=[3, 1]), dict(PREFIX, num_virtual_tokens=8), dict(lr=0.3)),
    "ptuning": (LLAMA, [7, 1, 4], {}, PTUNING, dict(lr=0.03)),
    "ptuning-lstm": (GPT2, [4, 2, 1], {}, dict(PTUNING, encoder_reparameterization_type="LSTM"), dict(lr=0.03)),
    "ptuning-bert": (ENCODER, RAGGED, dict(task="class", types=True), PTUNING, dict(lr=0.02)),
}

EXCHANGE = {
    "prompt": (LLAMA, PROMPT),
    "prompt-vocab": (BIASED, dict(PROMPT, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-granite": (GRANITE, dict(PROMPT, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-gpt2": (GPT2, PROMPT),
    "prompt-encoder": (ENCODER, dict(PROMPT, task_type="SEQ_CLS")),
    "prompt-t5": (T5, dict(PROMPT, task_type="SEQ_2_SEQ_LM")),
    "prefix": (LLAMA, PREFIX),
    "prefix-projection": (BIASED, dict(PREFIX, prefix_projection=True)),
    "prefix-zero": (GPT2, dict(PREFIX, init_weights="zero")),
    "prefix-bloom": (BLOOM, PREFIX),
    "prefix-t5": (EVEN, dict(PREFIX, task_type="SEQ_2_SEQ_LM")),
    "ptuning": (LLAMA, PTUNING),
    "ptuning-lstm": (GPT2, dict(PTUNING, encoder_reparameterization_type="LSTM")),
    "ptuning-encoder": (ENCODER, dict(PTUNING, task_type="SEQ_CLS")),
    "ptuning-t5": (EVEN, dict(PTUNING, task_type="SEQ_2_SEQ_LM")),
}
