"""The vocabulary each model family uses: the kind of pieces, the special tokens and their parts, what frames a text.

Torch and `tokenizers` are not imported here, so that options can name kinds and styles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from seodang.errors import UsageError, suggest

Kind = Literal["bpe", "bpe-word-end", "wordpiece", "unigram", "word", "char"]
"""How text is cut: byte-level BPE, BPE with `</w>`, WordPiece, unigram language model, words, characters."""

StyleName = Literal["gpt", "bert", "roberta", "albert", "t5", "marian"]

SENTINELS = 100
"""T5's <extra_id_n> (Raffel et al. 2020, sec. 3.1.4 and the released vocabulary)."""


@dataclass(frozen=True)
class Style:
    """Special tokens of a family's vocabularies.

    kind     what the family cuts its text into
    first    the special tokens with the lowest ids, `last` those with the highest
    roles    tokenizer_config.json's roles → special tokens
    single   what stands around one text ($A) and around two (`pair`, with $B); ":1" marks the second segment
    """

    kind: Kind
    first: tuple[str, ...]
    roles: Mapping[str, str | None]
    last: tuple[str, ...] = ()
    single: str = "$A"
    pair: str = "$A $B:1"

    @property
    def unknown(self) -> str:
        """What unknown text becomes; byte-level vocabularies never need it."""
        return self.roles["unk_token"] or ""

    def special(self, kind: Kind) -> list[str]:
        """The special tokens with the lowest ids; GPT-2's kind of vocabulary has no unknown token."""
        return [name for name in self.first if name != "<|unk|>" or kind != "bpe"]


STYLES: dict[StyleName, Style] = {
    "gpt": Style(
        "bpe",
        ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>"),
        {"bos_token": None, "eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "unk_token": "<|unk|>"},
    ),
    "bert": Style(
        "wordpiece",
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
         "mask_token": "[MASK]"},
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    ),
    "roberta": Style(
        "bpe",
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>",
         "sep_token": "</s>", "mask_token": "<mask>"},
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    ),
    "albert": Style(
        "unigram",
        ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
        {"bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "[CLS]",
         "sep_token": "[SEP]", "mask_token": "[MASK]"},
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    ),
    "t5": Style(
        "unigram",
        ("<pad>", "</s>", "<unk>"),
        {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        last=tuple(f"<extra_id_{n}>" for n in reversed(range(SENTINELS))),  # <extra_id_0> has the highest id
        single="$A </s>",
        pair="$A </s> $B </s>",
    ),
    "marian": Style(
        "bpe",
        ("</s>", "<unk>", "<pad>"),
        {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        single="$A </s>",
        pair="$A $B </s>",
    ),
}  # fmt: skip
"""`roberta` is BART's too. `marian`, after the translation models of that name, serves the original Transformer
and the recurrent encoder-decoders, and may as well have a unigram vocabulary."""

_FAMILIES: dict[StyleName, str] = {
    "gpt": "gpt1 gpt2 gpt3 gptneox llama qwen2 qwen3 gemma2 gemma3 mistral rnn lstm gru textgenrnn",
    "bert": "bert electra",
    "roberta": "roberta bart",
    "albert": "albert",
    "t5": "t5 t5v11",
    "marian": "transformer seq2seq seq2seq-bahdanau seq2seq-luong",
}

FAMILIES: dict[str, StyleName] = {family: style for style, names in _FAMILIES.items() for family in names.split()}
"""Family → style of its vocabularies."""


def style_of(name: str) -> Style:
    """The style of that name. Raises UsageError for an unknown one."""
    if name not in get_args(StyleName):
        raise UsageError(f"unknown style {name!r}", "there is no such style", suggest(name, get_args(StyleName)))
    return STYLES[name]  # type: ignore[index]


def style_of_family(family: str) -> tuple[Kind, StyleName]:
    """The kind and style of the vocabulary that a family of models is trained with. Raises UsageError for an unknown
    family."""
    if family not in FAMILIES:
        raise UsageError(f"unknown family {family!r}", "it has no vocabulary style", suggest(family, list(FAMILIES)))
    return STYLES[FAMILIES[family]].kind, FAMILIES[family]


def frame(backend: Any, style: StyleName, kind: Kind, special: Sequence[str]) -> None:
    """Declare `special` to `backend`, those it lacks with the next ids, and set what the style puts around texts."""
    from tokenizers import AddedToken, processors

    rules = STYLES[style]
    # as in RoBERTa's and ALBERT's own vocabularies, a mask swallows the space before it, which belongs to the word
    eager = rules.roles.get("mask_token") if style in ("roberta", "albert") else None
    backend.add_special_tokens([AddedToken(name, normalized=False, lstrip=name == eager) for name in special])
    if style == "gpt":
        if kind == "bpe":
            backend.post_processor = processors.ByteLevel(trim_offsets=False)
        return
    frames = {part.removesuffix(":1") for part in f"{rules.single} {rules.pair}".split()}
    ids = [(name, backend.token_to_id(name)) for name in special if name in frames]
    if style == "bert":
        backend.post_processor = processors.BertProcessing(ids[1], ids[0])
    elif style == "roberta" and kind == "bpe":
        backend.post_processor = processors.RobertaProcessing(ids[1], ids[0], add_prefix_space=False)
    else:
        backend.post_processor = processors.TemplateProcessing(
            single=rules.single, pair=rules.pair, special_tokens=ids
        )
