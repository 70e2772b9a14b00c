#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adapter directories to HF PEFT and back, tried with the library itself.

    exchange_peft.py BUILD [KIN | NAME ...]     BUILD/bin/peft-init, peft-merge, BUILD/tests/aux/adapter

For each case of cases_KIN.py, on tiny random models:
  HF writes an adapter -> we compute HF's logits and write it again -> tensors
  bitwise, known configuration keys equal -> HF loads ours: the same logits;
  merged by peft-merge: the names of the base, and HF loads it: the same logits;
  peft-init writes one of the same configuration -> HF loads it without a
  missing or unexpected key, the logits are ours -> HF writes it again ->
  we read it, tensors bitwise.
Prints a line a case, and the largest difference of logits; status 1 when
something differs.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
import transformers
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from cases import peft_config, table
from experts import split
from make_lora import has_encoder

# Of PEFT's files, known to be repeated under another name, and dropped by us.
REPEATED = (".original_module.", ".modules_to_save.")
LENGTHS = [7, 1, 12, 4]


def tensors(directory):
    return load_file(os.path.join(directory, "adapter_model.safetensors"))


def config(directory):
    with open(os.path.join(directory, "adapter_config.json")) as f:
        c = json.load(f)
    for k in ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules", "target_parameters"):
        if isinstance(c.get(k), list):
            c[k] = sorted(set(c[k]))
    return c


def output(out):
    """What a head gives: logits, those of starts and ends, or the mean of a body's rows."""
    if "start_logits" in out:
        return torch.stack([out.start_logits, out.end_logits], -1)
    return out.logits if "logits" in out else out.last_hidden_state.mean(1)


