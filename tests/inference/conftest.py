"""Small random models of every family, shared by the tests of inference."""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch

from seodang.inference.language_model import LanguageModel
from seodang.models.base import Model
from seodang.models.decoder import Decoder
from seodang.models.families import FAMILIES, build_model
from seodang.models.sizes import published
from seodang.text.tokenizer import Tokenizer
from tests.training.helpers import mini_of

ALIKE = ("mistral", "qwen2", "qwen3", "gemma2")  # decoding finds in them what it finds in llama, gpt3 and gemma3
ATTENTIVE = sorted(name for name, family in FAMILIES.items() if issubclass(family, Decoder) and name not in ALIKE)
FAMILY_NAMES = [*ATTENTIVE, "rnn", "lstm", "gru"]


def tiny(family: str, *, vocab_size: int = 96, context_length: int = 256, seed: int = 0) -> Model:
    """A random model whose scores differ enough that its greedy text does not fall into one token."""
    usual = published(mini_of(family))
    grouped = usual.n_kv_heads < usual.n_heads
    config = replace(
        usual, vocab_size=vocab_size, context_length=context_length, d_model=32, n_layers=2, n_heads=4, d_head=8,
        n_kv_heads=2 if grouped else 4, d_ff=64 if grouped else 128, tied=not grouped, window=usual.window and 9,
        init_std=0.25,
    )  # fmt: skip
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model.eval()


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    """One tiny model per family."""
    return {family: tiny(family) for family in FAMILY_NAMES}


def ragged_prompts(n: int, vocab_size: int = 96, seed: int = 1, longest: int = 20) -> list[list[int]]:
    """`n` prompts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator).tolist()
    return [torch.randint(0, vocab_size, (length,), generator=generator).tolist() for length in lengths]


SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "the cat sat on the mat and the dog sat on the log",
    "the lowest newest widest river is low, lower and wide",
    "서당에서 아이들이 글을 배운다. 고양이가 마당에 앉아 있다.",
    "where is the cat? the cat is on the mat. 고양이는 어디에 있나요?",
] * 4
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train(kind: str, folder: Path, *, vocab_size: int = 320) -> Tokenizer:
    """A small tokenizer of the library's, saved as its files are and loaded by ours."""
    if kind == "bytes":
        library = tokenizers.Tokenizer(tokenizers.models.BPE())
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "word-end":
        library = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        library.decoder = tokenizers.decoders.BPEDecoder(suffix="</w>")
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=150, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
        )
    else:
        library = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
        library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        library.decoder = tokenizers.decoders.WordPiece()
        trainer = tokenizers.trainers.WordPieceTrainer(
            vocab_size=150, special_tokens=["[UNK]", "[PAD]", "[CLS]", "[SEP]"], show_progress=False
        )
    library.train_from_iterator(TEXTS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    if kind == "bytes":
        names = {"eos_token": SPECIAL[0], "pad_token": SPECIAL[1], "tokenizer_class": "GPT2Tokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(names))
        (folder / "chat_template.jinja").write_text(CHATML)
    return Tokenizer.load(folder)


@functools.cache
def taught() -> LanguageModel:
    """A tiny model that has learned TEXTS by heart, so that its continuations mean something."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train("bytes", Path(folder))
    model = tiny("llama", vocab_size=tokenizer.vocab_size, context_length=128).train()
    with torch.no_grad():
        model.init_weights(torch.Generator().manual_seed(0))
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(0.3)
    end = tokenizer.end_of_text_id
    rows = [torch.tensor([*start, *tokenizer.encode(text), end]) for text in TEXTS[:4] for start in ([], [end])]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    targets = torch.nn.utils.rnn.pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        logits = model.logits(model(ids[:, :-1]))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    return LanguageModel(model.eval(), tokenizer)


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    """The taught model as people use it."""
    return taught()


@pytest.fixture(scope="session")
def learned() -> Model:
    """Its decoder."""
    return taught().model


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Its tokenizer: byte-level, with our special tokens and ChatML."""
    return taught().tokenizer
