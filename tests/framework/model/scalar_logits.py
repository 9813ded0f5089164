"""Logits that Hugging Face transformers gives for one GPTQ, AWQ or HQQ folder, in float32 on the CPU.

python scalar_logits.py FOLDER gptq|awq|hqq
It holds ids.safetensors with input_ids [1, tokens] and gets out.safetensors with logits. GPTQ and AWQ want transformers
5 with gptqmodel and optimum, HQQ the hqq package and transformers 4, the last that read such folders.
"""
import os
import sys

os.environ["TORCH_COMPILE_DISABLE"] = "1"  # gptqmodel compiles its dequantisation: half a minute for each shape

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder, method = sys.argv[1:]
torch.set_num_threads(1)
ids = load_file(f"{folder}/ids.safetensors")["input_ids"].long().view(1, -1)
device_map = None if method == "hqq" else {"": "cpu"}  # hqq's loader refuses a map that names the CPU
model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map=device_map,
                                                     attn_implementation="eager", output_loading_info=True)
problems = {key: value for key, value in report.items() if value}
if problems:
    sys.exit(f"{folder}: transformers did not take every tensor: {problems}")
print({type(module).__module__ + "." + type(module).__name__ for name, module in model.named_modules()
       if name.endswith("_proj")})
with torch.no_grad():
    save_file({"logits": model(ids).logits[0].float().contiguous()}, f"{folder}/out.safetensors")
