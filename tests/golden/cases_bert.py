# SPDX-License-Identifier: MIT
"""Cases of encoders with the modules of BERT."""
from cases import RAGGED, VOCAB, labels

BERT = dict(model_type="bert", architectures=["BertForSequenceClassification"], vocab_size=VOCAB,
            hidden_size=33, intermediate_size=45, num_hidden_layers=2, num_attention_heads=3,
            max_position_embeddings=37, type_vocab_size=3, layer_norm_eps=1e-3, hidden_act="gelu",
            hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0)
ENCODER = dict(BERT, **labels(3))

ROBERTA = dict(BERT, model_type="roberta", type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
XLMR = dict(ROBERTA, model_type="xlm-roberta", pad_token_id=2, layer_norm_eps=1e-5)
DISTIL = dict(model_type="distilbert", vocab_size=VOCAB, dim=33, hidden_dim=45, n_layers=2, n_heads=3,
              max_position_embeddings=37, activation="gelu", dropout=0.1, attention_dropout=0.1,
              qa_dropout=0.1, seq_classif_dropout=0.2, pad_token_id=0)
# The longest that each has positions for; odd, 1 and 2.
LONG = [5, 34, 1, 2, 11]
SETS = [7, 1, 19, 2, 12, 5, 3, 8]


def cls(base, stem, head):
    return dict(base, architectures=[stem + head])


def heads(short, base, stem, types):
    """All heads of a family; its sequence classification and one more in bfloat16."""
    t = dict(types=True) if types else {}
    return {
        short + "-class": (cls(dict(base, **labels(3)), stem, "ForSequenceClassification"), LONG, dict(task="class", **t)),
        short + "-tags": (cls(dict(base, **labels(5)), stem, "ForTokenClassification"), LONG, dict(task="token-class", **t)),
        short + "-qa": (cls(base, stem, "ForQuestionAnswering"), LONG, dict(task="qa", **t)),
        short + "-mlm": (cls(base, stem, "ForMaskedLM"), LONG, dict(task="mlm", **t)),
        short + "-mlm-bf16": (cls(base, stem, "ForMaskedLM"), RAGGED, dict(task="mlm", store="BF16", **t)),
        short + "-sets": (cls(base, stem, "Model"), SETS, dict(task="contrastive", **t)),
    }


MODELS = {
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True)),
    "bert-class-bf16": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True, store="BF16")),
    "bert-no-types": (dict(BERT, hidden_act="gelu_new", **labels(2)), [5, 37, 1, 11, 8], dict(task="class")),
    "bert-regression": (dict(BERT, **labels(1)), RAGGED, dict(task="regression", types=True)),
    "bert-multilabel": (dict(BERT, **labels(4)), RAGGED, dict(task="multilabel", types=True)),
    **{k: v for k, v in heads("bert", BERT, "Bert", True).items() if k != "bert-class"},
    **heads("roberta", ROBERTA, "Roberta", False),
    # Inputs with which the gradient of the queries' biases does not cancel away.
    "roberta-qa": (cls(ROBERTA, "Roberta", "ForQuestionAnswering"), LONG, dict(task="qa", salt="e")),
    **heads("distil", DISTIL, "DistilBert", False),
    "xlmr-class": (cls(dict(XLMR, **labels(3)), "XLMRoberta", "ForSequenceClassification"), [9, 4, 1, 15], dict(task="class")),
    "xlmr-class-bf16": (cls(dict(XLMR, **labels(3)), "XLMRoberta", "ForSequenceClassification"), [9, 4, 1, 15],
                        dict(task="class", store="BF16")),
    "xlmr-mlm": (cls(XLMR, "XLMRoberta", "ForMaskedLM"), RAGGED, dict(task="mlm")),
    "bert-tags-bf16": (cls(dict(BERT, **labels(5)), "Bert", "ForTokenClassification"), RAGGED,
                       dict(task="token-class", types=True, store="BF16")),
    "roberta-class-bf16": (cls(dict(ROBERTA, **labels(3)), "Roberta", "ForSequenceClassification"), RAGGED,
                           dict(task="class", store="BF16")),
    "roberta-qa-bf16": (cls(ROBERTA, "Roberta", "ForQuestionAnswering"), RAGGED, dict(task="qa", store="BF16")),
    "bert-pairs": (cls(BERT, "Bert", "Model"), [3, 14, 1, 6], dict(task="similarity", types=True)),
    "bert-mlm-relu": (cls(dict(BERT, hidden_act="relu"), "Bert", "ForMaskedLM"), [6, 9], dict(task="mlm")),
    "bert-body": (dict(BERT, architectures=["BertModel"]), RAGGED, dict(task="none", types=True)),
}

