from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from transformers import LlamaConfig, LlamaForCausalLM

from seodang.checkpoints.gguf import QUANTISATIONS, GGUFFile
from seodang.checkpoints.gguf import write_gguf as export
from seodang.checkpoints.weights import assemble
from seodang.errors import DataError, SeodangError
from seodang.models.base import Model
from seodang.models.config import RoPE
from seodang.models.positions import rotary_frequencies
from tests.checkpoints.conftest import cut, logits
from tests.checkpoints.files import tiny, write_gguf


def load(path: Path) -> Model:
    file = GGUFFile(path)
    return assemble(file.config, file.tensors(), origin=path, owned=True)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_float32_comes_in_exactly(family: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(family, tied=tied)
    write_gguf(tmp_path / "m.gguf", model)
    loaded = load(tmp_path / "m.gguf")
    assert loaded.config == model.config
    assert torch.equal(logits(loaded), logits(model))


def test_biases_are_turned_with_their_rows(tmp_path: Path) -> None:
    model = tiny("llama", attention_bias=True, mlp_bias=True)
    write_gguf(tmp_path / "m.gguf", model)
    assert torch.equal(logits(load(tmp_path / "m.gguf")), logits(model))


def test_a_head_that_repeats_the_embedding_is_tied(tmp_path: Path) -> None:
    model = tiny("gpt2", tied=False)
    model.head.weight.data.copy_(model.embed.weight.data)  # type: ignore[union-attr]
    write_gguf(tmp_path / "m.gguf", model)
    assert GGUFFile(tmp_path / "m.gguf").config.tied


@pytest.mark.parametrize("kind", [name for name in QUANTISATIONS if not name.endswith("K") and name != "F32"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_quantised_blocks(family: str, kind: str, tmp_path: Path) -> None:
    """Every matrix is the library's own de-quantisation of what was stored, and near the original."""
    model = tiny(family)
    stored = write_gguf(tmp_path / "m.gguf", model, Kind[kind])
    loaded = load(tmp_path / "m.gguf").state_dict()
    for name, value in stored.items():
        if value.ndim == 2:
            expected = dequantize(quantize(value, Kind[kind]), Kind[kind])
            step = np.abs(value).max() / {"F16": 1000, "BF16": 100, "Q8_0": 100}.get(kind, 7)
            assert np.abs(loaded[name].numpy() - value).max() <= step
            assert np.array_equal(loaded[name].numpy(), expected)
        else:
            assert np.array_equal(loaded[name].numpy(), value)


def _blocks(kind: str, rows: int, columns: int) -> np.ndarray:
    """Random whole blocks of a K-quantisation with sane half-precision scales."""
    block, size = GGML_QUANT_SIZES[Kind[kind]]
    generator = np.random.default_rng(5)
    raw = generator.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    place = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[kind]
    for offset in place:
        raw[:, :, offset : offset + 2] = scale
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("kind", [name for name in QUANTISATIONS if name.endswith("K")])
def test_k_quantisations(kind: str, tmp_path: Path) -> None:
    model = tiny("gpt2", d_model=256, n_layers=1, d_ff=256)
    path = tmp_path / "m.gguf"
    original = GGUFWriter.add_tensor
    raw = _blocks(kind, 256, 256)

    def add(self: GGUFWriter, name: str, tensor: np.ndarray, **options: Any) -> None:
        if name == "blk.0.ffn_up.weight":
            original(self, name, raw, raw_dtype=Kind[kind])
        else:
            original(self, name, tensor, **options)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(GGUFWriter, "add_tensor", add)
        write_gguf(path, model)
    loaded = load(path)
    found = loaded.layers[0].mlp.up.weight.detach().numpy()
    assert found.shape == (256, 256) and 0.001 < np.abs(found).std() < 10
    assert np.array_equal(found, dequantize(raw, Kind[kind]))
    assert torch.isfinite(logits(loaded)).all()


def test_linear_and_yarn_scaling(tmp_path: Path) -> None:
    write_gguf(
        tmp_path / "linear.gguf",
        tiny("llama"),
        extra={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
    )
    assert GGUFFile(tmp_path / "linear.gguf").config.rope == RoPE(scaling="linear", factor=4.0)
    write_gguf(
        tmp_path / "yarn.gguf",
        tiny("llama"),
        extra={
            "llama.rope.scaling.type": "yarn",
            "llama.rope.scaling.factor": 4.0,
            "llama.rope.scaling.original_context_length": 8,
        },
    )
    rope = GGUFFile(tmp_path / "yarn.gguf").config.rope
    assert rope == RoPE(scaling="yarn", factor=4.0, original_context=8)
    write_gguf(tmp_path / "other.gguf", tiny("llama"), extra={"llama.rope.scaling.type": "spiral"})
    with pytest.raises(DataError, match="spiral"):
        GGUFFile(tmp_path / "other.gguf")


def _table(model: Model, rope: RoPE) -> np.ndarray:
    """What llama.cpp's converter writes: plain frequencies over scaled ones."""
    plain, _ = rotary_frequencies(RoPE(theta=rope.theta), model.config.d_head, 24, 0)
    scaled, _ = rotary_frequencies(rope, model.config.d_head, 24, 0)
    return (plain / scaled).numpy()


def test_llama3_bands_are_recognised_in_their_table(tmp_path: Path) -> None:
    rope = RoPE(theta=500000.0, scaling="llama3", factor=32.0, original_context=8192)
    model = tiny("llama", rope=rope)
    write_gguf(tmp_path / "m.gguf", model, rope_freqs=_table(model, rope))
    loaded = load(tmp_path / "m.gguf")
    assert loaded.config.rope == rope
    assert torch.equal(logits(loaded), logits(model))


def test_any_other_table_is_kept(tmp_path: Path) -> None:
    rope = RoPE(scaling="llama3", factor=8.0, original_context=16)
    model = tiny("llama", rope=rope)
    write_gguf(tmp_path / "m.gguf", model, rope_freqs=_table(model, rope))
    loaded = load(tmp_path / "m.gguf")
    assert loaded.config.rope is not None and loaded.config.rope.scaling == "longrope"
    assert (logits(loaded) - logits(model)).abs().max() < 1e-4


def test_against_transformers_reader(tmp_path: Path) -> None:
    """Its own code turns the same file into its own model."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = tiny("llama", rope=RoPE(theta=777.0))
    path = tmp_path / "m.gguf"
    write_gguf(path, model, Kind.Q8_0)
    values = load_gguf_checkpoint(str(path))["config"]
    values.pop("model_type")
    values |= {"vocab_size": 50, "tie_word_embeddings": True}
    theirs = LlamaForCausalLM(LlamaConfig(**values)).eval()
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=theirs)["tensors"]
    theirs.load_state_dict(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]})
    with torch.no_grad():
        expected = theirs(torch.arange(12)[None]).logits
    assert (logits(load(path)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.05, 0.2, 0.9, 0.9999])
def test_a_file_cut_short(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, tiny("llama"), tokens=[f"t{i}" for i in range(50)], merges=["t 0"])
    cut(path, int(share * path.stat().st_size))
    with pytest.raises(DataError, match="not a whole GGUF file") as caught:
        load(path)
    assert caught.value.exit_code == 3


def test_not_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("once upon a time " * 100)
    with pytest.raises(DataError, match="not a whole GGUF file"):
        GGUFFile(tmp_path / "m.gguf")


def test_token_count_must_be_the_embeddings(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tiny("llama"), tokens=["a", "b"], merges=["a b"])
    with pytest.raises(DataError, match="2 tokens and the model has 50 embedding rows"):
        GGUFFile(tmp_path / "m.gguf")


def test_other_architectures_and_parts_are_named(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.add_context_length(5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(DataError, match="architecture 'mamba'"):
        GGUFFile(tmp_path / "m.gguf")
    for key, value, message in (
        ("llama.expert_count", 8, "mixture of experts"),
        ("llama.attention.key_length", 32, "part of each head"),
    ):
        write_gguf(tmp_path / "m.gguf", tiny("llama"), extra={key: value})
        with pytest.raises(DataError, match=message):
            GGUFFile(tmp_path / "m.gguf")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    original = GGUFWriter.add_tensor

    def skip(self: GGUFWriter, name: str, *arguments: Any, **options: Any) -> None:
        if name != "blk.1.ffn_gate.weight":
            original(self, name, *arguments, **options)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(GGUFWriter, "add_tensor", skip)
        write_gguf(tmp_path / "m.gguf", tiny("llama"))
    with pytest.raises(DataError, match=r"lacks layers\.1\.mlp\.gate\.weight"):
        load(tmp_path / "m.gguf")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "m.gguf", tiny("llama"))
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "gguf":
            raise ImportError("no gguf")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SeodangError, match="not installed") as caught:
        GGUFFile(tmp_path / "m.gguf")
    assert caught.value.fix == "pip install gguf"


@pytest.mark.parametrize(
    ("family", "dropped"),
    [
        ("llama", ("vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count")),
        ("qwen2", ("vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count")),
        ("qwen3", ("vocab_size", "rope.dimension_count")),
        ("gemma2", ("vocab_size", "rope.dimension_count", "rope.freq_base")),
        ("gemma3", ("vocab_size", "rope.dimension_count", "rope.freq_base", "rope.freq_base_swa")),
        ("gpt2", ("vocab_size", "attention.head_count_kv", "attention.key_length", "attention.value_length")),
    ],
)
def test_keys_that_llama_cpps_converter_leaves_out(family: str, dropped: tuple[str, ...], tmp_path: Path) -> None:
    model = tiny(family, **({"rope": RoPE()} if family == "gemma2" else {}))
    original = GGUFWriter.add_key_value

    def add(self: GGUFWriter, key: str, *arguments: Any) -> None:
        if key.partition(".")[2] not in dropped or not key.startswith(family):
            original(self, key, *arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(GGUFWriter, "add_key_value", add)
        monkeypatch.setattr("seodang.checkpoints.gguf.writer._compare", lambda *_: (0.0, ""))
        export(tmp_path / "m.gguf", model, None, "f32")
    assert GGUFFile(tmp_path / "m.gguf").metadata.setting("vocab_size") is None
    assert load(tmp_path / "m.gguf").config == model.config
