# SPDX-License-Identifier: MIT
"""Cases of the methods on encoder-decoders."""
from cases_lowrank import OFT, SEQ2SEQ
from cases_methods import DORA, IA3, LN
from cases_t5 import T5

# No ReLU: what ten steps move across zero is a matter of rounding.
SMOOTH = dict(T5, feed_forward_proj="gelu_new")

LORA = {
    # Cross attention, both ends of the feed-forward, the table.
    "dora-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ,
                dict(DORA, r=3, lora_alpha=2, target_modules=["SelfAttention.v", "EncDecAttention.o", "wo"]), dict(lr=0.03)),
    "ia3-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(IA3), dict(lr=0.2)),
    "ln-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(LN, target_modules=["layer_norm", "final_layer_norm"]), dict(lr=0.1)),
    "oft-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(OFT, oft_block_size=10, target_modules=["SelfAttention.q", "EncDecAttention.k", "wi"]),
               dict(lr=0.03)),
}
