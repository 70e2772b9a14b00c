# SPDX-License-Identifier: MIT
"""Cases of bottleneck adapters for make_bottleneck.py: name: (config, lengths, more, (preset, keys), changed).

more, beside what cases.py has:
  flex      a head of the library's own: its kind and the keywords of add_KIND_head()
  below     [(preset, keys)] of adapters below, the lowest first
"""
from cases import RAGGED
from cases_bert import DISTIL, ENCODER, ROBERTA, cls
from cases import labels
from cases_gemma import GEMMA2
from cases_gpt import GPT2, PHI
from cases_llama import CLASS, LLAMA
from cases_t5 import MT5, T5

QWEN2 = dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_key_value_heads=1)
BERT = dict(task="class", types=True)

BOTTLENECK = {
    "bn-bert": (ENCODER, RAGGED, BERT, ("seq_bn", dict(reduction_factor=4, non_linearity="gelu")), {}),
    # Widths by layer, that is no whole number.
    "bn-bert-double": (ENCODER, RAGGED, BERT, ("double_seq_bn", dict(reduction_factor={"0": 2.5, "default": 6})), {}),
    # Norms of its own on both sides; the model's come before, and what goes on is the adapter's.
    "bn-bert-norms": (ENCODER, RAGGED, BERT,
                      ("seq_bn", dict(reduction_factor=5, non_linearity="tanh", mh_adapter=True, ln_before=True,
                                      ln_after=True, scaling="channel", residual_before_ln=False,
                                      original_ln_after=False)), {}),
    "bn-bert-gate": (ENCODER, RAGGED, BERT,
                     ("seq_bn", dict(reduction_factor=5, non_linearity="gelu_new", use_gating=True, ln_after=True,
                                     adapter_residual_before_ln=True, residual_before_ln="post_add")), {}),
    "bn-roberta": (cls(dict(ROBERTA, **labels(3)), "Roberta", "ForSequenceClassification"), RAGGED,
                   dict(task="class"), ("par_bn", dict(reduction_factor=4, non_linearity="swish", scaling=1.5,
                                                       mh_adapter=True)), {}),
    "bn-distil": (cls(dict(DISTIL, **labels(5)), "DistilBert", "ForTokenClassification"), RAGGED,
                  dict(task="token-class"), ("double_seq_bn", dict(reduction_factor=4, leave_out=[0])), dict(lr=0.02)),
    "bn-llama": (LLAMA, RAGGED, {}, ("seq_bn", dict(reduction_factor=4, non_linearity="swish")), dict(lr=0.02)),
    "bn-llama-double": (LLAMA, RAGGED, {}, ("double_seq_bn", dict(reduction_factor=4)), dict(lr=0.02)),
    "bn-llama-par": (LLAMA, RAGGED, {}, ("scaled_par_bn", dict(reduction_factor=5, non_linearity="gelu", mh_adapter=True,
                                                               use_gating=True)), dict(lr=0.02)),
    "bn-llama-class": (CLASS, RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3]),
                       ("double_seq_bn", dict(reduction_factor=6, ln_after=True)), {}),
    # Hooked in by the library: the model keeps its residuals and norms.
    "bn-qwen2": (QWEN2, RAGGED, {}, ("seq_bn", dict(reduction_factor=4, non_linearity="swish", mh_adapter=True)),
                 dict(lr=0.02)),
    "bn-gemma2": (GEMMA2, RAGGED, dict(salt="b"), ("double_seq_bn", dict(reduction_factor=4)), dict(lr=0.02)),
    "bn-phi": (PHI, RAGGED, {}, ("seq_bn", dict(reduction_factor=4, non_linearity="swish", mh_adapter=True)),
               dict(lr=0.02)),
    "bn-gpt2": (GPT2, RAGGED, {}, ("par_bn", dict(reduction_factor=4, non_linearity="gelu", mh_adapter=True)),
                dict(lr=0.01)),
    # Hypercomplex linears: rules that all places share, or of their own and frozen.
    "bn-llama-compacter": (dict(LLAMA, hidden_size=36), RAGGED, {},
                           ("compacter", dict(reduction_factor=4, phm_dim=3, phm_rank=2)), dict(lr=0.06)),
    "bn-bert-compacter": (dict(ENCODER, hidden_size=36), RAGGED, BERT,
                          ("compacter++", dict(reduction_factor=4, phm_dim=3, factorized_phm_W=False,
                                               shared_phm_rule=False, learn_phm=False)), {}),
    "bn-t5": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], dict(task="seq2seq", targets=[6, 2, 5]),
              ("double_seq_bn", dict(reduction_factor=4, cross_adapter=True, leave_out=[1])), dict(lr=0.03)),
    # In bfloat16 too, on weights that are stored so.
    "bn-llama-bf16": (LLAMA, RAGGED, dict(store="BF16"), ("double_seq_bn", dict(reduction_factor=4)), dict(lr=0.02)),
}

