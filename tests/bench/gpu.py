# SPDX-License-Identifier: MIT
"""Random models of real shapes, and HF PEFT's training speed on them.

gpu.py make SHAPE DIR         writes a model directory (bf16)
gpu.py peer DIR FORM B S N    N steps of B sequences of S tokens; FORM: plain, bf16 (adapters too), compile,
                              liger (Liger-Kernel, bf16 adapters).
                              S ~N: sequences of N/2 to 3N/2 tokens, padded; their own tokens count
"""
import json, statistics, sys, time

SHAPES = {
    '135m': dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                 num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True,
                 rope_theta=100000.0),
    '1b': dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
               num_key_value_heads=8, head_dim=64, vocab_size=128256, max_position_embeddings=131072,
               tie_word_embeddings=True, rope_theta=500000.0),
    '8b': dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072, tie_word_embeddings=False,
               rope_theta=500000.0),
}


def make(shape, out):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device('cuda'):
        m = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape], dtype='bfloat16'))
    m.cpu().save_pretrained(out)


def peer(path, form, b, s, n):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    if form == 'liger':
        from liger_kernel.transformers import apply_liger_kernel_to_llama
        apply_liger_kernel_to_llama()
    start = time.time()
    m = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation='sdpa').cuda()
    m = get_peft_model(m, LoraConfig(r=16, lora_alpha=32, target_modules='all-linear', task_type='CAUSAL_LM'),
                       autocast_adapter_dtype=form not in ('bf16', 'liger'))
    m.train()
    opt = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3, weight_decay=0, fused=True)
    run = torch.compile(m) if form == 'compile' else m
    torch.manual_seed(5)
    around = s.startswith('~')
    mean = int(s[around:])
    times, rates = [], []
    for i in range(n):
        lens = torch.randint(mean // 2, mean // 2 + mean, (b,)) if around else torch.full((b,), mean)
        mask = (torch.arange(int(lens.max())) < lens[:, None]).cuda()
        if not i or around:
            ids = torch.randint(0, m.config.vocab_size, mask.shape, device='cuda')
        labels = torch.where(mask, ids, -100)
        torch.cuda.synchronize()
        t = time.time()
        loss = run(input_ids=ids, labels=labels, use_cache=False,
                   **({'attention_mask': mask.long()} if around else {})).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        torch.cuda.synchronize()
        times.append(time.time() - t)
        rates.append(int(lens.sum()) / times[-1])
        if i == 0:
            first = time.time() - start
        if i < 3:
            print(f'step {i + 1}: loss {loss.item():.5f}, {1e3 * times[-1]:.1f} ms')
    t = statistics.median(times[2:])
    print(f'HF PEFT, {form}, {path}, {b} x {s}: {statistics.median(rates[2:]):.0f} tokens/s, step {1e3 * t:.1f} ms, '
          f'first step after {first:.2f} s, {torch.cuda.max_memory_allocated() / 1e9:.2f} GB', flush=True)


if __name__ == '__main__':
    if sys.argv[1] == 'make':
        make(sys.argv[2], sys.argv[3])
    else:
        peer(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], int(sys.argv[6]))
