"""`seodang doctor` tells what is there, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.planning import doctor, machine


def rows(diagnosis: doctor.Diagnosis, section: str) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in diagnosis.sections[section]}


def test_json_on_stdout_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--json", "--no-measure", "--out", str(tmp_path / "new")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is True
    found = {row["name"]: row for rows in result["sections"].values() for row in rows}
    assert found["torch"]["value"] == importlib.metadata.version("torch")
    assert found["memory"]["value"]["total_bytes"] > 0
    assert not (tmp_path / "new").exists()


def test_text_for_people_ends_in_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-measure"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "ready"


def test_a_missing_required_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "safetensors":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "torch" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    diagnosis = doctor.examine(Path("."), measure=False)
    found = rows(diagnosis, "required packages")
    assert not diagnosis.ok and "torch" not in diagnosis.sections
    assert found["safetensors"].status == "bad" and "pip install 'safetensors" in found["safetensors"].advice
    assert found["torch"].status == "bad" and "older than" in found["torch"].text
    assert diagnosis.advice()[0].startswith("pip install")


def test_missing_extras_are_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    found = {finding.name: finding for finding in doctor.optional_packages()}
    assert set(found) == set(doctor.PACKAGES)
    for name, finding in found.items():
        assert finding.status == "missing" and f"pip install {name}" in finding.advice.replace("--no-deps ", "")


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = {finding.name: finding for finding in doctor.environment()}
    assert found["HF_TOKEN"].value == "set"
    assert "hf_secret" not in repr(doctor.environment())


def test_container_limits_count(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("cgroups are Linux's")
    whole = machine.memory(tmp_path)
    assert whole is not None
    (tmp_path / "memory.max").write_text("1000000000\n", encoding="utf-8")
    (tmp_path / "memory.current").write_text("400000000\n", encoding="utf-8")
    assert machine.memory(tmp_path) == machine.Memory(1_000_000_000, min(600_000_000, whole.available_bytes))
    (tmp_path / "cpu.max").write_text("100000 100000\n", encoding="utf-8")
    assert machine.usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    assert machine.usable_cpus(tmp_path) == machine.usable_cpus(tmp_path / "absent")


def test_self_test_passes_here_and_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seodang.planning import trial

    assert [row["value"] for row in trial.self_test(tmp_path)] == [True] * 4
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(trial, "check_manifest", lambda folder: None)  # a manifest that notices nothing
    broken = trial.self_test(tmp_path)[0]
    assert broken["value"] is False and broken["status"] == "bad" and "not noticed" in broken["advice"]


def test_speed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from seodang.planning import trial

    measured = iter([1000.0, 10.0])
    monkeypatch.setattr(trial, "_tokens_per_second", lambda *arguments: next(measured))
    monkeypatch.setattr(trial, "_devices", lambda: [trial.torch.device("cpu")])
    monkeypatch.setattr(trial, "choose_dtype", lambda name, device: trial.torch.bfloat16)
    full, half, auto = trial.speed()
    assert (full["value"], half["value"], auto["value"]) == (1000.0, 10.0, "bfloat16")
    assert "--dtype float32" in auto["advice"]
    measured = iter([1000.0, 1050.0])
    assert "advice" not in trial.speed()[2]
