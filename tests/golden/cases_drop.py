# SPDX-License-Identifier: MIT
"""Cases in training mode: each dropout of a family stands where transformers has it, at its own rate.

"drops" are the sites that the calls of dropout() draw with, in the order of transformers (dropouts.py)."""
from cases import labels
from cases_bert import BERT, DISTIL, ROBERTA, XLMR, cls
from cases_gemma import GEMMA, GEMMA2, GEMMA3
from cases_gpt import ALIBI, BLOOM, FALCON, GPT2, NEOX, NEW, OPT, PHI, RW, head
from cases_llama import GRANITE, LLAMA, OLMO2, PHI3, QWEN3, SMOLLM3
from cases_moe import MIXTRAL
from cases_moe import QWEN2 as QWEN2_MOE
from cases_moe import QWEN3 as QWEN3_MOE
from cases_t5 import CLASS as T5_CLASS
from cases_t5 import FLAN, MT5, T5

LENGTHS = [6, 1, 11]
ATTENTION = dict(attention_dropout=0.375)
HIDDEN = dict(hidden_dropout=0.25, **ATTENTION)
TAGS = dict(task="token-class")


def block(prefix, *paths):
    return [prefix + "." + p for p in paths]


def tokens(base, **more):
    return dict(head(base, "ForTokenClassification", 5), classifier_dropout=0.5, **more)


GPT2_DROPS = dict(embd_pdrop=0.125, resid_pdrop=0.25, attn_pdrop=0.375)
GPT2_SITES = ["transformer.wte", block("transformer.h.#", "attn", "attn.c_proj", "mlp.c_proj")]
NEOX_SITES = ["gpt_neox.embed_in", block("gpt_neox.layers.#", "attention", "attention.dense", "mlp.dense_4h_to_h")]
OPT_SITES = [block("model.decoder.layers.#", "self_attn", "self_attn.out_proj", "fc2")]
H_SITES = block("transformer.h.#", "self_attention", "self_attention.dense", "mlp.dense_4h_to_h")
PHI_DROPS = dict(embd_pdrop=0.125, resid_pdrop=0.25, **ATTENTION)
PHI_SITES = ["model.embed_tokens", block("model.layers.#", "self_attn", "self_attn.dense", "mlp.fc2")]
PHI3_SITES = [block("model.layers.#", "self_attn", "self_attn.o_proj", "mlp.down_proj")]
SELF = [["model.layers.#.self_attn"]]


def bert_sites(prefix):
    return [prefix + ".embeddings.word_embeddings",
            block(prefix + ".encoder.layer.#", "attention.self", "attention.output.dense", "output.dense")]


BERT_DROPS = dict(hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.375, classifier_dropout=0.5)
DISTIL_DROPS = dict(DISTIL, dropout=0.25, attention_dropout=0.375, seq_classif_dropout=0.5, qa_dropout=0.125)
DISTIL_SITES = ["distilbert.embeddings.word_embeddings", block("distilbert.transformer.layer.#", "attention", "ffn.lin2")]


def t5_sites(act, prefix=""):
    """Both stacks; act: the linear whose output the activation, or the gate, makes ready."""
    def stack(name, *cross):
        ffn = f"layer.{2 if cross else 1}.DenseReluDense."
        return [f"{prefix}{name}.embed_tokens",
                block(f"{prefix}{name}.block.#", "layer.0.SelfAttention", "layer.0.SelfAttention.o", *cross, ffn + act, ffn + "wo"),
                f"{prefix}{name}.final_layer_norm"]
    return stack("encoder"), stack("decoder", "layer.1.EncDecAttention", "layer.1.EncDecAttention.o")


def t5(base, act, **more):
    """Encoder and decoder of two blocks each."""
    encoder, decoder = t5_sites(act)
    return (dict(base, num_layers=2, num_decoder_layers=2, dropout_rate=0.25), LENGTHS,
            dict(task="seq2seq", targets=[4, 7, 2], drops=encoder + decoder, **more))


T5_DROPS = dict(dropout_rate=0.25, classifier_dropout=0.5)
ENCODER, DECODER = t5_sites("wi", "transformer.")

