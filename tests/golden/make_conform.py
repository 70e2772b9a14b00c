#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The conformance suite, after HF PEFT's own tests of state dicts: directories of PEFT with what it computes of them.

    make_conform.py [NAME ...]                     the cases of cases_conform.py, in tests/data/conform
    make_conform.py -o DIR --base MODEL --adapter ADAPTER [--single]
    make_conform.py -o DIR --base MODEL --config CONFIG.json [--single]

The latter write a case of any model directory: of an adapter that is there, or of a configuration, with values from
the names of its tensors. Its name is that of ADAPTER or CONFIG. A case is a directory with

    adapter_config.json, adapter_model.safetensors   as save_pretrained() writes them
    manifest.json        case_name, peft_version, torch_version, transformers_version, base_model_id (beside the
                         manifest, absolute, or of the hub), model_cls, inputs, state_dict_keys, error
    output.safetensors   logits

error is what torch in float32 is off from float64, by max|a-b| / max|b|, each way (golden.py), and logits are those of
float64; with --single there is no error, and logits are those of float32: for models that do not fit twice.
peft_conform (tests/unit) runs all cases below tests/data/conform, or $PEFT_CONFORM.
"""
import argparse
import json
import os
import shutil
import sys
import warnings

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from cases import peft_config, table
from cases_conform import BASES
from golden import each_way, error, in_type, uniform
from make_models import make_model

INPUTS = {"input_ids": [[5, 17, 3, 42, 9, 30], [6, 5, 4, 30, 11, 17]]}
DECODER = {"decoder_input_ids": [[3, 7, 2], [3, 12, 40]]}
TASK = {"ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForSequenceClassification": "SEQ_CLS",
        "ForConditionalGeneration": "SEQ_2_SEQ_LM", "ForTokenClassification": "TOKEN_CLS"}


def architecture(base):
    with open(os.path.join(base, "config.json")) as f:
        return json.load(f)["architectures"][0]


def task_of(base):
    return next(t for end, t in TASK.items() if architecture(base).endswith(end))


def inputs_of(base):
    return dict(INPUTS, **DECODER) if task_of(base) == "SEQ_2_SEQ_LM" else INPUTS


def base_model(base, dtype=torch.float32):
    """In float64 with tables of rotations that are float64 too."""
    cls = getattr(transformers, architecture(base))
    model = cls.from_pretrained(base, attn_implementation="eager", experts_implementation="eager", dtype=torch.float32).eval()
    if dtype == torch.float32:
        return model
    with in_type(dtype):
        exact = cls(model.config).eval()
    with torch.no_grad():
        for k, v in exact.state_dict().items():
            v.copy_(model.state_dict()[k])
    return exact


def logits(base, adapter, dtype):
    """As PEFT computes them of the directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(base_model(base, dtype), adapter).eval()
    for x in list(model.parameters()) + list(model.buffers()):
        if x.is_floating_point():
            x.data = x.data.to(dtype)
    x = {k: torch.tensor(v) for k, v in inputs_of(base).items()}
    with in_type(dtype), torch.no_grad():
        return model(**x).logits


def fill(model):
    """Values from names; what is a factor stays near one."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad and ".original_module." not in name:
                first = torch.ones_like(p) if "ia3_" in name or "vector" in name or "norm" in name.lower() else torch.zeros_like(p)
                p.copy_(first + 0.3 * torch.from_numpy(uniform(name, p.numel())).view_as(p))


def prune(model, base, steps):
    """Steps that bring AdaLoRA's ranks down."""
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    ids = torch.tensor(INPUTS["input_ids"])
    for t in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        opt.step()
        model.base_model.update_and_allocate(t + 1)
        opt.zero_grad()


