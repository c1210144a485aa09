"""Where the time and the memory of a few steps went: a trace to look at, and a table to read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from seodang.files import atomic_write, make_folder
from seodang.models.attention import KERNELS

WARM_UP = 2
"""Steps before the first one that is looked at: the first makes the optimiser's states."""

PHASES = ("data loading", "forward", "backward", "gradients of the ranks", "clip", "optimiser")
"""Ranges that the trainer and the step mark with `record_function`."""

KINDS = (
    ("attention", "|".join((*KERNELS, "flash_attn", "fmha"))),
    ("matrix products", r"::(add|b|bad)?b?mm|matmul|linear|gemm|einsum|mkldnn"),
    ("softmax and loss", r"softmax|logsumexp|cross_entropy|nll_loss|gather|LinearCrossEntropy"),
    ("copies and casts", r"copy|::to$|::cat|clone|contiguous|fill_|zero|empty|resize|Memcpy|Memset|index|embedding"),
)
"""Kinds by the operator's name, the first that matches; optimiser and data loading go by phase."""

_MAKERS = re.compile(r"aten::(empty|resize|zeros|ones|new_|full|_?to|clone|contiguous|copy)")
"""Operators that allocate for the one that called them."""


class Profiler:
    """Watches `n_steps` steps after a warm-up and writes `folder`/trace.json (chrome://tracing, ui.perfetto.dev),
    table.md and, on stderr's behalf, `lines`. A run that is too short leaves nothing and says so in `lines`.
    """

    def __init__(self, folder: Path, device: torch.device, n_steps: int = 3) -> None:
        self.folder, self.device, self.n_steps, self.seen = folder, device, n_steps, 0
        self.lines = [f"profile    the run was too short: it takes {WARM_UP + n_steps} steps"]

    @contextmanager
    def watch(self) -> Iterator[Any]:
        """While the block runs; it calls the yielded function at the end of every step."""
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        when = schedule(wait=WARM_UP - 1, warmup=1, active=self.n_steps, repeat=1)
        watched = profile(
            activities=activities, schedule=when, on_trace_ready=self._write, profile_memory=True, record_shapes=True
        )
        with watched:

            def step_ended() -> None:
                self.seen += 1
                watched.step()

            yield step_ended

    def _write(self, watched: Any) -> None:
        if self.seen < WARM_UP + self.n_steps:
            return
        make_folder(self.folder)
        watched.export_chrome_trace(str(self.folder / "trace.json"))
        table = Table(watched.events(), self.n_steps, self.device)
        atomic_write(self.folder / "table.md", table.text())
        shares = ", ".join(f"{name} {share:.0%}" for name, share in table.shares()[:5])
        self.lines = [f"profile    time: {shares}", f"profile    {self.folder / 'table.md'}, trace.json"]


