"""Writes goldens.json: what the original packages make of small, exactly reproducible weights and inputs.

Packages (installed with `pip install --no-deps`; only the named files of each are run, on the CPU, in float32):
  hqq 0.2.8.post1    hqq/core/quantize.py, optimize.py, bitpack.py
  auto-gptq 0.7.1    auto_gptq/quantization/gptq.py, quantizer.py (IST-DASLab's algorithm, returning scales and zeros)
  autoawq 0.2.9      awq/quantize/quantizer.py (duo_scaling False is llm-awq's rule)
  bitsandbytes 0.50.2  its CPU backend
  torch 2.11.0, numpy 2.4.6, Python 3.11

Command:  python tests/golden/scalar/make_goldens.py > tests/golden/scalar/goldens.json
The weights and inputs are not stored: weights() and inputs() below are arithmetic on integers and doubles that the C++
test repeats exactly.
"""
import importlib.util
import json
import os
import sys
import types

import numpy as np
import torch
import torch.nn as nn

SITE = next(p for p in sys.path if os.path.isdir(os.path.join(p, "hqq")))
torch.set_num_threads(1)


def stub(name, **attributes):
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return module


def load(name, relative):
    spec = importlib.util.spec_from_file_location(name, os.path.join(SITE, relative))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ---- inputs that C++ can repeat -------------------------------------------------------------------------------------