def make_adapter(base, keys, how, directory):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = base_model(base)
        if how == "eva":
            keys = dict(keys, eva_config=peft.EvaConfig(rho=1.0))
            config = peft.LoraConfig(**dict(dict(task_type=task_of(base)), **keys))
        elif how == "corda":
            # Brings what PEFT's takes of a package that it does not ask for.
            from make_inits import lora_config
            from peft.tuners.lora.corda import preprocess_corda

            config = lora_config(dict(keys, corda_config={}), "lm")
            preprocess_corda(model, config, run_model=lambda: [model(input_ids=torch.tensor([x])) for x in INPUTS["input_ids"]])
        else:
            config = peft_config(dict(dict(task_type=task_of(base)), **keys))
        model = peft.get_peft_model(model, config).eval()
        if how == "eva":
            peft.initialize_lora_eva_weights(model, [{"input_ids": torch.tensor(INPUTS["input_ids"])}], show_progress_bar=False)
        model.active_peft_config.base_model_name_or_path = os.path.basename(base)
        first = os.path.join(os.path.dirname(directory), "first")
        if how in ("convert", "corda"):
            init, model.active_peft_config.init_lora_weights = model.active_peft_config.init_lora_weights, True
            model.save_pretrained(first)
            model.active_peft_config.init_lora_weights = init
        fill(model)
        if how == "prune":
            prune(model, base, keys["total_step"])
        # What COFT constrains it does in a forward pass.
        model(**{k: torch.tensor(v) for k, v in inputs_of(base).items()})
        model.save_pretrained(directory, **(dict(path_initial_model_for_weight_conversion=first) if how in ("convert", "corda") else {}))
    shutil.rmtree(first, ignore_errors=True)
    if os.path.exists(os.path.join(directory, "README.md")):
        os.remove(os.path.join(directory, "README.md"))


def finish(base, directory, others):
    """others: logits in float32, each way; None: float32 alone."""
    want = logits(base, directory, torch.float64 if others else torch.float32)
    x = dict(inputs_of(base))
    manifest = dict(case_name=os.path.basename(directory), peft_version=peft.__version__, torch_version=torch.__version__,
                    transformers_version=transformers.__version__, base_model_id=os.path.relpath(base, directory),
                    model_cls=architecture(base), inputs=x,
                    state_dict_keys=sorted(load_file(os.path.join(directory, "adapter_model.safetensors"))))
    if others:
        manifest["error"] = max(error(o, want) for o in others)
    save_file({"logits": want.float().contiguous()}, os.path.join(directory, "output.safetensors"))
    with open(os.path.join(directory, "manifest.json"), "w") as f:
        json.dump(manifest, f, indent=1)
        f.write("\n")
    for f in os.listdir(directory):
        os.chmod(os.path.join(directory, f), 0o644)
    print(f"{manifest['case_name']}: {len(manifest['state_dict_keys'])} tensors, error of torch f32 {manifest.get('error', 0):.1e}")


def make_bases(top):
    for name, config in BASES.items():
        directory = os.path.join(top, "bases", name)
        make_model(config, {}, torch.float32).save_pretrained(directory, save_original_format=True)
        for f in os.listdir(directory):
            os.chmod(os.path.join(directory, f), 0o644)
            if f not in ("config.json", "model.safetensors"):
                os.remove(os.path.join(directory, f))


def one(a):
    name = os.path.basename(os.path.normpath(a.adapter or a.config)).removesuffix(".json")
    directory = os.path.join(a.o, name)
    base = os.path.abspath(a.base)
    if a.adapter:
        os.makedirs(directory, exist_ok=True)
        for f in "adapter_config.json", "adapter_model.safetensors":
            shutil.copyfile(os.path.join(a.adapter, f), os.path.join(directory, f))
    else:
        with open(a.config) as f:
            make_adapter(base, json.load(f), None, directory)
    finish(base, directory, None if a.single else [logits(base, directory, torch.float32)])


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", help="with --base: where the case goes")
    a.add_argument("--base")
    a.add_argument("--adapter")
    a.add_argument("--config")
    a.add_argument("--single", action="store_true", help="float32 alone")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    if a.base:
        return one(a)
    top = "tests/data/conform"
    places = {name: (os.path.join(top, "bases", case[0]), os.path.join(top, name), case) for _, name, case in table("CONFORM", a.case)}
    if a.rounded:
        for name, (base, directory, _) in places.items():
            torch.save(logits(base, directory, torch.float32), os.path.join(a.rounded, name + ".pt"))
        return
    if not a.case:
        make_bases(top)
    for name, (base, directory, case) in places.items():
        make_adapter(base, case[1], case[2] if len(case) > 2 else None, directory)
    with each_way(list(places)) as others:
        for name, (base, directory, _) in places.items():
            finish(base, directory, others(name))


if __name__ == "__main__":
    # PEFT writes sets in the order of their hashes.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, sys.orig_argv, dict(os.environ, PYTHONHASHSEED="0"))
    main()
