# SPDX-License-Identifier: MIT
"""Cases of encoders with the modules of BERT."""
from cases import RAGGED, VOCAB, labels

BERT = dict(model_type="bert", architectures=["BertForSequenceClassification"], vocab_size=VOCAB,
            hidden_size=33, intermediate_size=45, num_hidden_layers=2, num_attention_heads=3,
            max_position_embeddings=37, type_vocab_size=3, layer_norm_eps=1e-3, hidden_act="gelu",
            hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0)
ENCODER = dict(BERT, **labels(3))

MODELS = {
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True)),
    "bert-class-bf16": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True, store="BF16")),
    "bert-no-types": (dict(BERT, hidden_act="gelu_new", **labels(2)), [5, 37, 1, 11, 8], dict(task="class")),
    "bert-regression": (dict(BERT, **labels(1)), RAGGED, dict(task="regression", types=True)),
    "bert-multilabel": (dict(BERT, **labels(4)), RAGGED, dict(task="multilabel", types=True)),
    "bert-body": (dict(BERT, architectures=["BertModel"]), RAGGED, dict(task="none", types=True)),
}

LORA = {
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True),
                   dict(r=4, lora_alpha=4, bias="lora_only", target_modules=["query", "value"]), {}),
    "bert-all": (dict(BERT, **labels(4)), [4, 9], dict(task="multilabel", types=True),
                 dict(r=3, lora_alpha=1.5, use_rslora=True, bias="all", target_modules="all-linear",
                      exclude_modules=["pooler.dense"]), {}),
}

EXCHANGE = {
    "encoder": (ENCODER, dict(task_type="SEQ_CLS")),
    "encoder-bias": (ENCODER, dict(task_type="SEQ_CLS", bias="all")),
    "encoder-linear": (ENCODER, dict(task_type="SEQ_CLS", target_modules="all-linear", bias="lora_only")),
    "encoder-saved": (ENCODER, dict(task_type="SEQ_CLS", modules_to_save=["pooler", "word_embeddings"])),
    "encoder-embedding": (ENCODER, dict(task_type="SEQ_CLS", target_modules=["word_embeddings", "query"])),
}