LORA = {
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True),
                   dict(r=4, lora_alpha=4, bias="lora_only", target_modules=["query", "value"]), {}),
    "bert-all": (dict(BERT, **labels(4)), [4, 9], dict(task="multilabel", types=True),
                 dict(r=3, lora_alpha=1.5, use_rslora=True, bias="all", target_modules="all-linear",
                      exclude_modules=["pooler.dense"]), {}),
    "roberta-class": (cls(dict(ROBERTA, **labels(3)), "Roberta", "ForSequenceClassification"), RAGGED, dict(task="class"),
                      dict(r=4, lora_alpha=4, target_modules=["query", "value"]), {}),
    "bert-tags": (cls(dict(BERT, **labels(5)), "Bert", "ForTokenClassification"), [7, 4, 12], dict(task="token-class", types=True),
                  dict(r=3, lora_alpha=3, target_modules=["query", "dense"]), {}),
    "roberta-tags": (cls(dict(ROBERTA, **labels(4)), "Roberta", "ForTokenClassification"), RAGGED,
                     dict(task="token-class", salt="b"), dict(r=2, lora_alpha=4, target_modules=["query", "dense"]), {}),
    "distil-qa": (cls(DISTIL, "DistilBert", "ForQuestionAnswering"), [7, 4, 19, 2, 12], dict(task="qa"),
                  dict(r=4, lora_alpha=4, target_modules=["q_lin", "v_lin", "lin1"]), {}),
    "distil-class": (cls(dict(DISTIL, **labels(3)), "DistilBert", "ForSequenceClassification"), [7, 4, 12, 9], dict(task="class"),
                     dict(r=4, lora_alpha=8, target_modules=["q_lin", "v_lin"], modules_to_save=["pre_classifier"]), {}),
    "bert-mlm": (cls(BERT, "Bert", "ForMaskedLM"), RAGGED, dict(task="mlm", types=True),
                 dict(r=8, lora_alpha=4, target_modules="all-linear"), dict(lr=0.008)),
    "bert-sets": (cls(BERT, "Bert", "Model"), SETS, dict(task="contrastive", types=True),
                  dict(r=4, lora_alpha=4, target_modules=["query", "value"]), {}),
    "xlmr-qa": (cls(XLMR, "XLMRoberta", "ForQuestionAnswering"), [7, 4, 19, 2, 12], dict(task="qa"),
                dict(r=4, lora_alpha=4, target_modules=["query", "value"]), {}),
}

EXCHANGE = {
    "encoder": (ENCODER, dict(task_type="SEQ_CLS")),
    "encoder-bias": (ENCODER, dict(task_type="SEQ_CLS", bias="all")),
    "encoder-linear": (ENCODER, dict(task_type="SEQ_CLS", target_modules="all-linear", bias="lora_only")),
    "encoder-saved": (ENCODER, dict(task_type="SEQ_CLS", modules_to_save=["pooler", "word_embeddings"])),
    "encoder-embedding": (ENCODER, dict(task_type="SEQ_CLS", target_modules=["word_embeddings", "query"])),
    "roberta-class-x": (cls(dict(ROBERTA, **labels(3)), "Roberta", "ForSequenceClassification"), dict(task_type="SEQ_CLS")),
    "xlmr-class-x": (cls(dict(XLMR, **labels(3)), "XLMRoberta", "ForSequenceClassification"), dict(task_type="SEQ_CLS")),
    "distil-class-x": (cls(dict(DISTIL, **labels(3)), "DistilBert", "ForSequenceClassification"),
                       dict(task_type="SEQ_CLS", target_modules=["q_lin", "v_lin"], modules_to_save=["pre_classifier"])),
    "bert-tags-x": (cls(dict(BERT, **labels(5)), "Bert", "ForTokenClassification"), dict(task_type="TOKEN_CLS")),
    "roberta-tags-x": (cls(dict(ROBERTA, **labels(5)), "Roberta", "ForTokenClassification"), dict(task_type="TOKEN_CLS")),
    "distil-tags-x": (cls(dict(DISTIL, **labels(5)), "DistilBert", "ForTokenClassification"),
                      dict(task_type="TOKEN_CLS", target_modules=["q_lin", "v_lin"])),
    "bert-qa-x": (cls(BERT, "Bert", "ForQuestionAnswering"), dict(task_type="QUESTION_ANS")),
    "roberta-qa-x": (cls(ROBERTA, "Roberta", "ForQuestionAnswering"), dict(task_type="QUESTION_ANS", bias="all")),
    "distil-qa-x": (cls(DISTIL, "DistilBert", "ForQuestionAnswering"),
                    dict(task_type="QUESTION_ANS", target_modules=["q_lin", "v_lin"])),
    "bert-embed-x": (cls(BERT, "Bert", "Model"), dict(task_type="FEATURE_EXTRACTION")),
    "roberta-embed-x": (cls(ROBERTA, "Roberta", "Model"), dict(task_type="FEATURE_EXTRACTION")),
    "distil-embed-x": (cls(DISTIL, "DistilBert", "Model"), dict(task_type="FEATURE_EXTRACTION", target_modules=["q_lin", "v_lin"])),
    "bert-mlm-x": (cls(BERT, "Bert", "ForMaskedLM"), dict(task_type=None)),
}
