"""Files → Tokenizer: Hugging Face folders, the files of GPT-1, GPT-2, RoBERTa, BERT and SentencePiece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seodang.errors import DataError
from seodang.text.styles import STYLES, frame
from seodang.text.tokenizer import Tokenizer
from seodang.text.unigram import BYTES, guard

_VOCABULARIES = ("vocab.json", "encoder.json", "encoder_bpe_40000.json")
_MERGES = ("merges.txt", "vocab.bpe", "vocab_40000.bpe")
_PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm")
_FIX = "name a folder with tokenizer.json, vocab.json + merges.txt, vocab.txt or a SentencePiece model"


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's file that `load` reads."""
    names = ("tokenizer.json", "vocab.txt", *_VOCABULARIES, *_PIECES)
    return any((folder / name).is_file() for name in names)


def load(path: Path) -> Tokenizer:
    """See `Tokenizer.load`."""
    if not path.exists():
        raise DataError(f"{path} does not exist", "no tokenizer can be read from it", _FIX)
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return _load_tokenizer_json(path / "tokenizer.json", folder)
        vocabulary = _first(folder, _VOCABULARIES)
        if vocabulary is not None:
            return _load_bpe(vocabulary, folder)
        pieces = _first(folder, _PIECES)
        if pieces is not None:
            return _load_pieces(pieces, folder)
        texts = [path / "vocab.txt"] if (path / "vocab.txt").is_file() else sorted(path.glob("*vocab.txt"))
        if len(texts) == 1:
            return _load_wordpiece(texts[0], folder)
        found = f"found {', '.join(file.name for file in texts)}: name one" if texts else "no tokenizer file in it"
        raise DataError(f"{path} is not a tokenizer", found, _FIX)
    if path.suffix in (".model", ".spm"):
        return _load_pieces(path, folder)
    if path.suffix == ".txt" and path.name not in _MERGES:
        return _load_wordpiece(path, folder)
    if path.name in _MERGES:
        vocabulary = _first(folder, _VOCABULARIES)
        if vocabulary is None:
            raise DataError(f"{path} is only half of a tokenizer", "vocab.json is not beside it", _FIX)
        return _load_bpe(vocabulary, folder)
    whole = _read_json(path)
    return _load_tokenizer_json(path, folder) if isinstance(whole.get("model"), dict) else _load_bpe(path, folder)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line} is not UTF-8", "it is not a tokenizer's file", _FIX) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is damaged", f"it is not JSON: {error.msg}", _FIX) from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a tokenizer", "it holds no JSON object", _FIX)
    return value


def _config_of(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, with what special_tokens_map.json adds to it in older folders."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            config |= {key: value for key, value in _read_json(folder / name).items() if value is not None}
    return config


def _template_of(folder: Path, config: dict[str, Any]) -> str | None:
    """The chat template: chat_template.jinja, or tokenizer_config.json's text or its list's "default"."""
    if (folder / "chat_template.jinja").is_file():
        return _read_text(folder / "chat_template.jinja")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        return named.get("default") or next(iter(named.values()), None)
    return template


def _backend_of(path: Path, text: str) -> Any:
    from tokenizers import Tokenizer as Backend

    try:
        return Backend.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"{path} is damaged", str(error).splitlines()[0], "copy or download the file again") from None


def _load_tokenizer_json(path: Path, folder: Path) -> Tokenizer:
    whole = _read_json(path)
    if (whole.get("decoder") or {}).get("type") == "Kiwi":
        raise DataError(
            f"{path} is a vocabulary of the Korean analyser Kiwi",
            "its pieces are morphemes with their word classes, which only Kiwi finds in a text",
            "take another Korean tokenizer, or train one: seodang tokenizer train --kind unigram",
        )
    backend = _backend_of(path, json.dumps(whole))
    if whole["model"].get("type") == "Unigram":
        names = [token["content"] for token in whole.get("added_tokens", ()) if token["special"]]
        guard(backend, [*names, *(BYTES if whole["model"].get("byte_fallback") else ())])
    if not backend.get_vocab_size():
        raise DataError(f"{path} is not a tokenizer", "its vocabulary is empty", _FIX)
    config = _config_of(folder) if path.name == "tokenizer.json" else {}
    if not any(role in config for role in ("bos_token", "eos_token", "unk_token")):
        config = _guessed_roles(backend) | config
    return Tokenizer(backend, config=config, chat_template=_template_of(folder, config))


