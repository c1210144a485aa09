from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.verify import Report, verify
from seodang.errors import DataError, UsageError
from seodang.files import write_manifest
from tests.checkpoints.conftest import cut
from tests.checkpoints.files import DECODERS, tiny, write_gguf, write_llama2c
from tests.checkpoints.test_resolve import checkpoint


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def tamper(folder: Path, change: Any) -> None:
    """Change the weights and write a manifest that fits, as a careless program would."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_good_model(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    save_folder(tmp_path, tiny(family), None, dtype=dtype, max_shard_bytes=60_000)
    (report,) = verify(tmp_path)
    assert report.passed
    assert [check.name for check in report.checks] == ["files", "tokenizer", "shapes", "finite", "logits"]
    assert "as when it was saved, to 0 " in report.checks[-1].detail


def test_one_bit(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2"), None)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1000] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    (report,) = verify(tmp_path)
    assert failed(report) == ["files"] and "SHA-256" in report.checks[0].detail


def test_missing_pieces(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2"), None, max_shard_bytes=60_000)
    next(tmp_path.glob("model-00002*")).unlink()
    (report,) = verify(tmp_path)
    assert failed(report) == ["files", "shapes"] and "model-00002" in report.checks[0].detail
    (tmp_path / "manifest.json").unlink()
    assert "interrupted" in verify(tmp_path)[0].checks[0].detail


def test_not_finite(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2"), None)
    tamper(tmp_path, lambda tensors: tensors["transformer.ln_f.bias"].fill_(float("nan")))
    (report,) = verify(tmp_path)
    assert failed(report) == ["finite"] and "transformer.ln_f.bias holds NaN" in report.checks[3].detail


def test_other_weights_give_other_logits(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("gpt2"), None)
    tamper(tmp_path, lambda tensors: tensors["transformer.h.1.mlp.c_fc.weight"].mul_(1.05))
    (report,) = verify(tmp_path)
    assert failed(report) == ["logits"] and "does not give the logits" in report.checks[4].detail


def test_a_changed_config(tmp_path: Path) -> None:
    """rope_theta changes no shape; only comparing settings and logits shows it."""
    save_folder(tmp_path, tiny("llama"), None)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = config["rope_theta"] = 5.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_manifest(tmp_path)
    (report,) = verify(tmp_path)
    assert failed(report) == ["shapes"] and "rope_theta = 5.0" in report.checks[2].detail
    ours = json.loads((tmp_path / "seodang.json").read_text())
    ours["config"]["rope"]["theta"] = 5.0
    (tmp_path / "seodang.json").write_text(json.dumps(ours))
    write_manifest(tmp_path)
    assert failed(verify(tmp_path)[0]) == ["logits"]


def test_a_damaged_probe(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("llama"), None)
    ours = json.loads((tmp_path / "seodang.json").read_text())
    for probe in ({}, {**ours["probe"], "ids": [999]}, {**ours["probe"], "logits": [[0.0]]}):
        (tmp_path / "seodang.json").write_text(json.dumps({**ours, "probe": probe}))
        write_manifest(tmp_path)
        assert failed(verify(tmp_path)[0]) == ["logits"]


def test_a_folder_of_another_program(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny("llama"), None)
    for name in ("seodang.json", "manifest.json"):
        (tmp_path / name).unlink()
    (report,) = verify(tmp_path)
    assert report.passed and "another program" in report.checks[0].detail and "no probe" in report.checks[-1].detail


def test_every_model_of_a_run(tmp_path: Path) -> None:
    folders = [checkpoint(tmp_path, step, tiny("gpt2")) for step in (1, 2)]
    reports = verify(tmp_path)
    assert [report.path for report in reports] == folders and all(report.passed for report in reports)
    assert reports[0].checks[-1].name == "training state"
    save_file({"m": torch.tensor([float("inf")])}, folders[1] / "training.safetensors")
    cut(folders[0] / "model.safetensors", -1)
    first, second = verify(tmp_path)
    assert failed(first) == ["files", "shapes"] and failed(second) == ["files", "training state"]
    save_folder(tmp_path, tiny("gpt2"), None)
    assert [report.passed for report in verify(tmp_path)] == [True, False, False]


def test_single_files(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tiny("llama"))
    write_llama2c(tmp_path / "m.bin", tiny("llama"))
    for name in ("m.gguf", "m.bin"):
        (report,) = verify(tmp_path / name)
        assert report.passed and [check.name for check in report.checks] == ["loads", "finite"]
        cut(tmp_path / name, -100)
        assert failed(verify(tmp_path / name)[0]) == ["loads"]


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        verify(tmp_path / "nowhere")
