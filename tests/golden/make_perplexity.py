"""Log-perplexities of one text under each convention, by transformers alone: what perplexity.json holds.

python tests/golden/make_perplexity.py MODEL_DIR... > tests/golden/perplexity.json      (transformers 5.24.0, torch 2.11.0)
Texts: models/text/sampled_eval.txt, and its beginning dressed up as two pages of WikiText for the word convention.
"""
import json, math, pathlib, re, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = (pathlib.Path(__file__).parents[2] / "models/text/sampled_eval.txt").read_text()
A, B = TEXT[:9000].replace(", ", " , ").replace("-", " @-@ ").replace(". ", " . "), TEXT[9000:12000].replace('"', ' " ')
PAGES = [" = One = \n \n " + A + "\n = = Part = = \n ( " + A[:100] + " ) \n", " = Two = \n " + B]
SPACING = [("s '", "s'"), (" @([-,.])@ ", r"\1"), (" ([:;]) ", r"\1 "), (r" (\.) ", r"\1 "), (" (!) ", r"\1 "), (r" (\?) ", r"\1 "),
           (" (,) ", r"\1 "), (r"\(\s*([^)]*?)\s*\)", r"(\1)"), (r"\[\s*([^\]]*?)\s*\]", r"[\1]"), (r"{\s*([^}]*?)\s*}", r"{\1}"),
           (r'"\s*([^"]*?)\s*"', r'"\1"'), (r"'\s*([^']*?)\s*'", r"'\1'"), ("= = = =", "===="), ("= = =", "==="), ("= =", "=="),
           (" \u00b0 ", "\u00b0"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")]

def losses(model, ids, first):  # of tokens first.. of ids, each behind all before it
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, first - 1:-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[first:]), reduction="none")

def conventions(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer(TEXT).input_ids
    windows = lambda size, count: [ids[i * size:(i + 1) * size] for i in range(count)]
    out = {f"gptq-{n} first-{k}": torch.stack([losses(model, w, 1).mean() for w in windows(n, k)]).mean().item()
           for n, k in ((1024, 4), (2048, 2))}
    out["llamacpp-512 first-6"] = torch.cat([losses(model, w, 257) for w in windows(512, 6)]).mean().item()
    steps = [losses(model, ids[max(i - 512, 0):i + 512], min(i, 512) or 1).mean() * 512 for i in range(0, 6 * 512, 512)]
    out["hqq-1024/512 first-6"] = (sum(steps) / (6 * 512)).item()
    total, prefix = 0.0, tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    for page in PAGES:
        for pattern, new in SPACING:
            page = re.sub(pattern, new, page)
        tokens = [prefix] + tokenizer(page, add_special_tokens=False).input_ids
        for begin in range(1, len(tokens), 512):
            end = min(begin + 512, len(tokens))
            start = 0 if begin == 1 else end - 513
            total += losses(model, tokens[start:end], begin - start).sum().item()
    out["word-512"] = total / sum(len(re.split(r"\s+", page)) for page in PAGES)
    return out

print(json.dumps({pathlib.Path(folder).name: conventions(folder) for folder in sys.argv[1:]}, indent=1))