def uniform(seed, count):
    """SplitMix64 of seed + index; the top 24 bits as a number in [-0.5, 0.5)."""
    z = (np.arange(count, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 16777216.0 - 0.5


def weights(seed, out_features, in_features):
    """u + 4 u^3, heavier tails than uniform; every tenth weight three times as large."""
    u = uniform(seed, out_features * in_features)
    w = u + 4.0 * u * u * u
    w[::10] = w[::10] * 3.0
    return torch.from_numpy((w * 0.125).astype(np.float32).reshape(out_features, in_features))


def inputs(seed, tokens, in_features):
    """Neighbouring channels correlate; channel i is (1 + i mod 7) times as large."""
    u = uniform(seed, tokens * in_features).reshape(tokens, in_features)
    x = np.zeros_like(u)
    for i in range(in_features):
        x[:, i] = u[:, i] + (0.5 * x[:, i - 1] if i else 0.0)
    return torch.from_numpy((x * (1.0 + np.arange(in_features) % 7)).astype(np.float32))


def hex_codes(codes):
    return "".join(f"{int(c):02x}" for c in codes.flatten().tolist())


def floats(tensor):
    return [float(str(np.float32(v))) for v in tensor.flatten().tolist()]  # the shortest digits of a float32


# ---- hqq ------------------------------------------------------------------------------------------------------------
def hqq_cases():
    stub("termcolor", colored=lambda text, *a, **k: text)
    package = stub("hqq")
    package.__path__ = [os.path.join(SITE, "hqq")]
    core = stub("hqq.core")
    core.__path__ = [os.path.join(SITE, "hqq", "core")]
    from hqq.core.optimize import (optimize_weights_proximal_legacy, optimize_weights_proximal_slow,
                                   optimize_weights_proximal_v2)
    from hqq.core.quantize import Quantizer
    variants = {"legacy": optimize_weights_proximal_legacy, "v2": optimize_weights_proximal_v2,
                "slow": optimize_weights_proximal_slow}
    cases = []
    for variant, nbits, group_size, axis in [("legacy", 4, 64, 1), ("legacy", 3, 32, 1), ("legacy", 2, 64, 0),
                                             ("v2", 4, 64, 1), ("v2", 2, 16, 1), ("v2", 3, 64, 0), ("slow", 3, 64, 1),
                                             ("legacy", 8, 128, 1), ("legacy", 1, 32, 1)]:
        Quantizer.optimize_weights = variants[variant]
        w = weights(11, 24, 128)
        codes, meta = Quantizer.quantize(w, nbits=nbits, group_size=group_size, axis=axis, round_zero=nbits == 4,
                                         bitpack=False, device="cpu")
        packed, _ = Quantizer.quantize(w, nbits=nbits, group_size=group_size, axis=axis, round_zero=nbits == 4,
                                       device="cpu")
        cases.append({"variant": variant, "nbits": nbits, "group_size": group_size, "axis": axis,
                      "codes": hex_codes(codes.reshape(24, 128)), "scales": floats(meta["scale"]),
                      "zeros": floats(meta["zero"]), "packed_bytes": packed.numel() * packed.element_size()})
    return cases


# ---- GPTQ -----------------------------------------------------------------------------------------------------------
def gptq_cases():
    conv = type("Conv1D", (nn.Module,), {})
    stub("transformers", pytorch_utils=types.SimpleNamespace(Conv1D=conv), Conv1D=conv)
    torch.cuda.synchronize = lambda *a, **k: None
    package = stub("auto_gptq_quantization")
    package.__path__ = [os.path.join(SITE, "auto_gptq", "quantization")]
    load("auto_gptq_quantization.quantizer", "auto_gptq/quantization/quantizer.py")
    gptq = load("auto_gptq_quantization.gptq", "auto_gptq/quantization/gptq.py")
    losses = []
    gptq.logger.info = lambda text: losses.append(text)
    cases = []
    for out, cols, nbits, group, sym, mse, act, static in [
        (16, 192, 4, -1, False, False, False, False),
        (16, 192, 4, 64, False, False, False, False),
        (16, 192, 3, 32, False, False, False, False),
        (16, 192, 2, 64, True, False, False, False),
        (16, 192, 4, 32, False, False, True, False),
        (16, 192, 4, 32, True, False, True, True),
        (16, 160, 3, 64, False, True, False, True),
        (16, 160, 4, 48, False, True, False, False),
    ]:
        layer = nn.Linear(cols, out, bias=False)
        layer.weight.data = weights(21, out, cols)
        x = inputs(31, 4 * 128, cols)
        x[:, 5] = 0  # a dead column
        worker = gptq.GPTQ(layer)
        worker.quantizer.configure(nbits, perchannel=True, sym=sym, mse=mse)
        for sequence in x.reshape(4, 128, cols):
            worker.add_batch(sequence, None)
        losses.clear()
        scale, zero, g_idx = worker.fasterquant(percdamp=0.01, group_size=group, actorder=act, static_groups=static)
        index = g_idx.long()
        codes = torch.round(layer.weight.data / scale[:, index]) + zero[:, index]
        average = [t for t in losses if t.startswith("avg loss")][0]
        cases.append({"out": out, "in": cols, "nbits": nbits, "group_size": group, "sym": sym, "mse": mse,
                      "desc_act": act, "static_groups": static, "codes": hex_codes(codes), "scales": floats(scale),
                      "zeros": floats(zero), "g_idx": g_idx.tolist(), "loss": float(average.split(": ")[1]) * 4})
    return cases


# ---- AWQ ------------------------------------------------------------------------------------------------------------
class Mlp(nn.Module):
    """y = down(relu(gate x) * up x) with a fixed down: something non-linear to inspect."""

    def __init__(self, cols, hidden):
        super().__init__()
        self.gate = nn.Linear(cols, hidden, bias=False)
        self.up = nn.Linear(cols, hidden, bias=False)
        self.down = nn.Linear(hidden, cols, bias=False)

    def forward(self, x):
        return self.down(torch.relu(self.gate(x)) * self.up(x))


def awq_cases():
    for name in ["tqdm"]:
        stub(name, tqdm=lambda x, **k: x)
    for name in ["transformers.models.bloom.modeling_bloom"]:
        stub(name)
    empty = lambda *a, **k: None
    stub("awq"), stub("awq.utils"), stub("awq.quantize"), stub("awq.modules")
    stub("awq.utils.calib_data", get_calib_dataset=empty)
    stub("awq.quantize.scale", apply_scale=empty, apply_clip=empty)
    stub("awq.utils.utils", clear_memory=empty, get_best_device=lambda: "cpu")
    stub("awq.modules.linear", WQLinear_GEMM=None, WQLinear_GEMV=None, WQLinear_Marlin=None, WQLinear_GEMVFast=None)
    stub("awq.utils.module", append_str_prefix=empty, get_op_name=lambda module, op: "op", get_named_linears=empty,
         set_op_by_name=empty, exclude_layers_to_not_quantize=empty)
    quantizer = load("awq.quantize.quantizer", "awq/quantize/quantizer.py")
    # The package saves weights with .cpu(), which copies on a GPU but aliases on the CPU, where its search would then
    # pile the scales of one ratio on those of the next. Copy, as on the GPU it was written for.
    torch.Tensor.cpu = lambda self, *a, **k: self.clone()
    cases = []
    for nbits, group, zero_point, duo in [(4, 32, True, False), (3, 64, True, True), (2, 32, True, True),
                                          (3, 32, False, False)]:
        worker = quantizer.AwqQuantizer.__new__(quantizer.AwqQuantizer)
        worker.w_bit, worker.group_size, worker.zero_point, worker.duo_scaling = nbits, group, zero_point, duo
        worker.n_parallel_calib_samples, worker.max_chunk_memory = None, 1024 ** 3
        worker._sanitize_kwargs = lambda kwargs, module: kwargs
        mlp = Mlp(64, 48)
        mlp.gate.weight.data, mlp.up.weight.data = weights(41, 48, 64), weights(42, 48, 64)
        mlp.down.weight.data = weights(43, 64, 48)
        mlp.requires_grad_(False)
        x = inputs(51, 600, 64).unsqueeze(0)
        _, _, scales = worker._search_best_scale(mlp, None, [mlp.gate, mlp.up], x, module2inspect=mlp)
        w = weights(61, 64, 64)
        clip = worker._compute_best_clip(w, inputs(71, 1100, 64))
        quantised, q_scales, q_zeros = worker.pseudo_quantize_tensor(w)
        cases.append({"nbits": nbits, "group_size": group, "sym": not zero_point, "duo": duo,
                      "scales": floats(scales), "clip": floats(clip), "rtn": floats(quantised[:4]),
                      "rtn_scales": floats(q_scales), "rtn_zeros": floats(q_zeros) if q_zeros is not None else []})
    return cases


# ---- bitsandbytes ------------------------------------------------------------------------------------------------------
def bnb_cases():
    import bitsandbytes.functional as bnb
    cases = []
    for quant_type, block_size, double in [("nf4", 64, False), ("nf4", 64, True), ("fp4", 64, False),
                                           ("fp4", 128, True), ("nf4", 32, True)]:
        w = weights(81, 30, 700)  # rows share blocks; the last block is short; more than 256 blocks of 64 and of 32
        w[3, :200] = 0            # blocks of zeros
        packed, state = bnb.quantize_4bit(w, blocksize=block_size, compress_statistics=double, quant_type=quant_type)
        back = bnb.dequantize_4bit(packed, state)
        maxima = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset if double else state.absmax
        cases.append({"type": quant_type, "block_size": block_size, "double": double,
                      "maxima": floats(maxima), "sample": floats(back.flatten()[::37]),
                      "mean_abs": float(back.double().abs().mean())})
    return {"cases": cases, "map": floats(bnb.create_dynamic_map())}


def int8_cases():
    import bitsandbytes as bnb
    cases = []
    for scale, threshold in [(1.2, 6.0), (4.0, 6.0), (1.0, 0.0)]:
        layer = bnb.nn.Linear8bitLt(96, 20, bias=False, has_fp16_weights=False, threshold=threshold)
        layer.weight = bnb.nn.Int8Params(weights(91, 20, 96), requires_grad=False, has_fp16_weights=False)
        layer = layer.to("cpu")
        x = (inputs(92, 12, 96) * scale).half()
        activations, maxima, outliers = bnb.functional.int8_vectorwise_quant(x.clone(), threshold=threshold)
        cases.append({"scale": scale, "threshold": threshold, "weight_maxima": floats(layer.weight.SCB),
                      "weight_codes": hex_codes(layer.weight.CB.to(torch.int16) + 128), "token_maxima": floats(maxima),
                      "token_codes": hex_codes(activations.to(torch.int16) + 128),
                      "outliers": outliers.tolist() if outliers is not None else [], "output": floats(layer(x))})
    return cases


print(json.dumps({"int8": int8_cases(), "bnb": bnb_cases(), "hqq": hqq_cases(), "gptq": gptq_cases(), "awq": awq_cases()}))
