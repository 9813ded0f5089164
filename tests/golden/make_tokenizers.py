#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/: small tokenizer.json files of every kind that is read, and what Hugging Face's
`tokenizers` makes of hard strings with each.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.1 protobuf
    /tmp/v/bin/python tests/golden/make_tokenizers.py

Everything here, the training text included, was written for this project.
"""
import base64
import json
import pathlib
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parent / "tokenizers"
SPACE = "\u2581"

CORPUS = """
The river ran past the old mill and on to the sea. It's what we'll remember; they've said so, and I'm sure you'd agree.
She sold 1234 apples for 56.78 in 2024, he bought 90 more. Isn't that too many? "Yes," he said, "but they're good!"
def add(first, second):
    return first + second  # plain
for (int i = 0; i < 10; ++i) { total += values[i]; }
if (x == y) && !(a != b) -> "ok"; path/to/file.txt https://example.org/?q=1&r=2
Der Fluss floss an der alten Muehle vorbei. Über die Brücke ging ein größerer Mann, süß und müde.
La rivière coule près du vieux moulin. Ça va très bien, n'est-ce pas ? L'été, où êtes-vous ?
El río corría junto al molino. ¿Qué pasó? Mañana será otro día, señor.
Река текла мимо старой мельницы. Привет, мир! Как дела?
Ο ποταμός κυλούσε δίπλα στον μύλο. Καλημέρα κόσμε.
مرحبا بالعالم. كيف حالك اليوم؟ النهر يجري قرب الطاحونة.
שלום עולם. הנהר זרם ליד הטחנה.
नमस्ते दुनिया। नदी पुरानी चक्की के पास बहती थी। क्या हाल है?
你好，世界！今天天气很好，我们去河边走走吧。河水流过老磨坊。
こんにちは、世界。川は古い水車小屋のそばを流れていた。カタカナも。
안녕하세요 세계. 강물이 오래된 방앗간을 지나 흘렀다.
สวัสดีชาวโลก แม่น้ำไหลผ่านโรงสีเก่า
😀 😃 👩‍👩‍👧 🇩🇪 ❤️ ✨ emoji everywhere 👍🏽
"""
LINES = [line for line in CORPUS.split("\n") if line] * 4

# Hard strings: scripts, joiners, combining marks, code, line ends, NUL, long runs, specials glued to text.
STRINGS = [
    "", " ", "  ", "a", "Hello world!", " Hello  world ", "The river ran past the old mill.", "It's we'll I'M DON'T they'Ve",
    "'\u017f '\u017ft x'\u017f", "1234567 3.14 x86_64 \u0661\u0662\u0663 \u2167 \u00bd \u00b2", "a\nb\n\nc\n\n\n d", "a\r\nb\r\n\r\nc\rd", "\t\ttabs\tand  spaces \t ",
    "\n", "\n\n", "\r\n", " \n \n ", "end of line   \n   next", "x\u00a0y\u2003z\u3000w\u1680v\u180eu\u200bt\u2028s\u0085r", "\x00", "a\x00b\x00\x00c", "\x01\x02\x7f\x1b[0m",
    "caf\u00e9 cafe\u0301 \u212b \u00c5 A\u030a", "e\u0301\u0323 e\u0323\u0301 q\u0307\u0323", "\u1100\u1161\u11a8 \uac01 \ud55c\uad6d\uc5b4", "\ufb01 \ufb06 \u2460 \uff21\uff22\uff23 \u33a2 \u2126",
    "\u0130stanbul \u0131 \u00df \u1e9e \u01c5 \u03a3\u03c3\u03c2", "Za\u0301\u0317\u0316\u0315l\u0336g\u0321o\u0322", "\u0301start", "\u093f\u0902",
    "مرحبا بالعالم", "السَّلامُ عَلَيْكُم ١٢٣", "שָׁלוֹם עולם", "नमस्ते दुनिया क्षत्रिय", "你好，世界！今天天气真不错", "こんにちは世界、カタカナ。", "안녕하세요 세계", "สวัสดีชาวโลก", "Привет, мир! Ёлка",
    "ελληνικά Ὀδυσσεύς", "\U0001d54f\U00020000\U0001f600", "😀", "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️", "a😀b👍🏽c", "\ufeffbom", "\ufffd \ufffe \U0010ffff", "def f(x):\n    return x+1  # no\n",
    "for(int i=0;i<10;++i){a[i]&=~b;}", "path/to/file.txt https://example.org/?q=1&r=2#x", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n",
    " <|im_start|> x <|im_end|> ", "<|im_start|", "<s>text</s>", "<s> text </s>", "x<s>y</s>z<s>", "</s></s>", "[MASK]mask [MASK] ma[MASK]sk", "  [MASK]  ", "Word words sword Word.", "W\u00d6RD w\u00f6rd WORD",
    "[pad]\n[pad] [PAD]", "<0x41><0x0A>", "<0x4", "<unk>", "\u2581", "\u2581\u2581a \u2581b", "a " + SPACE + " b", " " * 40 + "x", "a" * 300, "ab" * 150, "\n" * 50, "=" * 70, "-" * 33 + "\n",
    "\u00e9" * 60, "\u4e00" * 70, "aaaaaaab" * 20 + " end", "1" * 40, "MiXeD CaSe ANd cAMELCaseWords snake_case_words", "tail   ", "   head", "a.b,c;d:e!f?g", "\u201cquotes\u201d \u2018single\u2019 \u2026 \u2014 dash",
    "$100 \u20ac200 \u00a3300 50% \u00b15", "\u0600\u0601 \u200d\u200c\u200d", "x\u0308\u0308\u0308 \u0308", "\u3042\u3099 \u304c", "tab\there\x0bvt\x0cff", "\ue000\uf8ff", "don\u2019t can\u2019t", "a  b   c    d     e",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def special(*names, **flags):
    return [AddedToken(name, special=True, normalized=False, **flags) for name in names]


def byte_level(pre, normalizer=None, vocab=700, specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>")):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def split_then_bytes(*patterns):
    return pre_tokenizers.Sequence([*map(split, patterns), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def edited(tokenizer, edit):
    """The tokenizer after a change to its JSON."""
    data = json.loads(tokenizer.to_str())
    edit(data)
    return Tokenizer.from_str(json.dumps(data))


def llama3():
    tokenizer = byte_level(split_then_bytes(LLAMA3), specials=())

    def edit(data):
        data["model"]["ignore_merges"] = True
        vocab = data["model"]["vocab"]
        for word in ("\u0120everywhere", "Hello", "unreachable", "\u0120world"):  # found whole, though no merges lead there
            vocab.setdefault(word, len(vocab))
    tokenizer = edited(tokenizer, edit)
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    return tokenizer


def sentencepiece_bpe(vocab=900):
    """A BPE vocabulary over text with U+2581, laid out as Llama's: unk, specials, 256 bytes, pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=vocab, show_progress=False))
    data = json.loads(tokenizer.to_str())
    pieces = sorted(data["model"]["vocab"], key=data["model"]["vocab"].get)
    rare = {"\u0e1a", "\U0001f1e9", "\u05d8", "\u017f"}  # leave some code points to the bytes
    pieces = [p for p in pieces if not any(c in p for c in rare)]
    merges = [m for m in data["model"]["merges"] if all(not any(c in p for c in rare) for p in m)]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    return {name: index for index, name in enumerate(names)}, [tuple(m) for m in merges]