# What the library puts beside: heads, stacks, invertible adapters.
HUB = {
    # Heads that the library puts on a bare body.
    "bn-bert-flex": (dict(ENCODER, architectures=["BertAdapterModel"]), RAGGED, dict(task="class", types=True, flex={}),
                     ("seq_bn", dict(reduction_factor=4, non_linearity="gelu")), {}),
    "bn-llama-flex": (dict(CLASS, architectures=["LlamaAdapterModel"]), RAGGED,
                      dict(task="class", flex=dict(layers=1)),
                      ("double_seq_bn", dict(reduction_factor=5)), dict(lr=0.02)),
    # MAD-X: a language's adapter below, which stands still.
    "bn-bert-stack": (ENCODER, RAGGED, dict(BERT, below=[("seq_bn_inv", dict(reduction_factor=3, non_linearity="tanh")),
                                                         ("double_seq_bn", dict(reduction_factor=6, leave_out=[1]))]),
                      ("seq_bn", dict(reduction_factor=4, non_linearity="gelu", mh_adapter=True)), {}),
    "bn-llama-stack": (LLAMA, RAGGED, dict(below=[("double_seq_bn", dict(reduction_factor=5, use_gating=True))]),
                       ("seq_bn", dict(reduction_factor=4, non_linearity="swish")), dict(lr=0.02)),
    # Invertible ones of the embeddings: in classes of the library's own, hooked in with the inverse before the head, and
    # of an encoder alone.
    "bn-bert-inv": (ENCODER, RAGGED, BERT, ("seq_bn_inv", dict(reduction_factor=4, non_linearity="gelu")), {}),
    "bn-llama-inv": (LLAMA, RAGGED, {}, ("double_seq_bn_inv", dict(reduction_factor=4, inv_adapter_reduction_factor=2.5)),
                     dict(lr=0.02)),
    "bn-qwen2-inv": (QWEN2, RAGGED, {}, ("seq_bn_inv", dict(reduction_factor=4, non_linearity="swish")), dict(lr=0.02)),
    "bn-t5-inv": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], dict(task="seq2seq", targets=[6, 2, 5]),
                  ("seq_bn_inv", dict(reduction_factor=4, non_linearity="tanh")), dict(lr=0.03)),
    # Other heads, of classes and of the library's own; that of a language model has the inverse before its last linear.
    "bn-roberta-qa": (cls(ROBERTA, "Roberta", "ForQuestionAnswering"), RAGGED, dict(task="qa"),
                      ("seq_bn", dict(reduction_factor=4)), {}),
    "bn-bert-tags-flex": (dict(ENCODER, architectures=["BertAdapterModel"]), RAGGED,
                          dict(task="token-class", types=True, flex=dict(kind="tagging", layers=2)),
                          ("seq_bn", dict(reduction_factor=4)), {}),
    "bn-bert-qa-flex": (dict(ENCODER, architectures=["BertAdapterModel"]), RAGGED,
                        dict(task="qa", types=True, flex=dict(kind="qa", layers=3, activation_function="gelu")),
                        ("seq_bn", dict(reduction_factor=4)), {}),
    "bn-bert-mlm-flex": (dict(ENCODER, architectures=["BertAdapterModel"], tie_word_embeddings=False), RAGGED,
                         dict(task="mlm", types=True, flex=dict(kind="masked_lm")), ("seq_bn", dict(reduction_factor=4)), {}),
    "bn-llama-lm-flex": (dict(LLAMA, architectures=["LlamaAdapterModel"], tie_word_embeddings=False), [7, 1, 4],
                         dict(flex=dict(kind="causal_lm", layers=2, activation_function="tanh"), salt=5),
                         ("seq_bn", dict(reduction_factor=4, non_linearity="gelu")), dict(lr=0.03)),
    "bn-mt5": (MT5, [9, 3, 12], dict(task="seq2seq", targets=[6, 2, 5]),
               ("double_seq_bn_inv", dict(reduction_factor=4, cross_adapter=True)), dict(lr=0.04)),
}

# For exchange_adapters.py alone: ten steps of this magnify rounding beyond what the rule of goldens bears.
TRIED = {
    "bn-t5-lm-flex": (dict(T5, architectures=["T5AdapterModel"], feed_forward_proj="gelu_new"), [9, 3, 12],
                      dict(task="seq2seq", targets=[6, 2, 5], flex=dict(kind="seq2seq_lm")),
                      ("seq_bn", dict(reduction_factor=4, non_linearity="tanh", mh_adapter=True)), dict(lr=0.06)),
}

CASES = {**BOTTLENECK, **HUB, **TRIED}
