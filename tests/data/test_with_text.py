"""Data and the real tokenizer and chat template together: from rows to batches and back to text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seodang.data.examples import tokenize_conversations
from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.labelled_rows import encode_examples
from seodang.data.loader import SFTLoader
from seodang.data.readers import read_rows
from seodang.data.shards import build_shards
from seodang.data.show import plain_lines, show
from seodang.data.transformations import Frame
from seodang.errors import DataError
from seodang.text.chat import chatml, render
from seodang.text.styles import StyleName
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["the cat and the hat user assistant 서당개 삼 년"] * 4, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    backend.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(chatml())
    return Tokenizer.load(folder)


def test_shards_give_the_text_back(tmp_path: Path, real: Tokenizer) -> None:
    texts = ["the cat <|endoftext|> is text", "서당개 삼 년이면\n풍월을 😀"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    made = build_shards(tmp_path / "a.jsonl", real, tmp_path / "out")
    assert made.bytes_ratio == 1.0 and made.n_bytes == sum(len(text.encode()) for text in texts)
    for i, text in enumerate(texts):
        ids = made.documents(i).tolist()
        assert ids[-1] == real.end_of_text_id and real.end_of_text_id not in ids[:-1]
        assert real.decode(ids[:-1]) == text


@pytest.mark.parametrize(
    ("style", "end"), [("bert", "[SEP]"), ("albert", "[SEP]"), ("roberta", "</s>"), ("t5", "</s>"), ("marian", "</s>")]
)
def test_every_style_of_vocabulary_builds_shards(style: StyleName, end: str, tmp_path: Path) -> None:
    texts = ["the cat [SEP] </s> and the hat", "서당개 삼 년이면"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = train_tokenizer(texts * 4, vocab_size=500, style=style)
    made = build_shards(tmp_path / "a.jsonl", tokenizer, tmp_path / "out")
    for i, text in enumerate(texts):
        assert made.documents(i).tolist() == [*tokenizer.encode(text), tokenizer.id_of(end)]
    assert made.token_bytes[tokenizer.document_end_id] == 0


def test_gpt1_s_documents_end_with_its_line_end(tmp_path: Path) -> None:
    vocabulary = {token: id for id, token in enumerate(["<unk>", "a</w>", "b</w>", "\n</w>"])}
    (tmp_path / "encoder_bpe_40000.json").write_text(json.dumps(vocabulary))
    (tmp_path / "vocab_40000.bpe").write_text("#version: 0.2\n")
    (tmp_path / "a.txt").write_text("a b\nb a\n\n")
    tokenizer = Tokenizer.load(tmp_path / "encoder_bpe_40000.json")
    assert tokenizer.end_of_text_id is None
    made = build_shards(tmp_path / "a.txt", tokenizer, tmp_path / "out")
    assert made[0 : made.n_tokens].tolist() == [1, 2, 2, 1, 3]
    (tmp_path / "encoder_bpe_40000.json").write_text(json.dumps(dict(list(vocabulary.items())[:3])))
    with pytest.raises(DataError, match="no token that ends a document"):
        build_shards(tmp_path / "a.txt", Tokenizer.load(tmp_path / "encoder_bpe_40000.json"), tmp_path / "none")


def test_exactly_answers_and_their_ends_are_learned(tmp_path: Path, real: Tokenizer) -> None:
    rows = []
    for n in range(1, 6):
        turns = [{"role": "system", "content": "be <|im_end|> brief"}] if n % 2 else []
        for i in range(n):
            turns.append({"role": "user", "content": f"질문 {i} <|im_start|>"})
            turns.append({"role": "assistant", "content": f" the 답 {i}\n"})
        rows.append({"messages": turns})
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples, _ = tokenize_conversations(read_rows(file), real, max_length=2000)
    for n, example in enumerate(examples, 1):
        answers = [f" the 답 {i}\n" for i in range(n)]
        learned = example.ids[example.mask]
        assert real.decode(learned.tolist()) == "".join(answer + "<|im_end|>" for answer in answers)
        assert example.ids.tolist() == render(real, rows[n - 1]["messages"])
        assert example.n_bytes == sum(len(answer.encode()) for answer in answers)
        assert "«" + answers[-1] + "<|im_end|>»" in "\n".join(
            plain_lines(next(show([write_one(tmp_path, rows[n - 1])], real)), True)
        )
    loader = SFTLoader(examples, tokens_per_step=2000, context_length=2000)
    (batch,) = loader.next_step()
    targets = batch.targets[batch.targets != -100].tolist()
    assert sorted(targets) == sorted(np.concatenate([example.ids[example.mask] for example in examples]).tolist())


def write_one(folder: Path, row: dict) -> Path:
    file = folder / "one.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return file


@pytest.mark.parametrize("style", ["bert", "roberta"])
def test_encoders_read_labelled_pairs_as_their_tokenizer_frames_them(style: StyleName) -> None:
    tokenizer = train_tokenizer(["the cat sat on the mat 서당개 삼 년"] * 3, style=style, vocab_size=400)
    frame = Frame.of(tokenizer)
    for texts in (("the cat",), ("the cat", "서당개 sat")):
        example = Labelled(texts, 0)
        rows = encode_examples([example], TaskSpec("a", "entail", ("x", "y")), tokenizer, frame, max_length=64)
        row = rows.rows[0]
        assert row.segments is not None
        assert (row.ids[0].tolist(), row.segments[0].tolist()) == tokenizer.encode_pair(*texts)
