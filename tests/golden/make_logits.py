"""Float32 logits of a Hugging Face folder, as models/qwen2-5m/golden.safetensors holds them.

python tests/golden/make_logits.py MODEL_DIR IDS_FROM.safetensors OUT.safetensors
(transformers 5.24.0, torch 2.11.0, on a CPU: no TF32; input_ids are copied from IDS_FROM)
"""
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

model_dir, ids_from, out = sys.argv[1:]
ids = load_file(ids_from)["input_ids"].flatten()
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager")
with torch.no_grad():
    logits = model(ids[None]).logits[0]
save_file({"input_ids": ids, "logits_fp32": logits.contiguous()}, out)
