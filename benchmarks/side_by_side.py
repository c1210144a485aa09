"""What the comparisons with other programs share: every side in a process of its own, taking turns on one machine.

A side prepares itself, warms up, and then works when it is told to; meanwhile the others wait. Turns alternate
(A, B, A, B, …), so that a machine that grows slower does so for all, and the result is the ratio of two neighbouring
turns: its median over the rounds, and its lowest and highest. The sides do not share memory settings, threads or
imported modules; all have the same OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from seodang.data.batch import Batch
    from seodang.models.base import Model
    from seodang.models.config import ModelConfig
    from seodang.training.step import StepResult

Work = Callable[[], int]
"""Does one step and returns how many units (tokens, examples) it got done."""


@dataclass
class Side:
    """One of the programs that are compared. `make(*arguments)` prepares it, in its own process."""

    name: str
    make: Callable[..., Work]
    arguments: tuple[Any, ...] = ()


class Running:
    """A side's process. A context manager: it has warmed up when it is entered, and ends when it is left."""

    def __init__(self, side: Side, warmup: int) -> None:
        self.name = side.name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, side, warmup), daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> Running:
        self.threads: int = self._receive()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.is_alive():
            try:
                self.pipe.send(None)
            except OSError:
                self.process.terminate()
        self.process.join()

    def turn(self, seconds: float) -> list[tuple[float, int]]:
        """Work for about so long, at least one step: (seconds, units) of each step."""
        self.pipe.send(seconds)
        return self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise SystemExit(f"{self.name}: the process ended with code {self.process.exitcode}") from None
        if kind == "failed":
            raise SystemExit(f"{self.name}:\n{value}")
        return value


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_quieten) as pool:
        return pool.submit(function, *arguments).result()


def _quieten() -> None:
    os.dup2(2, 1)  # what a program prints on the way is no result


def _serve(pipe: Connection, side: Side, warmup: int) -> None:
    """A side's process: warm up, then work through turns until told to end."""
    _quieten()
    try:
        work = side.make(*side.arguments)
        for _ in range(warmup):
            work()
        pipe.send(("ready", sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1))
        while (seconds := pipe.recv()) is not None:
            steps = []
            begin = end = time.perf_counter()
            while not steps or end - begin < seconds:
                start, units = time.perf_counter(), work()
                end = time.perf_counter()
                steps.append((end - start, units))
            pipe.send(("steps", steps))
    except BaseException:  # whatever it was, the other process must hear of it
        pipe.send(("failed", traceback.format_exc()))


def compare(
    sides: Sequence[Side], *, unit: str, rounds: int = 5, turn: float = 3.0, warmup: int = 2
) -> dict[str, Any]:
    """Units a second of each side, and of the first ÷ each other.

    A round is one turn of `turn` seconds, at least a step, of every side. The rate of a turn is its median step's
    where all steps do the same work, otherwise all its units over all its time.
    """
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    with ExitStack() as stack:
        # one after the other: while one warms up, none computes beside it
        running = [stack.enter_context(Running(side, warmup)) for side in sides]
        for number in range(rounds):
            for one in running:
                rates[one.name].append(_rate(one.turn(turn)))
            print(f"round {number + 1}: {_words({n: r[-1] for n, r in rates.items()}, unit)}", file=sys.stderr)
        threads = {one.name: one.threads for one in running}
    return summary(rates, unit, threads=threads)


def summary(turns: dict[str, list[float]], unit: str, **of_machine: Any) -> dict[str, Any]:
    """What every turn gave, by side, as the result that `report` prints: medians, and the first side ÷ each other."""
    first, *others = turns
    return {
        "unit": unit,
        "machine": machine() | of_machine,
        "rounds": len(turns[first]),
        "rates": {name: {"median": statistics.median(values), "turns": values} for name, values in turns.items()},
        "ratios": {n: spread([a / b for a, b in zip(turns[first], turns[n], strict=True)]) for n in others},
    }


