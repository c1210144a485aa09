"""Tokenizers travel with their models: saved, fitted to the embedding, read from GGUF and llama2.c files."""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import AutoModelForCausalLM, AutoTokenizer

from seodang.checkpoints.huggingface import load_folder, read_metadata, save_folder
from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.verify import verify
from seodang.errors import DataError
from seodang.text.tokenizer import Tokenizer
from tests.checkpoints.conftest import logits
from tests.checkpoints.files import BYTE_TOKENS, tiny, write_gguf, write_llama2c, write_llama2c_tokenizer

TEXTS = ["the theme\n", " hello  world", "서당 개 삼 년이면", "naïve 🙂 12345", "<|im_end|> is text"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


def tables() -> tuple[list[str], list[str]]:
    """A byte-level vocabulary with a few merges, special tokens first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["t h", "th e", "Ġ the", "l l", "ë °", "o Ġ"]
    return [*SPECIAL, *alphabet, *(merge.replace(" ", "") for merge in merges)], merges


def tokenizer() -> Tokenizer:
    tokens, merges = tables()
    pairs = [tuple(merge.split()) for merge in merges]
    backend = Backend(models.BPE({token: id for id, token in enumerate(tokens)}, pairs))  # type: ignore[arg-type]
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    roles = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    return Tokenizer(backend, config=roles, chat_template=TEMPLATE)


ROWS = len(tables()[0])


@pytest.mark.parametrize("family", ["gpt1", "gpt2", "llama"])
def test_transformers_loads_the_whole_folder_silently(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    model, ours = tiny(family, vocab_size=ROWS), tokenizer()
    save_folder(tmp_path, model, ours)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
        their_tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    logging.getLogger("transformers").propagate = False
    assert [record.message for record in caplog.records] == [] and list(recwarn) == []
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for text in TEXTS[:-1]:
        assert their_tokenizer(text, add_special_tokens=False)["input_ids"] == ours.encode(text)
    assert their_tokenizer.chat_template == TEMPLATE
    assert theirs.generation_config.eos_token_id == [3, 0] and theirs.generation_config.pad_token_id == 1
    assert theirs.config.eos_token_id == [3, 0] and theirs.config.bos_token_id is None
    with torch.no_grad():
        assert (theirs(torch.arange(12)[None]).logits - logits(model)).abs().max() < 1e-4


def test_the_tokenizer_comes_back(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2", vocab_size=ROWS + 7), tokenizer())  # rows to spare are fine
    _, loaded, generation = load_folder(tmp_path)
    assert loaded is not None and loaded.fingerprint() == tokenizer().fingerprint()
    assert loaded.chat_template == TEMPLATE and generation == {"eos_token_id": [3, 0], "pad_token_id": 1}
    assert read_metadata(tmp_path)["tokenizer"] == loaded.fingerprint()
    assert all(report.passed for report in verify(tmp_path))


def test_a_tokenizer_with_more_ids_than_rows(tmp_path: Path) -> None:
    small = tiny("gpt2", vocab_size=ROWS - 1)
    with pytest.raises(DataError, match="tokenizer does not fit"):
        save_folder(tmp_path / "m", small, tokenizer())
    assert not (tmp_path / "m").exists()
    save_folder(tmp_path / "m", small, None)
    tokenizer().save(tmp_path / "m")
    with pytest.raises(DataError, match=f"{ROWS} ids and the model has {ROWS - 1} embedding rows"):
        load_folder(tmp_path / "m")
    (report,) = verify(tmp_path / "m")
    assert [check.name for check in report.checks if not check.passed] == ["tokenizer", "logits"]


def test_another_tokenizer_in_the_folder_is_seen(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2", vocab_size=ROWS), tokenizer())
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (report,) = verify(tmp_path)
    assert [check.name for check in report.checks if not check.passed] == ["files", "tokenizer"]


def test_a_damaged_tokenizer_is_told(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2", vocab_size=ROWS), tokenizer())
    (tmp_path / "tokenizer.json").write_text((tmp_path / "tokenizer.json").read_text()[:-50])
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_folder(tmp_path)


def test_bpe_from_gguf(tmp_path: Path) -> None:
    tokens, merges = tables()
    write_gguf(
        tmp_path / "m.gguf",
        tiny("llama", vocab_size=ROWS),
        tokens=tokens,
        types=[3] * 4 + [1] * (ROWS - 4),
        merges=merges,
        template=TEMPLATE,
        extra={"tokenizer.ggml.eos_token_id": 3, "tokenizer.ggml.padding_token_id": 1},
    )
    loaded = load_model(tmp_path / "m.gguf")
    assert loaded.tokenizer is not None and loaded.tokenizer.chat_template == TEMPLATE
    for text in TEXTS:
        assert loaded.tokenizer.encode(text) == tokenizer().encode(text)
        assert loaded.tokenizer.decode(loaded.tokenizer.encode(text)) == text
    assert loaded.tokenizer.encode("<|im_end|>", allow_special=True) == [3]
    assert loaded.generation == {"eos_token_id": 3, "pad_token_id": 1}
    save_folder(tmp_path / "hf", loaded.model, loaded.tokenizer, generation=loaded.generation)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in TEXTS[:-1]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == loaded.tokenizer.encode(text)


PIECES = [
    ("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((token, 0.0) for token in BYTE_TOKENS),
    ("▁t", -1.0), ("he", -2.0), ("▁the", -3.0), ("▁", -4.0), ("t", -5.0), ("h", -6.0), ("e", -7.0), ("서", -8.0),
]  # fmt: skip
T, HE, THE, SPACE, LETTER_T = 259, 260, 261, 262, 263


def test_sentencepiece_from_gguf(tmp_path: Path) -> None:
    write_gguf(
        tmp_path / "m.gguf",
        tiny("llama", vocab_size=len(PIECES)),
        tokens=[piece for piece, _ in PIECES],
        types=[2, 3, 3] + [6] * 256 + [1] * 8,
        scores=[score for _, score in PIECES],
        extra={f"tokenizer.ggml.{name}_token_id": id for name, id in (("bos", 1), ("eos", 2), ("eot", 5))},
    )
    whole = load_model(tmp_path / "m.gguf")
    assert whole.generation == {"bos_token_id": 1, "eos_token_id": [5, 2]}
    loaded = whole.tokenizer
    assert loaded is not None and loaded.bos_id == 1 and loaded.eos_id == 2
    assert loaded.encode("the the") == [THE, THE]
    assert loaded.encode("at") == [SPACE, 3 + ord("a"), LETTER_T]  # a byte for what has no piece
    assert loaded.decode(loaded.encode("the 서당\n")) == "the 서당\n"


def test_sentencepiece_beside_llama2c(tmp_path: Path) -> None:
    write_llama2c(tmp_path / "m.bin", tiny("llama", vocab_size=len(PIECES)))
    assert load_model(tmp_path / "m.bin").tokenizer is None
    framed = [(piece.replace("▁", " "), score) for piece, score in PIECES]
    framed[1:3] = [("\n<s>\n", 0.0), ("\n</s>\n", 0.0)]
    write_llama2c_tokenizer(tmp_path / f"tok{len(PIECES)}.bin", framed)
    loaded = load_model(tmp_path / "m.bin").tokenizer
    assert loaded is not None and loaded.bos_id == 1 and loaded.add_bos
    assert loaded.encode("the the") == [THE, THE]
    write_llama2c_tokenizer(tmp_path / f"tok{len(PIECES)}.bin", framed[:-1])
    with pytest.raises(DataError, match="does not fit|embedding rows"):
        load_model(tmp_path / "m.bin")


def test_a_wrong_kind_of_tokenizer_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tiny("llama"), extra={"tokenizer.ggml.model": "t5"})
    assert load_model(tmp_path / "m.gguf").tokenizer is None  # no tokens at all
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("gguf.GGUFWriter.add_tokenizer_model", lambda self, _: self.add_string(
            "tokenizer.ggml.model", "t5"))  # fmt: skip
        write_gguf(tmp_path / "m.gguf", tiny("llama"), tokens=[str(i) for i in range(50)], merges=[])
    with pytest.raises(DataError, match="kind 't5'"):
        load_model(tmp_path / "m.gguf")


def test_generation_settings_of_the_parent_stay(tmp_path: Path) -> None:
    model = tiny("gpt2", vocab_size=ROWS)
    save_folder(tmp_path, model, tokenizer(), generation={"eos_token_id": 3, "top_p": 0.9})
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written == {"eos_token_id": 3, "pad_token_id": 1, "top_p": 0.9}


def test_an_old_llama_folder_has_only_its_sentencepiece_model(tmp_path: Path) -> None:
    from tests.checkpoints.test_llama2c import _message

    save_folder(tmp_path, tiny("llama", vocab_size=len(PIECES)), None)
    kinds = [2, 3, 3] + [6] * 256 + [1] * 8
    pieces = [
        _message((1, 2, piece.encode()), (2, 5, struct.pack("<f", score)), (3, 0, kind))
        for (piece, score), kind in zip(PIECES, kinds, strict=True)
    ]
    (tmp_path / "tokenizer.model").write_bytes(_message(*((1, 2, piece) for piece in pieces)))
    loaded = load_folder(tmp_path)[1]
    assert loaded is not None and loaded.encode("the the") == [THE, THE]
