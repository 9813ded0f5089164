# Prefill and decode speed of transformers, float32, two threads: what docs/generation.md compares `aqlm-exp perf` with.
#   python transformers_speed.py MODEL 64,512 64 5
import sys, time, json, statistics, torch
from transformers import AutoModelForCausalLM
path, pp, tg, repeats = sys.argv[1], [int(x) for x in sys.argv[2].split(",")], [int(x) for x in sys.argv[3].split(",")], int(sys.argv[4])
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
v = model.config.vocab_size
ids = torch.tensor([[(i * 7919 + 13) % v for i in range(2048)]])
out = {}
with torch.inference_mode():
    for r in range(repeats + 1):
        for n in pp:
            t = time.perf_counter(); model(ids[:, :n], use_cache=True, logits_to_keep=1); s = time.perf_counter() - t
            if r: out.setdefault(f"pp{n}", []).append(n / s)
        for n in tg:
            for depth in (1, 64):
                o = model(ids[:, :depth], use_cache=True, logits_to_keep=1)
                tok = o.logits[:, -1].argmax(-1, keepdim=True); cache = o.past_key_values
                t = time.perf_counter()
                for _ in range(n):
                    o = model(tok, past_key_values=cache, use_cache=True); tok = o.logits[:, -1].argmax(-1, keepdim=True)
                s = time.perf_counter() - t
                if r: out.setdefault(f"tg{n} @ d{depth}", []).append(n / s)
            # generate() as users call it
            g = dict(max_new_tokens=n + 1, min_new_tokens=n + 1, do_sample=False)
            t = time.perf_counter(); model.generate(ids[:, :64], attention_mask=torch.ones_like(ids[:, :64]), **g); s = time.perf_counter() - t
            if r: out.setdefault(f"generate(64 + {n})", []).append(n / s)
for k, x in out.items(): print(f"{k:24} {statistics.mean(x):10.1f} tokens/s  max {max(x):.1f}")