class Table:
    """Sums over a profile's events. Times are the device's own where it is CUDA, otherwise the CPU's."""

    def __init__(self, events: Sequence[Any], n_steps: int, device: torch.device) -> None:
        self.n_steps, self.cuda = n_steps, device.type == "cuda"
        self.events = [event for event in events if not event.name.startswith("ProfilerStep")]
        self.operators: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.kinds: dict[str, float] = defaultdict(float)
        self.phases: dict[str, float] = defaultdict(float)
        self.allocations: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for event in self.events:
            phase = phase_of(event)
            if event.name in PHASES:
                self.phases[event.name] += event.cpu_time_total
            time = event.self_device_time_total if self.cuda else event.self_cpu_time_total
            if event.name != "[memory]":
                self.kinds[kind_of(owner(event), phase)] += time
                self.operators[event.name][0] += time
                self.operators[event.name][1] += 1
            n_bytes = self._bytes(event)
            if n_bytes > 0:
                self._count_allocation(event, n_bytes)

    def _bytes(self, event: Any) -> int:
        return int(event.self_device_memory_usage if self.cuda else event.self_cpu_memory_usage)

    def _count_allocation(self, event: Any, n_bytes: int) -> None:
        while _MAKERS.match(event.name) and event.cpu_parent is not None and event.cpu_parent.name not in PHASES:
            event = event.cpu_parent
        shapes = [shape for shape in event.input_shapes or [] if shape]
        entry = self.allocations[event.name, " ".join(str(shape) for shape in shapes[:2])]
        entry[0] = max(entry[0], n_bytes)
        entry[1] += n_bytes

    def shares(self) -> list[tuple[str, float]]:
        """Kind of work → its share of the time, largest first."""
        total = sum(self.kinds.values()) or 1.0
        return sorted(((kind, time / total) for kind, time in self.kinds.items()), key=lambda pair: -pair[1])

    def memory(self) -> dict[str, tuple[int, int]]:
        """Phase → (most bytes held during it, change over it), over what lay there when the profile began."""
        moments = sorted(self.events, key=lambda event: event.time_range.end)
        spans = [event for event in self.events if event.name in PHASES]
        held, found = 0, dict.fromkeys(PHASES, (0, 0))
        spans.sort(key=lambda event: event.time_range.start)
        at = 0
        for event in moments:
            n_bytes = self._bytes(event)
            held += n_bytes
            end = event.time_range.end
            while at + 1 < len(spans) and spans[at + 1].time_range.start <= end:
                at += 1
            if spans and n_bytes and spans[at].time_range.start <= end <= spans[at].time_range.end:
                most, change = found[spans[at].name]
                found[spans[at].name] = (max(most, held), change + n_bytes)
        return found

    def text(self) -> str:
        """The table, in Markdown."""
        ms, mb = 1e3 * self.n_steps, 1e6
        memory = self.memory()
        clock = "GPU" if self.cuda else "CPU"
        parts = [f"# Where {self.n_steps} steps went\n", f"Times are {clock} time a step, under the profiler.\n"]
        parts += _rows(("kind", "share"), [(kind, f"{share:.1%}") for kind, share in self.shares()])
        phases = [
            (name, f"{self.phases[name] / ms:.1f}", f"{memory[name][0] / mb:,.1f}",
             f"{memory[name][1] / mb / self.n_steps:+,.1f}")
            for name in PHASES if name in self.phases
        ]  # fmt: skip
        parts.append("Memory is counted from what lay there before the first of these steps.\n")
        parts += _rows(("phase", "CPU ms", "most MB", "change MB"), phases)
        longest = sorted(self.operators.items(), key=lambda pair: -pair[1][0])[:20]
        parts += _rows(
            ("operator", "self ms", "calls"),
            [(name, f"{time / ms:.2f}", f"{calls / self.n_steps:.0f}") for name, (time, calls) in longest],
        )
        largest = sorted(self.allocations.items(), key=lambda pair: -pair[1][0])[:20]
        parts += _rows(
            ("largest allocations by", "inputs", "MB at once", "MB a step"),
            [(name, shapes, f"{most / mb:,.1f}", f"{total / mb / self.n_steps:,.1f}")
             for (name, shapes), (most, total) in largest],
        )  # fmt: skip
        return "\n".join(parts)


def phase_of(event: Any) -> str:
    """The phase that an event lies in; "" for none, as on a thread of the backward pass."""
    while event is not None:
        if event.name in PHASES:
            return str(event.name)
        event = event.cpu_parent
    return ""


def owner(event: Any) -> str:
    """The attention operator that an event is a part of, or its own name."""
    parent = event.cpu_parent
    while parent is not None:
        if "blockwise_attention" in parent.name:
            return str(parent.name)
        parent = parent.cpu_parent
    return str(event.name)


def kind_of(name: str, phase: str) -> str:
    """What kind of work an operator is."""
    if phase in ("data loading", "optimiser", "gradients of the ranks"):
        return phase
    if phase == "clip":
        return "optimiser"
    if name in PHASES:
        return "Python"
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), "other")


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines] + [""]