def llama2():
    vocab, merges = sentencepiece_bpe()
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    return tokenizer


def mistral():
    tokenizer = llama2()
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def gemma():
    tokenizer = llama2()
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n", "\n\n\n", SPACE * 2, SPACE * 4, "\t\t")])
    return tokenizer


def without_bytes():
    """Unknown code points become <unk>, one each."""
    vocab, merges = sentencepiece_bpe(400)
    vocab = {name: index for index, name in enumerate(n for n in vocab if not n.startswith("<0x"))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer.add_special_tokens(special("<s>", "</s>"))
    return tokenizer


def suffixed():
    """Word-internal marks of older BPE files."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(left=True, right=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated"),
                                                       pre_tokenizers.Digits(individual_digits=True)])
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=600, show_progress=False, special_tokens=["[UNK]"], end_of_word_suffix="</w>"))
    return tokenizer


def charsmap():
    """A small character map compiled by SentencePiece from a few rules."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    with tempfile.TemporaryDirectory() as folder:
        rules = {"\uff21": "A", "\uff22": "B", "\ufb01": "fi", "e\u0301": "\u00e9", "\u3000": " ", "\t": " ", "\n": " ", "\u2460": "1", "\u200d": "", "\u304b\u3099": "\u304c"}
        rule_file = pathlib.Path(folder) / "rules.tsv"
        rule_file.write_text("".join(" ".join(f"{ord(c):X}" for c in key) + "\t" + " ".join(f"{ord(c):X}" for c in value) + "\n"
                                     for key, value in rules.items()), encoding="utf-8")
        text = pathlib.Path(folder) / "corpus.txt"
        text.write_text(CORPUS, encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=folder + "/m", vocab_size=320, hard_vocab_limit=False,
                                                 normalization_rule_tsv=str(rule_file), minloglevel=2)
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(pathlib.Path(folder, "m.model").read_bytes())
        return bytes(proto.normalizer_spec.precompiled_charsmap)


def unigram(byte_fallback):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(LINES, trainers.UnigramTrainer(vocab_size=500, show_progress=False, unk_token="<unk>",
                                                                 special_tokens=["<unk>", "<s>", "</s>"]))

    def edit(data):
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] != "<unk>"]
        if byte_fallback:
            data["model"]["byte_fallback"] = True
            data["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0 - byte / 1000] for byte in range(256)]
            data["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}]}
        else:
            steps = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap()).decode()},
                     {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
            data["normalizer"] = {"type": "Sequence", "normalizers": steps}
            data["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": True}
    return edited(tokenizer, edit)


def added_flags():
    tokenizer = byte_level(split_then_bytes(QWEN), normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]), specials=("<|endoftext|>",))
    tokenizer.add_tokens([
        AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False, special=True),
        AddedToken("word", single_word=True, normalized=True),
        AddedToken("W\u00f6rds", normalized=True),
        AddedToken("[pad]", rstrip=True, normalized=False),
        AddedToken("sw", normalized=False),
        AddedToken("sword", normalized=False, single_word=True),
        AddedToken("<s>", lstrip=True, normalized=False, special=True),
        AddedToken("</s>", rstrip=True, normalized=False, special=True),
        AddedToken("caf\u00e9", normalized=False),
        AddedToken("\u4f60\u597d", normalized=False),
        AddedToken("  ", normalized=False),
    ])
    return tokenizer