class Case:
    def __init__(self, name, build, top, model_config, keys, attn="eager", packed=False):
        """packed: the base keeps its experts as parameters of three dimensions."""
        self.name, self.build, self.top, self.attn = name, build, top, attn
        self.dir = os.path.join(top, name)
        os.mkdir(self.dir)
        self.keys = dict(dict(task_type="CAUSAL_LM"), **keys)
        self.model_config = model_config
        # Separate linears of experts, of which PEFT makes parameters when it loads or creates.
        self.converted = model_config["model_type"] == "mixtral" and \
            (keys["target_modules"] == "all-linear" or "w1" in keys["target_modules"])
        torch.manual_seed(len(name))
        c = transformers.AutoConfig.for_model(**{k: v for k, v in model_config.items() if k != "architectures"})
        c._attn_implementation = attn
        self.cls = getattr(transformers, model_config["architectures"][0])
        model = self.cls(c)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * (0.3 / p.shape[-1] ** 0.5))
        self.base = self.path("base")
        model.save_pretrained(self.base, save_original_format=not packed)
        assert packed == any(k.endswith(".experts.down_proj") for k in load_file(os.path.join(self.base, "model.safetensors")))
        self.ids = torch.randint(4, 53, (sum(LENGTHS),))
        cu = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int32)
        self.decoder = c.is_encoder_decoder
        if self.decoder:
            self.ids[cu[1:] - 1] = c.eos_token_id
        save_file({"ids": self.ids.int(), "cu": torch.from_numpy(cu)}, self.path("in"))
        self.cu = cu
        self.worst = 0.0

    def path(self, name):
        return os.path.join(self.dir, name)

    def fresh_base(self):
        return self.cls.from_pretrained(self.base, attn_implementation=self.attn, experts_implementation="eager",
                                        dtype=torch.float32).eval()

    def hf_logits(self, model):
        out = []
        with torch.no_grad():
            for b in range(len(LENGTHS)):
                ids = self.ids[None, self.cu[b]:self.cu[b + 1]]
                # What our decoder reads where nobody says.
                more = dict(decoder_input_ids=getattr(model, "get_base_model", lambda: model)()._shift_right(ids)) if self.decoder else {}
                y = output(model(input_ids=ids, **more))
                out.append(y[0] if y.dim() == 3 else y)
        return torch.cat(out)

    def ours(self, adapter, save):
        out = self.path("out-" + os.path.basename(save))
        subprocess.run([os.path.join(self.build, "tests/aux/adapter"), self.base, adapter, self.path("in"), out, save],
                       check=True)
        return load_file(out)["logits"]

    def near(self, what, a, b, limit=2e-5):
        d = ((a - b).abs().max() / b.abs().max()).item()
        self.worst = max(self.worst, d)
        assert d <= limit, f"{what}: logits differ by {d:.2e}"

    def same_tensors(self, what, a, b, whole_embeddings=False):
        """whole_embeddings: PEFT adds the base's, where an adapter is on them."""
        a = {k: v for k, v in tensors(a).items() if not any(r in k for r in REPEATED)}
        b = {k: v for k, v in tensors(b).items() if not any(r in k for r in REPEATED)}
        more = {k for k in b if whole_embeddings and k.endswith(".base_layer.weight")}
        assert a.keys() | more == b.keys(), (what, a.keys() ^ b.keys())
        for k in a:
            assert torch.equal(a[k], b[k]), (what, k)
        return len(a)

    def same_pieces(self, what, ours, theirs):
        """Separate linears in ours are the blocks of what PEFT made of them; the rest of that is zero."""
        ours, theirs, left = tensors(ours), tensors(theirs), 0
        for k, v in theirs.items():
            parts = split(k, v, self.model_config, self.model_config["model_type"])
            for key, piece in parts:
                assert torch.equal(ours.pop(key), piece), (what, key)
            left += int(torch.count_nonzero(v)) - sum(int(torch.count_nonzero(x)) for _, x in parts)
        assert not ours and not left, (what, ours.keys(), left)

    def from_hf(self):
        model = get_peft_model(self.fresh_base(), peft_config(self.keys)).eval()
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(torch.randn_like(p) * 0.1)
        hf, back = self.path("hf"), self.path("hf-ours")
        # COFT constrains its values in a forward pass.
        want = self.hf_logits(model)
        model.save_pretrained(hf)
        self.near("HF's adapter, here", self.ours(hf, back), want)
        n = self.same_tensors("HF to us", hf, back)
        assert config(hf) == config(back), "configuration"
        self.near("HF's adapter, written by us, in HF", self.loaded(back), want,
                  1e-6 if has_encoder(model) or self.keys.get("coft") else 0)
        if model.active_peft_config.is_prompt_learning:
            self.refused(hf)
        else:
            self.merged(hf, want)
        return n

    def refused(self, adapter):
        """No weight of the base is another one."""
        p = subprocess.run([os.path.join(self.build, "bin/peft-merge"), "-q", "-m", self.base, "-a", adapter, "-o",
                            self.path("merged")], capture_output=True, text=True)
        assert p.returncode == 2 and "cannot be merged" in p.stderr and not os.path.exists(self.path("merged")), p

    def merged(self, adapter, want):
        """A model that transformers loads under the names of the base."""
        out = self.path("merged")
        subprocess.run([os.path.join(self.build, "bin/peft-merge"), "-q", "-m", self.base, "-a", adapter, "-o", out],
                       check=True)
        a, b = (load_file(os.path.join(d, "model.safetensors")) for d in (self.base, out))
        more = {"lm_head.weight", "embed_out.weight"}      # what is tied no more
        more |= {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
        assert a.keys() <= b.keys() and b.keys() - a.keys() <= more, ("names of the merged model", a.keys() ^ b.keys())
        with open(os.path.join(self.base, "config.json")) as f, open(os.path.join(out, "config.json")) as g:
            f, g = json.load(f), json.load(g)
        assert f.keys() <= g.keys(), ("keys of the merged model", f.keys() - g.keys())
        model, info = self.cls.from_pretrained(out, attn_implementation=self.attn, experts_implementation="eager",
                                               dtype=torch.float32, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        self.near("merged, in HF", self.hf_logits(model.eval()), want)

    def loaded(self, adapter):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*[Mm]issing adapter keys.*")
            warnings.filterwarnings("error", message=".*[Uu]nexpected.*")
            self.model = PeftModel.from_pretrained(self.fresh_base(), adapter).eval()
        known = {k for k in self.model.state_dict()}
        for k in tensors(adapter):
            parts = k.rsplit(".", 1)
            names = [k, parts[0] + ".default." + parts[-1], k + ".default", k + ".default.weight",
                     parts[0] + ".modules_to_save.default." + parts[-1]]
            # A module around it may be the one that is saved.
            up = k.split(".")
            if self.model.active_peft_config.is_prompt_learning:
                names.append("prompt_encoder.default.embedding.weight" if k == "prompt_embeddings" else k)
            names += [".".join(up[:i] + ["modules_to_save", "default"] + up[i:]) for i in range(2, len(up))]
            assert self.converted or any(n in known for n in names) or any(r in k for r in REPEATED), f"HF has no place for {k}"
        return self.hf_logits(self.model)

    def from_us(self):
        ours, again, back = self.path("ours"), self.path("ours-again"), self.path("ours-hf")
        with open(self.path("config.json"), "w") as f:
            json.dump(dict(dict(peft_type="LORA"), **self.keys), f)
        task = {"SEQ_CLS": ["--task", "class", "--num-labels", "3"], "TOKEN_CLS": ["--task", "token-class", "--num-labels", "5"],
                "QUESTION_ANS": ["--task", "qa"], "FEATURE_EXTRACTION": ["--task", "contrastive"]}.get(self.keys["task_type"], [])
        subprocess.run([os.path.join(self.build, "bin/peft-init"), "-q", "-m", self.base, "--config",
                        self.path("config.json"), "-s", "3", "-o", ours] + task, check=True)
        got = self.ours(ours, again)
        self.near("our adapter in HF", got, self.loaded(ours))
        n = self.same_tensors("read and written", ours, again)
        self.model.save_pretrained(back)
        if self.converted:
            self.same_pieces("us to HF", ours, back)
            self.near("our adapter, converted by HF, here", self.ours(back, self.path("last")), got)
            return n
        self.same_tensors("us to HF", ours, back, whole_embeddings=True)
        self.near("our adapter, written by HF, here", self.ours(back, self.path("last")), got, 0)
        a, b = config(ours), config(back)
        a.pop("peft_version", None)
        b.pop("peft_version", None)
        if b.get("ensure_weight_tying"):
            # PEFT lists the table by its path, once more or in the place of the other end, when it writes.
            table = "model.embed_tokens"
            if isinstance(b["target_modules"], str):
                b["target_modules"] = b["target_modules"].replace(f"|^{re.escape(table)}$)", "").replace("(?:", "", 1)
            for k in "modules_to_save", "target_modules":
                if table in (b[k] or []) and isinstance(b[k], list):
                    ends = {"embed_tokens", "lm_head"}
                    a[k], b[k] = (sorted(set(x[k]) - {table} - ends) for x in (a, b))
        assert a == b, {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
        return n


def main():
    build = os.path.abspath(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as top:
        for _, name, case in table("EXCHANGE", sys.argv[2:]):
            c = Case(name, build, top, *case)
            try:
                n, m = c.from_hf(), c.from_us()
                print(f"ok {name}: {n} and {m} tensors, logits within {c.worst:.1e}")
            except (AssertionError, subprocess.CalledProcessError, Warning) as e:
                failed += 1
                print(f"not ok {name}: {e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
