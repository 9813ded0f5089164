"""Tiny random checkpoints of every family with the logits of Hugging Face transformers.

python tests/golden/make_families.py tests/golden/families [NAME ...]     (transformers 5.24.0, torch 2.11.0, on a CPU)

Each folder: config.json, in the hub's form or in transformers 5's; model.safetensors, bfloat16, as save_pretrained
writes it or, where the name says fused, as transformers 5 holds experts in memory; golden.safetensors: input_ids and
the float32 logits of a call with the first `short` tokens and of one with all of them, which are more than the
window, original_max_position_embeddings or max_position_embeddings of the model.
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

LONG, SHORT, VOCAB = 44, 10, 40
COMMON = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
              torch_dtype="bfloat16")
MOE = dict(moe_intermediate_size=12, num_experts=6, num_experts_per_tok=2)

VARIANTS = {
    "llama": dict(model_type="llama", tie_word_embeddings=True, rope_theta=500.0),
    "llama-bias-llama3": dict(model_type="llama", attention_bias=True, mlp_bias=True, head_dim=12,
                              rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                high_freq_factor=4.0, original_max_position_embeddings=16)),
    "llama-linear": dict(model_type="llama", max_position_embeddings=16, num_key_value_heads=4,
                         rope_scaling=dict(type="linear", factor=4.0)),
    "llama-dynamic": dict(model_type="llama", max_position_embeddings=16,
                          rope_scaling=dict(rope_type="dynamic", factor=4.0)),
    "llama-yarn": dict(model_type="llama", num_key_value_heads=1,
                       rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=8.0,
                                            original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.5,
                                            truncate=False)),
    "mistral": dict(model_type="mistral", sliding_window=8, head_dim=16),
    "qwen2-window": dict(model_type="qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen2-yarn": dict(model_type="qwen2", max_position_embeddings=16, tie_word_embeddings=True,
                       rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=16)),
    "qwen3": dict(model_type="qwen3", head_dim=16, tie_word_embeddings=True),
    "qwen3-layer-types": dict(model_type="qwen3", head_dim=16, use_sliding_window=True, sliding_window=6,
                              num_hidden_layers=3, attention_bias=True,
                              layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "mixtral": dict(model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=None,
                    intermediate_size=16),
    "mixtral-fused-window": dict(model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=8,
                                 intermediate_size=16),
    "qwen2-moe": dict(model_type="qwen2_moe", shared_expert_intermediate_size=20, mlp_only_layers=[1],
                      num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=2, **MOE),
    "qwen3-moe": dict(model_type="qwen3_moe", head_dim=16, norm_topk_prob=True, decoder_sparse_step=2, **MOE),
    "qwen3-moe-fused": dict(model_type="qwen3_moe", head_dim=16, use_sliding_window=True, sliding_window=8, **MOE),
    "phi3": dict(model_type="phi3", sliding_window=9),
    "phi3-longrope": dict(model_type="phi3", original_max_position_embeddings=16, partial_rotary_factor=0.75, head_dim=16,
                          hidden_size=64, intermediate_size=24, num_hidden_layers=1,
                          rope_scaling=dict(type="longrope", short_factor=[1.0, 1.0, 1.05, 1.1, 1.2, 1.3],
                                            long_factor=[1.0, 1.5, 2.0, 3.0, 4.0, 4.0])),
    "gemma": dict(model_type="gemma", head_dim=16, hidden_act="gelu"),
    "gemma2": dict(model_type="gemma2", head_dim=16, sliding_window=8, query_pre_attn_scalar=24,
                   attn_logit_softcapping=5.0, final_logit_softcapping=12.0, num_hidden_layers=2),
    "gemma2-uncapped": dict(model_type="gemma2", head_dim=8, sliding_window=8, attn_logit_softcapping=None,
                            final_logit_softcapping=None),
}


def randomise(model, generator):
    """Every parameter random and large enough to matter, and exact in bfloat16."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            centre = 0.0 if "gemma" in model.config.model_type else 1.0
            value = centre + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name:
            value = 0.5 * noise
        else:
            value = 1.5 * noise / parameter.shape[-1] ** 0.5
        parameter.data.copy_(value.to(torch.bfloat16).float())


def router_margin(model, ids):
    """Smallest gap between the last chosen and the first left-out expert."""
    margins = []

    def look(module, inputs, output):
        scores = torch.softmax(output[0].float(), -1).sort(-1, descending=True).values
        margins.append((scores[:, module.top_k - 1] - scores[:, module.top_k]).min().item())

    hooks = [m.register_forward_hook(look) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    model(ids[None])
    for hook in hooks:
        hook.remove()
    return min(margins, default=1.0)


def make(out, name, variant):
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    raw = {**COMMON, **variant}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(raw, file, indent=1)
    config = AutoConfig.from_pretrained(folder)
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            randomise(model, generator)
            ids = torch.randint(0, VOCAB, (LONG,), generator=generator)
            if router_margin(model, ids) < 1e-3:
                continue
            logits = {"logits_short": model(ids[None, :SHORT]).logits[0].contiguous(),
                      "logits_long": model(ids[None]).logits[0].contiguous()}
        break
    with torch.no_grad():
        stored = model.to(torch.bfloat16)
        if "fused" in name:
            tensors = {key: value.contiguous() for key, value in stored.state_dict().items()}
            save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        else:
            stored.save_pretrained(folder)
            if "rope_parameters" not in raw:  # the hub's form; otherwise the one that transformers just wrote
                with open(os.path.join(folder, "config.json"), "w") as file:
                    json.dump(raw, file, indent=1)
    for extra in ("generation_config.json",):
        if os.path.exists(os.path.join(folder, extra)):
            os.remove(os.path.join(folder, extra))
    save_file({"input_ids": ids, **logits}, os.path.join(folder, "golden.safetensors"))
    print(f"{name}: seed {seed}, largest logit {logits['logits_long'].abs().max():.3f}")


for name, variant in VARIANTS.items():
    if not sys.argv[2:] or name in sys.argv[2:]:
        make(sys.argv[1], name, variant)
