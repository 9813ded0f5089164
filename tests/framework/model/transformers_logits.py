"""Logits that Hugging Face transformers gives for a folder, in float32 on the CPU.

python transformers_logits.py FOLDER IDS.safetensors OUT.safetensors
IDS holds input_ids [1, tokens]; OUT gets logits_short of a call with the first 4 tokens (the aqlm package then runs its
CPU kernel) and logits_long of one with all (it dequantises).
"""
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder, ids_file, out = sys.argv[1:]
torch.set_num_threads(1)
ids = load_file(ids_file)["input_ids"].long().view(1, -1)
model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                     output_loading_info=True)
problems = {key: value for key, value in report.items() if value}
if problems:
    sys.exit(f"{folder}: transformers did not take every tensor: {problems}")
with torch.no_grad():
    save_file({"logits_long": model(ids).logits[0].contiguous(),
               "logits_short": model(ids[:, :4]).logits[0].contiguous()}, out)
