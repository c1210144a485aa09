from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.llama2c import read_header
from seodang.checkpoints.rotary import halves_from_pairs, pairs_from_halves
from seodang.checkpoints.weights import assemble
from seodang.errors import DataError
from seodang.models.base import Model
from seodang.text.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    read_llama2c_vocabulary,
    read_model,
)
from tests.checkpoints.conftest import cut, logits
from tests.checkpoints.files import tiny, write_llama2c, write_llama2c_tokenizer


def load(path: Path) -> Model:
    header = read_header(path)
    return assemble(header.config, header.tensors(), origin=path, owned=True)


def test_rotary_orders_by_hand() -> None:
    """Two heads of width 4: rows 0 1 2 3 hold the pairs (0, 1) and (2, 3); halves put 0 2 first, then 1 3."""
    rows = torch.arange(8.0)
    assert halves_from_pairs(rows, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    weight = torch.randn(24, 5)
    assert torch.equal(pairs_from_halves(halves_from_pairs(weight, 3), 3), weight)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_both_versions_come_in_exactly(version: int, tied: bool, tmp_path: Path) -> None:
    model = tiny("llama", tied=tied)
    write_llama2c(tmp_path / "m.bin", model, version)
    loaded = load(tmp_path / "m.bin")
    assert loaded.config == model.config
    assert torch.equal(logits(loaded), logits(model))


def test_attention_as_llama2c_computes_it(tmp_path: Path) -> None:
    """One head-pair rotation worked by hand in the original order equals ours after the reordering."""
    model = tiny("llama", n_layers=1, n_heads=2, n_kv_heads=2, d_model=64)
    write_llama2c(tmp_path / "m.bin", model)
    d_head, n_vocab = 32, 50
    floats = torch.frombuffer(bytearray((tmp_path / "m.bin").read_bytes()[28:]), dtype=torch.float32)
    start = n_vocab * 64 + 64
    wq = floats[start : start + 64 * 64].reshape(64, 64)
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    position = 3.0

    q = (wq @ x).reshape(2, d_head // 2, 2)  # head, pair, member: as run.c walks through it
    angle = position / 10000.0 ** (torch.arange(0, d_head, 2) / d_head)
    turned = torch.stack(
        (q[..., 0] * angle.cos() - q[..., 1] * angle.sin(), q[..., 0] * angle.sin() + q[..., 1] * angle.cos()), dim=-1
    ).reshape(2, d_head)

    from seodang.models.positions import rotate, rotation

    ours = (load(tmp_path / "m.bin").layers[0].attention.q.weight @ x).reshape(1, 2, 1, d_head)
    cos, sin = rotation(model.config.rope, d_head, 24, torch.tensor([position]))  # type: ignore[arg-type]
    found = pairs_from_halves(rotate(ours, cos, sin)[0, :, 0].reshape(-1), 2).reshape(2, d_head)
    assert torch.allclose(found, turned, atol=1e-5)


def test_transformers_gives_the_same_logits(tmp_path: Path) -> None:
    write_llama2c(tmp_path / "m.bin", tiny("llama", tied=False))
    loaded = load(tmp_path / "m.bin")
    save_folder(tmp_path / "hf", loaded, None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        assert (theirs(torch.arange(12)[None]).logits - logits(loaded)).abs().max() < 1e-4


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    write_llama2c(path, tiny("llama"))
    whole = path.read_bytes()
    for keep, message in ((-4, "cut short"), (1000, "cut short"), (10, "header is cut short"), (0, "header")):
        path.write_bytes(whole)
        cut(path, keep)
        with pytest.raises(DataError, match=message):
            read_header(path)
    path.write_bytes(whole + b"\0\0\0\0")
    with pytest.raises(DataError, match="too long"):
        read_header(path)
    path.write_bytes(struct.pack("<7i", 64, 96, 2, 4, 3, 50, 24) + whole[28:])
    with pytest.raises(DataError, match="not a llama2.c model"):
        read_header(path)
    path.write_bytes(struct.pack("<Ii7iB", 0x616B3432, 2, 64, 96, 2, 4, 2, 50, 24, 1).ljust(256, b"\0"))
    with pytest.raises(DataError, match="version 2"):
        read_header(path)


def test_vocabulary_file(tmp_path: Path) -> None:
    path = tmp_path / "tok6.bin"
    pieces = [("<unk>", 0.0), ("\n<s>\n", 0.0), ("\n</s>\n", 0.0), ("<0x0A>", 0.0), (" the", -1.0), ("é", -2.5)]
    write_llama2c_tokenizer(path, pieces)
    read = read_llama2c_vocabulary(path, 6)
    assert read.tokens == ["<unk>", "<s>", "</s>", "<0x0A>", "▁the", "é"]
    assert read.types == [UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL]
    assert read.scores == [0.0, 0.0, 0.0, 0.0, -1.0, -2.5]
    with pytest.raises(DataError, match="6 pieces and the model has 7"):
        read_llama2c_vocabulary(path, 7)
    cut(path, -1)
    with pytest.raises(DataError, match="piece 5"):
        read_llama2c_vocabulary(path, 6)


def _message(*fields: tuple[int, int, bytes | int]) -> bytes:
    """A protocol-buffer message of (field, wire type, value); lengths below 128 only."""
    out = b""
    for number, wire, value in fields:
        out += bytes([number << 3 | wire])
        out += bytes([value]) if isinstance(value, int) else (bytes([len(value)]) if wire == 2 else b"") + value
    return out


def test_sentencepiece_model(tmp_path: Path) -> None:
    pieces = [
        _message((1, 2, b"<unk>"), (3, 0, 2)),
        _message((1, 2, b"<s>"), (2, 5, struct.pack("<f", 0.0)), (3, 0, 3)),
        _message((1, 2, "▁a".encode()), (2, 5, struct.pack("<f", -1.5))),
    ]
    body = _message(*((1, 2, piece) for piece in pieces), (3, 2, _message((3, 0, 0))))
    (tmp_path / "t.model").write_bytes(body)
    read = read_model(tmp_path / "t.model")
    assert read.tokens == ["<unk>", "<s>", "▁a"] and read.scores == [0.0, 0.0, -1.5]
    assert read.types == [UNKNOWN, CONTROL, NORMAL] and read.add_space_prefix is False
    for data in (b"", body[:-1], b"\x0b", b"\xff" * 20, b"not a model"):
        (tmp_path / "t.model").write_bytes(data)
        with pytest.raises(DataError, match="not a SentencePiece model"):
            read_model(tmp_path / "t.model")
