"""Logits that Hugging Face transformers gives for folders, in float32 on the CPU.

python transformers_logits.py FOLDER...
Each holds ids.safetensors with input_ids [1, tokens] and gets out.safetensors: logits_short of a call with the first 4
tokens (the aqlm package runs its CPU kernel, as it does for 8-bit codes at any length) and logits_long of one with all.

The first folder runs aqlm's kernel as numba compiles it. That takes 8 s for each shape of a matrix, so for the others
the same functions are left to Python.
"""
import os
import sys

# aqlm 1.1.7's CPU kernel adds into one output from several threads without a lock: with two threads its logits change
# from call to call and are wrong by more than half of the largest.
os.environ["NUMBA_NUM_THREADS"] = "1"

import numba
import torch
from aqlm.inference_kernels import numba_kernel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
for folder in sys.argv[1:]:
    ids = load_file(f"{folder}/ids.safetensors")["input_ids"].long().view(1, -1)
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                         output_loading_info=True)
    problems = {key: value for key, value in report.items() if value}
    if problems:
        sys.exit(f"{folder}: transformers did not take every tensor: {problems}")
    with torch.no_grad():
        save_file({"logits_long": model(ids).logits[0].contiguous(),
                   "logits_short": model(ids[:, :4]).logits[0].contiguous()}, f"{folder}/out.safetensors")
    print(f"{folder}: {len(numba_kernel.COMPILED_KERNELS)} kernels, interpreted: {bool(numba.config.DISABLE_JIT)}",
          flush=True)
    numba_kernel.COMPILED_KERNELS.clear()
    numba.config.DISABLE_JIT = True