MODELS = {
    "gpt2-drop": (dict(GPT2, **GPT2_DROPS), LENGTHS, dict(drops=GPT2_SITES)),
    "gpt2-tags-drop": (tokens(GPT2, **GPT2_DROPS), LENGTHS, dict(TAGS, drops=GPT2_SITES + ["classifier"])),
    "neox-drop": (dict(NEOX, **HIDDEN), LENGTHS, dict(drops=NEOX_SITES)),
    "neox-serial-drop": (dict(NEOX, use_parallel_residual=False, **HIDDEN), LENGTHS, dict(drops=NEOX_SITES)),
    "neox-tags-drop": (tokens(NEOX, **HIDDEN), LENGTHS, dict(TAGS, drops=NEOX_SITES + ["classifier"])),
    "opt-drop": (dict(OPT, dropout=0.25, activation_function="gelu", **ATTENTION), LENGTHS, dict(drops=OPT_SITES)),
    "opt-post-drop": (dict(OPT, dropout=0.25, do_layer_norm_before=False, word_embed_proj_dim=14, activation_function="gelu",
                           **ATTENTION), LENGTHS, dict(drops=OPT_SITES)),
    "bloom-drop": (dict(BLOOM, **HIDDEN), LENGTHS, dict(drops=[H_SITES])),
    "bloom-tags-drop": (tokens(BLOOM, **HIDDEN), LENGTHS, dict(TAGS, drops=[H_SITES, "classifier"])),
    # Parallel blocks: one mask of both outputs; shares of attention are whole without slopes.
    "falcon-7b-drop": (dict(FALCON, **HIDDEN), LENGTHS, dict(drops=[H_SITES[2:]])),
    "falcon-40b-drop": (dict(NEW, **HIDDEN), LENGTHS, dict(drops=[H_SITES[2:]])),
    "falcon-serial-drop": (dict(FALCON, multi_query=False, parallel_attn=False, **HIDDEN), LENGTHS, dict(drops=[H_SITES[1:]])),
    "falcon-rw-drop": (dict(RW, **HIDDEN), LENGTHS, dict(ALIBI, drops=[H_SITES])),
    "falcon-tags-drop": (tokens(FALCON, **HIDDEN), LENGTHS, dict(TAGS, drops=[H_SITES[2:], "classifier"])),
    "phi-drop": (dict(PHI, **PHI_DROPS), LENGTHS, dict(drops=PHI_SITES)),
    "phi-tags-drop": (tokens(PHI, **PHI_DROPS), LENGTHS, dict(TAGS, drops=PHI_SITES + ["score"])),
    # The key of the embeddings' dropout is one that transformers does not read.
    "phi3-drop": (dict(PHI3, **PHI_DROPS), LENGTHS, dict(drops=PHI3_SITES)),
    "phi3-tags-drop": (tokens(PHI3, resid_pdrop=0.25, **ATTENTION), LENGTHS, dict(TAGS, drops=PHI3_SITES + ["score"])),
    "llama-drop": (dict(LLAMA, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "llama-tags-drop": (tokens(LLAMA, **ATTENTION), LENGTHS, dict(TAGS, drops=SELF + ["score"])),
    "mistral-drop": (dict(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], num_key_value_heads=1,
                          sliding_window=5, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "qwen2-drop": (dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_key_value_heads=1, **ATTENTION),
                   LENGTHS, dict(drops=SELF)),
    "qwen3-drop": (dict(QWEN3, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "smollm3-drop": (dict(SMOLLM3, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "granite-drop": (dict(GRANITE, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "olmo2-drop": (dict(OLMO2, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "gemma-drop": (dict(GEMMA, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "gemma2-drop": (dict(GEMMA2, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "gemma3-drop": (dict(GEMMA3, **ATTENTION), LENGTHS, dict(drops=SELF)),
    "mixtral-drop": (dict(MIXTRAL, **ATTENTION), LENGTHS, dict(drops=SELF, salt=1)),
    "qwen2-moe-drop": (dict(QWEN2_MOE, **ATTENTION), LENGTHS, dict(drops=SELF, salt=4)),
    "qwen3-moe-drop": (dict(QWEN3_MOE, **ATTENTION), LENGTHS, dict(drops=SELF, salt=1)),
    "t5-drop": t5(T5, "wi"),
    "t5-flan-drop": t5(FLAN, "wi_1", own_head=True),
    "mt5-drop": t5(MT5, "wi_1", own_head=True),
    "t5-class-drop": (dict(T5_CLASS, **T5_DROPS), [7, 1, 16], dict(
        task="class", ends=True, drops=ENCODER + DECODER + ["classification_head.dense", "classification_head.out_proj"])),
    # The first stack alone.
    "t5-tags-drop": (dict(T5, architectures=["T5ForTokenClassification"], **T5_DROPS, **labels(5)), LENGTHS,
                     dict(TAGS, drops=ENCODER + ["classifier"])),
    "bert-class-drop": (cls(dict(BERT, **BERT_DROPS, **labels(3)), "Bert", "ForSequenceClassification"), LENGTHS,
                        dict(task="class", drops=bert_sites("bert") + ["classifier"])),
    "roberta-class-drop": (cls(dict(ROBERTA, **BERT_DROPS, **labels(3)), "Roberta", "ForSequenceClassification"), LENGTHS,
                           dict(task="class", drops=bert_sites("roberta") + ["classifier.dense", "classifier.out_proj"])),
    "roberta-tags-drop": (cls(dict(ROBERTA, **BERT_DROPS, **labels(5)), "Roberta", "ForTokenClassification"), LENGTHS,
                          dict(TAGS, drops=bert_sites("roberta") + ["classifier"])),
    "roberta-mlm-drop": (cls(dict(ROBERTA, **BERT_DROPS), "Roberta", "ForMaskedLM"), LENGTHS,
                         dict(task="mlm", drops=bert_sites("roberta"))),
    "xlmr-tags-drop": (cls(dict(XLMR, **BERT_DROPS, **labels(5)), "XLMRoberta", "ForTokenClassification"), LENGTHS,
                       dict(TAGS, drops=bert_sites("roberta") + ["classifier"])),
    "distil-class-drop": (cls(dict(DISTIL_DROPS, **labels(3)), "DistilBert", "ForSequenceClassification"), LENGTHS,
                          dict(task="class", drops=DISTIL_SITES + ["classifier"])),
    "distil-tags-drop": (cls(dict(DISTIL_DROPS, **labels(5)), "DistilBert", "ForTokenClassification"), LENGTHS,
                         dict(TAGS, drops=DISTIL_SITES + ["classifier"])),
    "distil-qa-drop": (cls(DISTIL_DROPS, "DistilBert", "ForQuestionAnswering"), LENGTHS,
                       dict(task="qa", drops=DISTIL_SITES + ["qa_outputs"])),
}
