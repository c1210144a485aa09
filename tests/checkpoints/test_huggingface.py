from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from seodang.checkpoints import huggingface
from seodang.checkpoints.huggingface import load_folder, read_metadata, save_folder
from seodang.errors import DataError, DivergedError, FitError, UsageError
from seodang.files import check_manifest
from seodang.models.base import Model
from seodang.models.config import ModelConfig
from tests.checkpoints.conftest import cut, logits
from tests.checkpoints.files import DECODERS, tiny


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_bit_for_bit(family: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(family, tied=tied)
    save_folder(tmp_path / "model", model, None)
    loaded, tokenizer, _ = load_folder(tmp_path / "model")
    assert tokenizer is None and loaded.config == model.config and not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.output_weight.requires_grad
    assert (loaded.output_weight is loaded.embed.weight) == tied


def test_the_folder_is_what_other_programs_expect(llama: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, llama, None, generation={"eos_token_id": [3, 5], "temperature": 0.7}, metadata={"data": "x"})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and config["model_type"] == "llama"
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["eos_token_id"] == [3, 5] and config["bos_token_id"] is None
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {"eos_token_id": [3, 5], "temperature": 0.7}
    with safe_open(tmp_path / "model.safetensors", "pt") as stream:
        assert stream.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in stream.keys()
    ours = read_metadata(tmp_path)
    assert ours["lineage"] == {"data": "x"}
    assert ModelConfig.from_dict(ours["config"]) == llama.config
    check_manifest(tmp_path)
    assert load_folder(tmp_path)[2] == {"eos_token_id": [3, 5], "temperature": 0.7}


def test_dropout_that_config_json_cannot_state_survives(llama: Model, tmp_path: Path) -> None:
    model = tiny("llama", residual_dropout=0.1, embedding_dropout=0.2)
    save_folder(tmp_path, model, None)
    assert load_folder(tmp_path)[0].config == model.config


def test_dtype_of_the_file_and_of_the_weights(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path / "half", gpt2, None, dtype=torch.bfloat16)
    assert load_file(tmp_path / "half" / "model.safetensors")["transformer.wte.weight"].dtype == torch.bfloat16
    assert load_folder(tmp_path / "half")[0].embed.weight.dtype == torch.float32
    assert load_folder(tmp_path / "half", dtype=torch.bfloat16)[0].embed.weight.dtype == torch.bfloat16
    save_folder(tmp_path / "kept", gpt2.to(torch.float16), None)
    assert json.loads((tmp_path / "kept" / "config.json").read_text())["dtype"] == "float16"
    with pytest.raises(UsageError, match="cannot be saved as"):
        save_folder(tmp_path / "int", gpt2, None, dtype=torch.int8)


def test_weights_do_not_share_the_files_memory(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    loaded = load_folder(tmp_path)[0]
    with open(tmp_path / "model.safetensors", "r+b") as stream:
        size = stream.seek(0, 2)
        stream.seek(size // 2)
        stream.write(b"\xff" * (size // 2))
    assert torch.equal(logits(loaded), logits(gpt2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_model_is_not_saved(gpt2: Model, bad: float, tmp_path: Path) -> None:
    save_folder(tmp_path / "model", gpt2, None)
    good = logits(gpt2)
    gpt2.layers[1].mlp.up.bias.data[3] = bad
    with pytest.raises(DivergedError, match=r"layers\.1\.mlp\.up\.bias holds NaN or infinity") as caught:
        save_folder(tmp_path / "model", gpt2, None)
    assert caught.value.exit_code == 5
    assert torch.equal(logits(load_folder(tmp_path / "model")[0]), good)


def test_numbers_too_large_for_the_dtype_are_not_saved(gpt2: Model, tmp_path: Path) -> None:
    gpt2.embed.weight.data[0, 0] = 1e6
    with pytest.raises(DivergedError):
        save_folder(tmp_path / "model", gpt2, None, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_no_room_on_the_disk(gpt2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=10**9, free=1000))
    with pytest.raises(FitError, match="no room") as caught:
        save_folder(tmp_path / "model", gpt2, None)
    assert caught.value.exit_code == 4 and list(tmp_path.iterdir()) == []


def test_the_disk_fills_while_writing(gpt2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "write_tensors", full)
    for folder in (tmp_path / "run", tmp_path / "new"):
        with pytest.raises(FitError, match="was not written"):
            save_folder(folder, gpt2, None)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "metrics.jsonl"]


@pytest.mark.parametrize("keep", [0, 5, 100, -1, -1000])
def test_a_truncated_file_is_named(gpt2: Model, keep: int, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    cut(tmp_path / "model.safetensors", keep)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged") as caught:
        load_folder(tmp_path)
    assert caught.value.exit_code == 3


def test_a_damaged_header_is_named(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[8:40] = b"x" * 32
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_folder(tmp_path)


def test_a_missing_or_damaged_shard_is_named(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path / "a", gpt2, None, max_shard_bytes=60_000)
    shards = sorted(path.name for path in (tmp_path / "a").glob("model-*.safetensors"))
    assert len(shards) >= 3
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / shards[1]).unlink()
    with pytest.raises(DataError, match=f"shard {shards[1]} is missing"):
        load_folder(tmp_path / "a")
    cut(tmp_path / "b" / shards[2], -10)
    with pytest.raises(DataError, match=shards[2]):
        load_folder(tmp_path / "b")


def test_a_shard_swapped_for_another_is_seen(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None, max_shard_bytes=60_000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    shutil.copy(shards[0], shards[1])
    with pytest.raises(DataError, match="no shard holds"):
        load_folder(tmp_path)


def test_pickles_are_refused(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match="has no weights"):
        load_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(DataError, match="pickle") as caught:
        load_folder(tmp_path)
    assert "any program" in caught.value.why


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "gpt2"}'])
def test_a_bad_config_json_is_told(gpt2: Model, text: str, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        load_folder(tmp_path)


def test_saving_in_the_middle_of_training_disturbs_nothing(tmp_path: Path) -> None:
    model = tiny("gpt2", residual_dropout=0.3).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = torch.get_rng_state()
    save_folder(tmp_path, model, None)
    assert torch.equal(torch.get_rng_state(), before) and model.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
