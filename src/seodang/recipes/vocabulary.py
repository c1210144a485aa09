"""The tokenizer of a run that begins from nothing: the named one, or one learned from the data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seodang.data.readers import read_documents, read_rows
from seodang.data.sources import expand
from seodang.data.text_pairs import pair_texts
from seodang.models.sizes import published
from seodang.recipes.config import PretrainConfig
from seodang.recipes.plan import Machine, say
from seodang.text.styles import style_of_family
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

NAMES = {
    "bpe": "byte-level BPE", "bpe-word-end": "BPE with word ends", "wordpiece": "WordPiece vocabulary",
    "unigram": "unigram vocabulary",
}  # fmt: skip


def tokenizer_for(config: PretrainConfig, machine: Machine, *, pairs: bool) -> Tokenizer:
    """The named tokenizer, or one of the kind that the family uses, learned from the data and sized by its amount.

    pairs: the files hold rows of two texts, not documents.
    """
    if config.tokenizer is not None:
        return Tokenizer.load(Path(config.tokenizer))
    # with several processes rank 0 learns and the others wait and read
    if machine.ranks.world_size == 1:
        return _learn(config, pairs)
    folder = config.out / "tokenizer"
    if machine.ranks.speaks:
        _learn(config, pairs).save(folder)
    machine.ranks.barrier()
    return Tokenizer.load(folder)


def _learn(config: PretrainConfig, pairs: bool) -> Tokenizer:
    files = expand(config.data)
    n_bytes = sum(file.stat().st_size for file in files)
    by_data = max(512, n_bytes // 500 // 64 * 64)  # about 500 bytes of text for every entry
    sizes = published(config.model)
    vocab_size = config.vocab_size or min(sizes.vocab_size, by_data)
    kind, style = style_of_family(sizes.family)
    if not config.quiet:
        say(f"tokenizer  learning a {NAMES.get(kind, kind)} of {vocab_size:,} entries from {n_bytes / 1e6:.1f} MB")
    return train_tokenizer(_texts(files, pairs), kind=kind, style=style, vocab_size=vocab_size)


def _texts(files: list[Path], pairs: bool) -> Iterable[str]:
    if pairs:
        return (text for source, target, _ in pair_texts(read_rows(files)) for text in (source, target))
    return (document.text for document in read_documents(files))
