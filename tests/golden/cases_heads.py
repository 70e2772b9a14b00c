# SPDX-License-Identifier: MIT
"""Cases of every head that no other kin has: tokens, answers, classes, sentence embeddings; of decoders, of
encoder-decoders; and output embeddings of encoders that are not tied."""
import transformers

from cases import labels
from cases_bert import BERT, DISTIL, ROBERTA, SETS, XLMR, cls
from cases_gemma import GEMMA, GEMMA2
from cases_gpt import BLOOM, FALCON, GPT2, NEOX, OPT, head
from cases_llama import LLAMA, QWEN3, SMOLLM3
from cases_moe import MIXTRAL
from cases_moe import QWEN2 as QWEN2_MOE
from cases_moe import QWEN3 as QWEN3_MOE
from cases_t5 import FLAN, MT5, T5
from golden import unchecked

# Windows are 4 and 5.
LENGTHS = [1, 2, 4, 6, 15]
MISTRAL = dict(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], num_key_value_heads=1, sliding_window=5)
QWEN2 = dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_key_value_heads=1, use_sliding_window=True,
             sliding_window=5, max_window_layers=1)
PADS = dict(task="class", pads=[0, 1, 0, 2, 3])


def sines():
    """DistilBERT's first tables are float32 whatever the model's type is."""
    module = transformers.models.distilbert.modeling_distilbert
    module.create_sinusoidal_embeddings = unchecked(module.create_sinusoidal_embeddings)


def classes(base, **more):
    return head(dict(base, pad_token_id=3), "ForSequenceClassification", 3), LENGTHS, dict(PADS, **more)


def tokens(base, **more):
    return head(base, "ForTokenClassification", 5), LENGTHS, dict(task="token-class", **more)


def answers(base, **more):
    return dict(base, architectures=[base["architectures"][0].replace("LMHeadModel", "ForCausalLM")
                                     .replace("ForCausalLM", "ForQuestionAnswering")]), LENGTHS, dict(task="qa", **more)


def sets(base, name):
    return dict(base, architectures=[name]), SETS, dict(task="contrastive")


def t5(base, name, **more):
    stem = base["architectures"][0][:-len("ForConditionalGeneration")]
    return dict(base, architectures=[stem + name], **more)


MODELS = {
    "llama-tags": tokens(LLAMA), "llama-qa": answers(LLAMA), "llama-sets": sets(LLAMA, "LlamaModel"),
    "mistral-class": classes(MISTRAL), "mistral-tags": tokens(MISTRAL), "mistral-qa": answers(MISTRAL),
    "qwen2-class": classes(QWEN2), "qwen2-tags": tokens(QWEN2), "qwen2-qa": answers(QWEN2),
    "qwen3-tags": tokens(QWEN3, salt="b"), "qwen3-qa": answers(QWEN3),
    "smollm3-tags": tokens(SMOLLM3), "smollm3-qa": answers(SMOLLM3),
    "gemma-tags": tokens(GEMMA), "gemma2-tags": tokens(GEMMA2), "gemma2-sets": sets(GEMMA2, "Gemma2Model"),
    "mixtral-tags": tokens(MIXTRAL), "mixtral-qa": answers(MIXTRAL),
    "qwen2-moe-class": classes(QWEN2_MOE, salt=0), "qwen2-moe-tags": tokens(QWEN2_MOE, salt=0),
    "qwen2-moe-qa": answers(QWEN2_MOE, salt=0),
    "qwen3-moe-class": classes(QWEN3_MOE, salt=0), "qwen3-moe-tags": tokens(QWEN3_MOE, salt=0),
    "qwen3-moe-qa": answers(QWEN3_MOE, salt=0),
    "gpt2-qa": answers(GPT2), "gpt2-sets": sets(GPT2, "GPT2Model"), "neox-qa": answers(NEOX), "opt-qa": answers(OPT),
    "bloom-qa": answers(BLOOM), "falcon-qa": answers(FALCON),
    # Labels ask the decoder at the end token, the encoder at each token; answers the decoder, which reads the source.
    "t5-qa": (t5(T5, "ForQuestionAnswering"), LENGTHS, dict(task="qa")),
    "t5-sets": (t5(FLAN, "EncoderModel"), SETS, dict(task="contrastive")),
    "mt5-class": (t5(MT5, "ForSequenceClassification", **labels(3)), LENGTHS, dict(task="class", ends=True)),
    "mt5-tags": (t5(MT5, "ForTokenClassification", **labels(5)), LENGTHS, dict(task="token-class")),
    "mt5-qa": (t5(MT5, "ForQuestionAnswering"), LENGTHS, dict(task="qa")),
    "mt5-sets": (t5(MT5, "EncoderModel"), SETS, dict(task="contrastive")),
    "xlmr-tags": (cls(dict(XLMR, **labels(5)), "XLMRoberta", "ForTokenClassification"), LENGTHS, dict(task="token-class")),
    "xlmr-qa": (cls(XLMR, "XLMRoberta", "ForQuestionAnswering"), LENGTHS, dict(task="qa")),
    "xlmr-sets": (cls(XLMR, "XLMRoberta", "Model"), SETS, dict(task="contrastive")),
    "bert-mlm-untied": (cls(dict(BERT, tie_word_embeddings=False), "Bert", "ForMaskedLM"), LENGTHS,
                        dict(task="mlm", idle=["cls.predictions.bias"])),
    "roberta-mlm-untied": (cls(dict(ROBERTA, tie_word_embeddings=False), "Roberta", "ForMaskedLM"), LENGTHS,
                           dict(task="mlm", idle=["lm_head.bias"])),
    "distil-mlm-untied": (cls(dict(DISTIL, tie_word_embeddings=False), "DistilBert", "ForMaskedLM"), LENGTHS,
                          dict(task="mlm")),
    # The tables of DistilBERT's positions are made from sines, then stored, and train like others.
    "distil-sines": (cls(dict(DISTIL, sinusoidal_pos_embds=True, **labels(3)), "DistilBert", "ForSequenceClassification"), LENGTHS,
                     dict(task="class", prepare=sines)),
}