def _rate(steps: list[tuple[float, int]]) -> float:
    if len({units for _, units in steps}) == 1:
        return steps[0][1] / statistics.median(seconds for seconds, _ in steps)
    return sum(units for _, units in steps) / sum(seconds for seconds, _ in steps)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def machine() -> dict[str, Any]:
    """Processor, logical processors, version of torch."""
    from importlib.metadata import version

    name = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), name)
    threads = os.environ.get("OMP_NUM_THREADS")
    return {"processor": name, "cpus": os.cpu_count(), "torch": version("torch"), "OMP_NUM_THREADS": threads}


def report(title: str, result: dict[str, Any], as_json: bool) -> None:
    """Print a comparison on stdout: in words, or as one JSON object."""
    if as_json:
        print(json.dumps({"benchmark": title} | result))
        return
    rates, unit = result["rates"], result["unit"]
    ours = next(iter(rates))
    print(f"{title}: {_words({name: rate['median'] for name, rate in rates.items()}, unit)}")
    for name, ratio in result["ratios"].items():
        print(f"  {ours} ÷ {name}: {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})")


def _words(rates: dict[str, float], unit: str) -> str:
    return ", ".join(f"{name} {rate:,.{0 if rate >= 100 else 2}f} {unit}" for name, rate in rates.items())


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every comparison has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--turn", type=float, default=3.0, help="seconds of a turn, at least one step (default 3)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first turn (default 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--compile", action="store_true", help="ours compiled too")
    return parser


def random_rows(vocab_size: int, rows: int, length: int, count: int = 4) -> list[torch.Tensor]:
    """`count` batches (rows, length + 1) of random ids, the same for every side."""
    import torch

    draw = torch.Generator().manual_seed(0)
    return [torch.randint(vocab_size, (rows, length + 1), generator=draw) for _ in range(count)]


# -- our side --------------------------------------------------------------------------------------------------------


def our_trainer(
    start: ModelConfig | Model,
    rows: int,
    length: int,
    compile: bool = False,
    *,
    lr: float = 3e-4,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    dtype: str = "auto",
    **optimizer: Any,
) -> Callable[..., StepResult]:
    """A function that takes one step on micro-batches of `rows` × `length`, just as a run of ours does.

    start      the sizes of a fresh model, or a model.
    optimizer  what else `build_optimizer` takes.
    It is called with the micro-batches and, where it is not `lr`, the learning rate of this step.
    """
    settle()
    import torch

    from seodang.models.config import ModelConfig
    from seodang.models.families import build_model
    from seodang.objectives.language import LanguageModelling
    from seodang.recipes.compiling import compiled
    from seodang.recipes.plan import Machine
    from seodang.training.machine import choose_dtype
    from seodang.training.optimizer import build_optimizer
    from seodang.training.parallel import Ranks
    from seodang.training.step import train_step

    if isinstance(start, ModelConfig):
        model = build_model(start)
        model.init_weights(torch.Generator().manual_seed(0))
    else:
        model = start
    model.train()
    device = torch.device("cpu")
    number, objective = choose_dtype(dtype, device), LanguageModelling()
    update = build_optimizer(model, lr=lr, weight_decay=weight_decay, betas=betas, dtype=number, **optimizer)
    trained = compiled(model, (rows, length), Machine(device, number, Ranks())) if compile else model

    def step(batches: list[Batch], rate: float = lr) -> StepResult:
        return train_step(trained, objective, batches, update, lr=rate, grad_clip=1.0, device=device, dtype=number)

    return step


def settle() -> None:
    """The settings of memory and threads that every command of ours begins with. Before torch is imported."""
    from seodang.cli.main import settle_threads

    settle_threads()
    from seodang.training.machine import keep_freed_memory

    keep_freed_memory()


def our_tokens(config: ModelConfig, rows: int, length: int, compile: bool, dtype: str = "auto") -> Work:
    """Our side on random tokens: a step's work in tokens."""
    step = our_trainer(config, rows, length, compile, dtype=dtype)
    from itertools import cycle

    from seodang.data.batch import Batch

    batches = cycle([Batch(ids[:, :-1], ids[:, 1:]) for ids in random_rows(config.vocab_size, rows, length)])

    def work() -> int:
        return step([next(batches)]).n_tokens

    return work