def _guessed_roles(backend: Any) -> dict[str, Any]:
    """Roles of a tokenizer.json that comes alone, by the names that publishers use."""
    known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    encoder = "<mask>" in known or "[MASK]" in known
    names = {
        "bos_token": ("<s>", "<|begin_of_text|>", "<bos>"),
        "eos_token": ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"),
        "pad_token": ("<|pad|>", "<pad>", "[PAD]"),
        "unk_token": ("<|unk|>", "<unk>", "[UNK]"),
        "cls_token": ("[CLS]", *["<s>"] * encoder),
        "sep_token": ("[SEP]", *["</s>"] * encoder),
        "mask_token": ("[MASK]", "<mask>"),
    }
    found = {role: next((name for name in choices if name in known), None) for role, choices in names.items()}
    return {role: name for role, name in found.items() if name is not None}


def _load_bpe(path: Path, folder: Path) -> Tokenizer:
    """GPT-2's vocab.json + merges.txt (byte-level), or GPT-1's, whose words end in </w>."""
    vocabulary = _read_json(path)
    if not vocabulary or not all(isinstance(id, int) for id in vocabulary.values()):
        raise DataError(f"{path} is not a vocabulary", "it should map tokens to ids", _FIX)
    merges_file = _first(folder, _MERGES)
    if merges_file is None:
        raise DataError(f"{path} is only half of a tokenizer", "merges.txt (or vocab.bpe) is not beside it", _FIX)
    merges = _read_merges(merges_file, vocabulary)
    config = _config_of(folder)
    word_end = any(token.endswith("</w>") for token in vocabulary)
    if word_end:
        backend = _word_end_backend(vocabulary, merges)
    else:
        backend = _gpt2_backend(vocabulary, merges, bool(config.get("add_prefix_space")))
    if word_end:
        config.setdefault("unk_token", "<unk>")
    elif {"<s>", "</s>", "<mask>"} <= vocabulary.keys():  # RoBERTa, BART
        style = STYLES["roberta"]
        frame(backend, "roberta", "bpe", [name for name in style.first if name in vocabulary])
        config = {**style.roles, **config}
    else:  # GPT-2 has one special token, for everything
        for role in ("bos_token", "eos_token", "unk_token"):
            config.setdefault(role, "<|endoftext|>")
    return Tokenizer(backend, config=config, chat_template=_template_of(folder, config))


def _read_merges(path: Path, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    merges = []
    for row, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip() or (row == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split())
        if len(pair) != 2:
            raise DataError(f"{path}:{row} is no merge", f"{line!r} is not two tokens", "copy the file again")
        for token in (*pair, "".join(pair)):
            if token not in vocabulary:
                raise DataError(
                    f"{path}:{row} does not fit the vocabulary", f"{token!r} is not in it", "take both from one model"
                )
        merges.append(pair)
    return merges


def _gpt2_backend(vocabulary: dict[str, int], merges: list[tuple[str, str]], prefix: bool) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors

    backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _word_end_backend(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """GPT-1: BERT's basic tokenisation, lower case, </w> at the end of words (as transformers' OpenAIGPTTokenizer)."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return backend


def _load_pieces(path: Path, folder: Path) -> Tokenizer:
    """SentencePiece's .model, with what the files beside it say of the family."""
    from seodang.text.sentencepiece import read_model, tokenizer_from_pieces

    config = _config_of(folder)
    if (folder / "config.json").is_file():
        config.setdefault("model_type", _read_json(folder / "config.json").get("model_type"))
    return tokenizer_from_pieces(read_model(path), config | {"chat_template": _template_of(folder, config)})


def _load_wordpiece(path: Path, folder: Path) -> Tokenizer:
    """BERT's vocab.txt. Cased or not: by tokenizer_config.json, or else by whether the vocabulary has capitals."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    tokens = [line.removesuffix("\r") for line in _read_text(path).removesuffix("\n").split("\n")]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    if "[UNK]" not in vocabulary:
        raise DataError(f"{path} is not a WordPiece vocabulary", "[UNK] is not in it", _FIX)
    config = _config_of(folder) if path.name == "vocab.txt" else {}
    capitals = any("A" <= character <= "Z" for token in tokens if token[:1] != "[" for character in token)
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=bool(config.get("do_lower_case", not capitals)),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    for role, name in names.items():
        if name in vocabulary:
            config.setdefault(f"{role}_token", name)
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:
        ends = ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
        backend.post_processor = processors.BertProcessing(*ends)
    return Tokenizer(backend, config=config, chat_template=_template_of(folder, config))


def from_characters(vocabulary: dict[str, int], *, unknown: str, start: str | None = None) -> Tokenizer:
    """A tokenizer of single characters (character → id). Others become `unknown`, one of the entries.

    start: the entry that stands before and behind every text.
    """
    from tokenizers import Regex, decoders, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.WordLevel(vocabulary, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    config: dict[str, Any] = {}
    if start is not None:
        config = {"bos_token": start, "eos_token": start}
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", pair=f"{start} $A {start}:1 $B:1", special_tokens=[(start, vocabulary[start])]
        )
    if len(unknown) > 1:
        config["unk_token"] = unknown
    return Tokenizer(backend, config=config)