def old_files():
    """The key styles of older files: merges as strings, Metaspace with add_prefix_space."""
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))

    def edit(data):
        data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return edited(tokenizer, edit), edit


def deepseek():
    return byte_level(split_then_bytes(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u3040-\u30ff\uac00-\ud7a3]+", r"\p{N}"))


def behaviors():
    """Every way of splitting, in one sequence."""
    steps = [pre_tokenizers.Split(";", "removed"), pre_tokenizers.Split(Regex(r"\d+"), "merged_with_previous"), pre_tokenizers.Split(Regex(r"[!?]"), "contiguous"),
             pre_tokenizers.Split(Regex(r"_"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\S+"), "isolated", invert=True),
             pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.CharDelimiterSplit("|"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    return byte_level(pre_tokenizers.Sequence(steps))


def whitespace():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]))


def main():
    OUT.mkdir(exist_ok=True)
    old, old_edit = old_files()
    kinds = {
        "gpt2": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "old_merges": old,
        "qwen2": byte_level(split_then_bytes(QWEN), normalizers.NFC()),
        "llama3": llama3(),
        "o200k": byte_level(split_then_bytes(O200K)),
        "deepseek": deepseek(),
        "behaviors": behaviors(),
        "whitespace": whitespace(),
        "added_flags": added_flags(),
        "llama2": llama2(),
        "mistral": mistral(),
        "gemma": gemma(),
        "without_bytes": without_bytes(),
        "suffixed": suffixed(),
        "unigram": unigram(False),
        "unigram_bytes": unigram(True),
    }
    (OUT / "strings.json").write_text(json.dumps(STRINGS), encoding="utf-8")
    for name, tokenizer in kinds.items():
        data = json.loads(tokenizer.to_str())
        if name == "old_merges":
            old_edit(data)
        (OUT / f"{name}.tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        cases = []
        for text in STRINGS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            framed = tokenizer.encode(text, add_special_tokens=True).ids
            cases.append([ids, framed, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
        (OUT / f"{name}.golden.json").write_text(json.dumps(cases, separators=(",", ":")), encoding="utf-8")
        print(f"{name}: {tokenizer.get_vocab_size()} tokens, {sum(len(c[0]) for c in cases)} ids of {len(STRINGS)} strings")


if __name__ == "__main__":
    main()
