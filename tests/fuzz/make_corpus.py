#!/usr/bin/env python3
"""Writes the seed inputs under tests/fuzz/corpus/: small, one feature or one fault each. Plain Python, no packages."""
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def save(target, inputs):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    print(target, len(inputs))


def container(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def safetensors():
    two = {"a": tensor("F32", [2], 0, 8), "b": tensor("BF16", [2, 2], 8, 16)}
    sizes = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
             "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
    inputs = {f"dtype_{name}": container({"a": tensor(name, [8], 0, bits)}, bytes(bits)) for name, bits in sizes.items()}
    inputs |= {
        "empty": b"", "short": b"1234", "no_tensors": container({}), "two": container(two, bytes(16)), "metadata": container({"__metadata__": {"format": "pt"}, **two}, bytes(16)),
        "padded": container(json.dumps(two).encode() + b"   ", bytes(16)), "scalar": container({"a": tensor("F32", [], 0, 4)}, bytes(4)),
        "zero": container({"a": tensor("F32", [0, 5], 0, 0)}), "large_prefix": b"\xff" * 8 + b"{}", "long_prefix": struct.pack("<Q", 3) + b"{}",
        "gap": container({"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, bytes(3)), "overlap": container({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, bytes(3)),
        "trailing": container({"a": tensor("U8", [1], 0, 1)}, bytes(9)), "wrap": container({"a": tensor("F32", [1 << 32, 1 << 32], 0, 0)}),
        "backwards": container({"a": tensor("U8", [1], 1, 0)}, bytes(1)), "negative": container({"a": tensor("U8", [-1], 0, 1)}, bytes(1)),
        "fraction": container({"a": tensor("U8", [1.5], 0, 1)}, bytes(1)), "duplicate": container(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
        "deep": container(b'{"a":' + b"[" * 20 + b"]" * 20 + b"}"), "nan": container(b'{"a":NaN}'), "bom": container(b"\xef\xbb\xbf{}"), "utf8": container(b'{"\xff":1}'),
        "name": container({"a/../b\n": tensor("U8", [0], 0, 0)}), "extra": container({"a": tensor("U8", [0], 0, 0, more=1)}),
    }
    save("safetensors", inputs)


def index():
    good = {"metadata": {"total_size": 4}, "weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}
    inputs = {"good": good, "no_metadata": {"weight_map": good["weight_map"]}, "float_size": {**good, "metadata": {"total_size": 4.0}}, "lie": {**good, "metadata": {"total_size": 5}},
              "empty_map": {"weight_map": {}}, "list": [], "missing": {}, "number": {"weight_map": {"a": 1}}, "one": {"weight_map": {"a": "s1.safetensors"}},
              "crossed": {"weight_map": {"a": "s2.safetensors", "b": "s1.safetensors"}}, "absent": {"weight_map": {"a": "s3.safetensors"}}}
    for number, path in enumerate(["../s1.safetensors", "/etc/passwd", "..", ".", "", "a\0b", "a\\b", "model.safetensors.index.json"]):
        inputs[f"path{number}"] = {"weight_map": {"a": path, "b": "s2.safetensors"}}
    texts = {name: json.dumps(value) for name, value in inputs.items()}
    texts |= {"nothing": "", "open": "{", "twice": '{"weight_map":{"a":"s1.safetensors","a":"s2.safetensors"}}'}
    save("safetensors_index", texts)


def model_config():
    base = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 1e6, "torch_dtype": "bfloat16", "tie_word_embeddings": True, "eos_token_id": [1, 2], "bos_token_id": 0}
    rope = lambda **keys: {**base, "rope_parameters": keys}
    inputs = {
        "qwen2": base, "windows": {**base, "sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1}, "layer_types": {**base, "sliding_window": 8, "use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]},
        "llama": {**base, "model_type": "llama", "attention_bias": True, "mlp_bias": True}, "mistral": {**base, "model_type": "mistral", "sliding_window": None}, "qwen3": {**base, "model_type": "qwen3", "head_dim": 16},
        "linear": rope(rope_type="linear", factor=2.0), "dynamic": rope(rope_type="dynamic", factor=2.0, rope_theta=1e4), "yarn": rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1, truncate=False),
        "llama3": rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64), "longrope": rope(rope_type="longrope", short_factor=[1.0] * 4, long_factor=[2.0] * 4),
        "old_rope": {**base, "rope_scaling": {"type": "linear", "factor": 2}}, "aqlm": {**base, "quantization_config": {"quant_method": "aqlm", "num_codebooks": 2, "nbits_per_codebook": 8, "in_group_size": 8, "out_group_size": 1, "linear_weights_not_to_quantize": ["lm_head.weight"]}},
        "mixtral": {**base, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
        "qwen2_moe": {**base, "model_type": "qwen2_moe", "num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 16, "mlp_only_layers": [0], "decoder_sparse_step": 2, "norm_topk_prob": True},
        "phi3": {**base, "model_type": "phi3", "partial_rotary_factor": 0.5, "original_max_position_embeddings": 16},
        "gemma2": {**base, "model_type": "gemma2", "head_dim": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh"},
        "gptq_v2": {**base, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": True, "checkpoint_format": "gptq_v2"}},
        "awq": {**base, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}},
        "hqq": {**base, "quantization_config": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 3, "group_size": 64, "axis": 0, "view_as_float": False}}}},
        "own": {**base, "quantization_config": {"quant_method": "aqlm-exp", "version": 1, "linears": {"model.layers.0.mlp.up_proj": {"kind": "additive", "num_codebooks": 2, "nbits_per_codebook": 8, "in_group_size": 8, "out_group_size": 1}, "model.layers.0.mlp.down_proj": {"kind": "scalar", "method": "gptq", "nbits": 4, "group_size": 8, "axis": 1, "symmetric": False, "integer_zero_points": True}}}},
        "gptq": {**base, "quantization_config": {"quant_method": "gptq"}}, "unknown": {**base, "model_type": "qwen9"}, "zero": {**base, "hidden_size": 0}, "heads": {**base, "num_attention_heads": 5}, "huge": {**base, "vocab_size": 1 << 40},
        "string": {**base, "hidden_size": "32"}, "missing": {"model_type": "qwen2"}, "auto_map": {**base, "auto_map": {"AutoConfig": "x.py"}},
    }
    texts = {name: json.dumps(value) for name, value in inputs.items()}
    texts |= {"empty": "", "twice": '{"model_type":"qwen2","model_type":"llama"}', "deep": "[" * 200}
    save("model_config", texts)


def tokenizers():
    space = "\u2581"
    letters = "abcdefgh .!1"
    byte_vocab = {}
    for letter in "abcdefgh.!1\u0120\u010a":
        byte_vocab[letter] = len(byte_vocab)
    merges = [["a", "b"], ["c", "d"], ["ab", "cd"], ["\u0120", "a"], ["\u0120a", "b"]]
    for left, right in merges:
        byte_vocab.setdefault(left + right, len(byte_vocab))
    bpe = {"type": "BPE", "vocab": byte_vocab, "merges": merges}
    added = [{"id": len(byte_vocab), "content": "<s>", "special": True, "lstrip": True, "rstrip": True}, {"id": len(byte_vocab) + 1, "content": "word", "single_word": True, "normalized": True}]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    split = {"type": "Split", "pattern": {"Regex": r"(?i:'s)|\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False}
    sp_vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{b:02X}>": 3 + b for b in range(256)}
    for piece in [space, "a", "b", "c", space + "a", "ab", space + "ab"]:
        sp_vocab.setdefault(piece, len(sp_vocab))
    sp = {"type": "BPE", "vocab": sp_vocab, "merges": [[space, "a"], ["a", "b"], [space, "ab"], [space + "a", "b"]], "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    uni = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]] + [[p, -float(i) - 1] for i, p in enumerate([space, "a", "b", "ab", space + "ab", "abc", "c"])]}
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    kinds = {
        "gpt2": {"model": bpe, "pre_tokenizer": byte_level, "decoder": {"type": "ByteLevel"}, "added_tokens": added},
        "qwen": {"model": bpe, "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}, "decoder": {"type": "ByteLevel"}},
        "ignore_merges": {"model": {**bpe, "ignore_merges": True}, "pre_tokenizer": {**byte_level, "add_prefix_space": True}},
        "old_merges": {"model": {**bpe, "merges": [" ".join(m) for m in merges]}},
        "llama": {"model": sp, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": space}, {"type": "Replace", "pattern": {"String": " "}, "content": space}]},
                  "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": space}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}, "post_processor": template},
        "mistral": {"model": sp, "pre_tokenizer": {"type": "Metaspace", "replacement": space, "prepend_scheme": "first", "split": False}, "post_processor": template},
        "unigram": {"model": uni, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}, "pre_tokenizer": {"type": "Metaspace", "replacement": space, "prepend_scheme": "always"}, "decoder": {"type": "Metaspace", "replacement": space, "add_prefix_space": True}},
        "affixes": {"model": {"type": "BPE", "vocab": {"a": 0, "##b": 1, "ab": 2, "b</w>": 3, "u": 4}, "merges": [["a", "##b"]], "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "unk_token": "u"}},
        "steps": {"model": bpe, "normalizer": {"type": "Sequence", "normalizers": [{"type": t} for t in ("NFKD", "StripAccents", "Lowercase", "NFKC")] + [{"type": "Strip", "strip_left": True, "strip_right": True}]},
                  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "MergedWithNext"}, {"type": "Whitespace"}, {"type": "CharDelimiterSplit", "delimiter": "b"}]}},
        "evil_regex": {"model": bpe, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed"}},
        "evil_replace": {"model": bpe, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}] * 6}},
        "bad_merge": {"model": {**bpe, "merges": [["a", "zz"]]}}, "bad_byte": {"model": {**sp, "vocab": {**sp_vocab, "<0x-1>": 900}}}, "empty_added": {"model": bpe, "added_tokens": [{"id": 40, "content": ""}]},
        "sparse": {"model": {**bpe, "vocab": {**byte_vocab, "zz": 1 << 23}}}, "bad_table": {"model": uni, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}},
        "roberta": {"model": bpe, "post_processor": {"type": "Sequence", "processors": [{"type": "RobertaProcessing", "sep": ["a", 0], "cls": ["b", 1]}, {"type": "ByteLevel"}]}},
    }
    texts = {name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in kinds.items()}
    save("tokenizer_load", texts | {"empty": "", "deep": "[" * 100, "twice": '{"model":1,"model":2}'})
    text = "abcd ab <s> word 'S caf\u00e9 e\u0301 \u4f60\u597d 1234!!\r\n\n  a" + "a" * 50
    save("tokenizer_encode", {name: value.encode() + b"\0" + text.encode() for name, value in texts.items()})


safetensors()
index()
model_config()
tokenizers()
