# SPDX-License-Identifier: MIT
"""Cases of the methods on encoder-decoders."""
from cases_lowrank import LOKR, OFT, SEQ2SEQ, VERA
from cases_methods import ADAM, DORA, IA3, LN
from cases_t5 import T5
from cases_virtual import EVEN, PTUNING

# No ReLU: what ten steps move across zero is a matter of rounding.
SMOOTH = dict(T5, feed_forward_proj="gelu_new")
FEW = dict(task="seq2seq", targets=[3, 2])
MODULES = ["SelfAttention.v", "EncDecAttention.o", "wo"]
R3 = dict(r=3, lora_alpha=2, target_modules=MODULES)

LORA = {
    # Cross attention, both ends of the feed-forward, the table.
    "dora-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ,
                dict(DORA, **R3), dict(lr=0.03)),
    "ia3-t5": (SMOOTH, [9, 3, 12], dict(SEQ2SEQ, salt=12), dict(IA3), dict(lr=0.2)),
    "ln-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(LN, target_modules=["layer_norm", "final_layer_norm"]), dict(lr=0.1)),
    "oft-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(OFT, oft_block_size=10, target_modules=["SelfAttention.q", "EncDecAttention.k", "wi"]),
               dict(lr=0.03)),
    "lokr-t5": (SMOOTH, [4, 2], dict(FEW, salt=1), dict(LOKR, r=2, alpha=2, target_modules=MODULES), dict(lr=0.06)),
    "vera-t5": (SMOOTH, [4, 2], dict(FEW, salt=2), dict(VERA, r=6, target_modules=MODULES), dict(lr=0.3)),
    "ptuning-t5": (EVEN, [3, 1], dict(task="seq2seq", targets=[2, 1]), dict(PTUNING, num_virtual_tokens=8), dict(lr=0.08)),
    "loraplus-t5": (SMOOTH, [9, 3, 12], dict(SEQ2SEQ, loraplus=(3.0, 0.05), salt=2), R3, dict(lr=0.015)),
    "lorafa-t5": (SMOOTH, [4, 2], dict(FEW, lorafa=True, frozen=["lora_A"]), R3, dict(ADAM, lr=0.06)),
}
