# SPDX-License-Identifier: MIT
"""Cases of methods with virtual tokens: prompt tuning, prefix tuning, P-tuning."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_gpt import GPT2
from cases_llama import BIASED, CLASS, LLAMA
from cases_t5 import T5

PROMPT = dict(peft_type="PROMPT_TUNING", num_virtual_tokens=5)

LORA = {
    # Few targets: a prompt teaches a random model little.
    "prompt": (LLAMA, [7, 1, 4], {}, PROMPT, dict(lr=0.3)),
    "prompt-gpt2": (GPT2, [4, 2, 1], {}, dict(PROMPT, num_virtual_tokens=8), dict(lr=0.3)),
    "prompt-bert": (ENCODER, RAGGED, dict(task="class", types=True), PROMPT, dict(lr=0.1)),
    "prompt-class": (CLASS, RAGGED, dict(task="class"), PROMPT, dict(lr=0.05)),
    "prompt-t5": (dict(T5, feed_forward_proj="gelu_new"), [3, 1], dict(task="seq2seq", targets=[3, 1]),
                  dict(PROMPT, num_virtual_tokens=8), dict(lr=0.3)),
}

EXCHANGE = {
    "prompt": (LLAMA, PROMPT),
    "prompt-vocab": (BIASED, dict(PROMPT, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-gpt2": (GPT2, PROMPT),
    "prompt-encoder": (ENCODER, dict(PROMPT, task_type="SEQ_CLS")),
    "prompt-t5": (T5, dict(PROMPT, task_type="SEQ_2_SEQ_LM")),
}
