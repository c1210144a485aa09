"""The trainer knows batches, an objective, time, saving and logging. Not attention, not adapters, not rewards."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn
from torch.profiler import record_function

from seodang.checkpoints.sharded import is_sharded
from seodang.checkpoints.training import load_checkpoint_state, save_checkpoint
from seodang.errors import DataError, DivergedError, FitError
from seodang.files import require_free_space
from seodang.objectives.loss import Objective
from seodang.training.carried import carried_tensors, load_carried
from seodang.training.log import RunLog, in_words, peak_bytes
from seodang.training.optimizer import load_optimizer_tensors, optimizer_tensors
from seodang.training.out_of_memory import first_line, is_out_of_memory, most_rows, random_state, set_random_state
from seodang.training.parallel import Ranks, lost_peer
from seodang.training.profile import Profiler
from seodang.training.schedule import Schedule
from seodang.training.sharding import load_optimizer_shards, not_finite, reshard, write_shards
from seodang.training.step import SpikeGuard, StepResult, evaluate, train_step

BAD_STEPS_TO_STOP = 3


class Loader(Protocol):
    """Yields the micro-batches of one step at a time, for ever, and can say and resume where it is."""

    micro_batch_size: int
    """Rows of a micro-batch from the next step on; the trainer lowers it where memory runs out."""

    def __iter__(self) -> Iterator[list[Any]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Plan:
    """How long to train and how often to look up."""

    schedule: Schedule
    steps: int | None = None
    seconds: float | None = None
    """Stop by the clock; the schedule follows it."""
    grad_clip: float = 1.0
    save_every: int | None = None
    """In steps; every ten minutes when not given."""
    eval_every: int | None = None
    """In steps; when not given about twenty times, and seldom enough to take a tenth of the time at most."""
    keep: int = 2
    skip_spikes: bool = True
    """Leave steps out whose loss lies far above the last ones. Of a few examples it does so where one is hard."""


@dataclass
class Summary:
    """How a run ended."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0
    interrupted: bool = False
    evaluation: dict[str, float] = field(default_factory=dict)
    """loss_per_token, bits_per_byte and what else was measured on the held-out part, at the end."""
    first_evaluation: dict[str, float] = field(default_factory=dict)
    """The same before the first step."""
    evaluated_step: int = -1
    """The step that `evaluation` was made at."""


class Trainer:
    """Runs an objective over a loader: schedule, evaluation, samples, checkpoints, interruption, recovery."""

    def __init__(
        self,
        *,
        model: nn.Module,
        objective: Objective,
        loader: Loader,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        out: Path,
        write_model: Callable[[Path], None],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        evaluation: Sequence[Any] = (),
        sample: Callable[[], list[dict[str, Any]]] | None = None,
        ranks: Ranks | None = None,
        quiet: bool = False,
        tensorboard: bool = False,
        profiler: Profiler | None = None,
        flops_per_token: float = math.nan,
        peak_flops_per_second: float = math.nan,
    ) -> None:
        """`write_model` writes the model folder's files; `sample` returns rows for samples.jsonl.

        `flops_per_token` over `peak_flops_per_second` of one rank is what `mfu` in metrics.jsonl is reckoned with.
        """
        self.model, self.objective, self.loader, self.optimizer = model, objective, loader, optimizer
        self.plan, self.out, self.write_model = plan, out, write_model
        self.device, self.dtype, self.ranks = device, dtype, ranks or Ranks()
        self.evaluation, self.sample = evaluation, sample
        self.quiet, self.tensorboard = quiet, tensorboard
        self.profiler, self._step_ended = profiler, lambda: None
        self.flops_per_token, self.peak_flops_per_second = flops_per_token, peak_flops_per_second
        self.guard = SpikeGuard()
        self.summary = Summary()
        self.bad_in_a_row = 0
        self._asked = self._stop = False  # a signal came here; all ranks know of it
        self._eval_seconds = 0.0  # what the last evaluation took
        self._state_steps = -1  # the step of the newest checkpoint
        self._micro_rows: int | None = None  # what memory was enough for, once it was not

    # ---- resuming

    def resume(self, folder: Path) -> None:
        """Take up a checkpoint's optimiser, random state, data position, counters and what the objective carries.

        The model's weights are the caller's to load, from the same folder (`newest_checkpoint` finds it). Raises
        DataError when the folder holds a model only, or the state of another run.
        """
        tensors, state = load_checkpoint_state(folder)
        try:
            self._set_random({name: tensors.pop(name) for name in list(tensors) if name.startswith("random/")})
            load_carried(self.objective, tensors, self.ranks)
            if is_sharded(folder):
                load_optimizer_shards(folder, self.model, self.optimizer)
            load_optimizer_tensors(self.model, self.optimizer, tensors)
            self.loader.load_state_dict(state["loader"])
            self.guard.losses = list(state["guard"])
            self.summary = Summary(**state["summary"])
            self.bad_in_a_row = state["bad_in_a_row"]
            self._micro_rows = state.get("micro_rows")
        except KeyError as error:
            raise DataError(
                f"{folder} does not fit this run",
                f"it says nothing of {error}",
                "resume with the run's own settings, --optimizer and --optimizer-state among them",
            ) from None
        if self._micro_rows is not None:
            self.loader.micro_batch_size = min(self.loader.micro_batch_size, self._micro_rows)
        self.summary.interrupted = False
        self._state_steps = self.summary.steps

    def _random(self) -> dict[str, torch.Tensor]:
        """The random state of every share of the rows: `random/cpu/SHARE`, `random/cuda/SHARE`."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        gathered = {kind: self.ranks.gather(state, self.device) for kind, state in states.items()}
        each = self.ranks.tensor_parallel  # tensor ranks have the same rows, and drop the same of them
        return {
            f"random/{kind}/{share}": state
            for kind, ranks in gathered.items()
            for share, state in enumerate(ranks[::each])
        }

    def _set_random(self, states: dict[str, torch.Tensor]) -> None:
        """Take up the state of this rank's share. One that the interrupted run did not have keeps its own."""
        share = self.ranks.data_rank
        if f"random/cpu/{share}" in states:
            torch.set_rng_state(states[f"random/cpu/{share}"])
        if self.device.type == "cuda" and f"random/cuda/{share}" in states:
            torch.cuda.set_rng_state(states[f"random/cuda/{share}"], self.device)

    def save(self) -> None:
        """Write a checkpoint of this moment. All ranks call it; rank 0 writes, and of a shared-out model every rank
        its part. A model that is not finite never is."""
        if self._state_steps == self.summary.steps:
            return
        bad = not_finite(self.model)
        if self.ranks.most(len(bad), self.device):
            raise DivergedError(
                "the model was not saved",
                f"{bad[0] if bad else 'a weight'} holds numbers that are not finite",
                "resume from the last checkpoint with a lower --lr",
            )
        tensors = optimizer_tensors(self.model, self.optimizer) | self._random()
        tensors |= carried_tensors(self.objective, self.ranks, self.device)
        self._state_steps = self.summary.steps
        shards = write_shards(self.out, self.model, tensors, self.ranks) if self.ranks.shards else None
        if self.ranks.speaks:
            self._write(tensors, shards)
        self.ranks.barrier()

    def _write(self, tensors: dict[str, torch.Tensor], shards: Path | None) -> None:
        state = {
            "summary": self.summary.__dict__,
            "loader": self.loader.state_dict(),
            "guard": self.guard.losses,
            "bad_in_a_row": self.bad_in_a_row,
            "micro_rows": self._micro_rows,
        }
        save_checkpoint(self.out, self.summary.steps, self.write_model, tensors, state, self.plan.keep, shards)

    def checkpoint_bytes(self) -> int:
        """About how large one checkpoint is: weights and two moments in float32."""
        return 12 * sum(parameter.numel() for parameter in self.model.parameters())

    # ---- training

    def fit(self) -> Summary:
        """Train to the end of the plan. SIGINT and SIGTERM finish the step, save, and set `interrupted`.

        Raises DivergedError (exit 5) after three bad steps in a row, with the last good model saved.
        """
        if self.ranks.speaks:
            require_free_space(self.out, (self.plan.keep + 1) * self.checkpoint_bytes())
        log = RunLog(
            self.out,
            quiet=self.quiet or not self.ranks.speaks,
            tensorboard=self.tensorboard,
            after_step=self.summary.steps,
        ) if self.ranks.speaks else None  # fmt: skip
        try:
            with self._signals(), self._profiled(log):
                self._run(log)
        except (RuntimeError, MemoryError) as error:  # outside of a step's micro-batches, which are made smaller
            lost = lost_peer(error) if self.ranks.world_size > 1 else None
            if lost is not None:
                raise lost from error
            if not is_out_of_memory(error):
                raise
            smaller = "--micro-batch" if self.ranks.shards else "--model"  # which ranks that meet in it cannot halve
            fix = f"use a smaller {smaller} or --max-length"
            raise FitError("out of memory", first_line(error), fix) from error
        finally:
            if log is not None:
                log.close()
        return self.summary

    def _run(self, log: RunLog | None) -> None:
        summary, plan = self.summary, self.plan
        started = time.monotonic() - summary.seconds
        last_save = summary.seconds  # the time that the ranks agree on: all save at the same step
        if summary.steps == 0:
            summary.first_evaluation = self._evaluate(log)
        self._stop = bool(self._agree(float(self._asked)))
        last_eval = (summary.seconds, self._progress(summary.seconds))
        steps = iter(self.loader)
        self.model.train()
        while not self._stop and not self._finished(summary.seconds):
            before = time.monotonic()
            progress = self._progress(summary.seconds)
            lr = plan.schedule.learning_rate(progress)
            with record_function("data loading"):
                micro_batches = next(steps)
            result = train_step(
                self.model, self.objective, micro_batches, self.optimizer, lr=lr, grad_clip=plan.grad_clip,
                device=self.device, dtype=self.dtype, ranks=self.ranks, guard=self.guard if plan.skip_spikes else None,
            )  # fmt: skip
            self._remember_rows(log, most_rows(micro_batches), result.micro_rows)
            summary.steps += 1
            summary.tokens += result.n_tokens
            summary.seconds = self._agree(time.monotonic() - started)
            self._note(log, result, lr, time.monotonic() - before)
            self._step_ended()
            self._count_bad(log, result)
            if not self._finished(summary.seconds):  # the last evaluation and checkpoint follow the loop
                if self._evaluation_due(*last_eval):
                    self._evaluate(log)
                    last_eval = (summary.seconds, self._progress(summary.seconds))
                if self._save_due(last_save):
                    self.save()
                    last_save = summary.seconds
            self._stop = bool(self._agree(float(self._asked)))
        summary.interrupted = self._stop and not self._finished(summary.seconds)
        if not summary.interrupted and summary.evaluated_step != summary.steps:
            self._evaluate(log)
        self.save()

    def _remember_rows(self, log: RunLog | None, asked: int, done: int) -> None:
        """Where memory was enough for fewer rows than were asked for, ask for so many from now on."""
        if done >= asked or (self._micro_rows is not None and done >= self._micro_rows):
            return
        self._micro_rows = self.loader.micro_batch_size = done
        if log is not None:
            log.say(f"memory ran out: micro-batch {asked} → {done} rows; the batch of a step stays the same")

    def _evaluation_due(self, seconds_then: float, progress_then: float) -> bool:
        seconds = self.summary.seconds
        if self.plan.eval_every:
            return self.summary.steps % self.plan.eval_every == 0
        far = self._progress(seconds) - progress_then >= 0.05
        return far and seconds - seconds_then >= 9 * self._eval_seconds

    def _save_due(self, last_save: float) -> bool:
        if self.plan.save_every:
            return self.summary.steps % self.plan.save_every == 0
        return self.summary.seconds - last_save > 600

    def _agree(self, value: float) -> float:
        """The ranks' mean, so that all of them stop, and turn the schedule, at the same step."""
        return self.ranks.sum([value], self.device)[0] / self.ranks.data_size

    def _progress(self, seconds: float) -> float:
        """Share of the run that will be done when the coming step is: of its steps or its time, whichever ends it."""
        # a step of the clock's share is known after the first; until then it counts for a thousandth of the run
        step_seconds = seconds / self.summary.steps if self.summary.steps else (self.plan.seconds or 0) / 1000
        by_clock = (seconds + step_seconds) / (self.plan.seconds or math.inf)
        by_steps = (self.summary.steps + 1) / (self.plan.steps or math.inf)
        return max(by_clock, by_steps)

    def _finished(self, seconds: float) -> bool:
        plan = self.plan
        over = plan.seconds is not None and seconds >= plan.seconds
        return over or (plan.steps is not None and self.summary.steps >= plan.steps)

    def _note(self, log: RunLog | None, result: StepResult, lr: float, step_seconds: float) -> None:
        if log is None:
            return
        summary, plan = self.summary, self.plan
        row: dict[str, Any] = {
            "step": summary.steps,
            "tokens": summary.tokens,
            "loss_per_token": result.loss,
            "bits_per_byte": result.bits_per_byte,
            "tokens_per_second": result.n_tokens / step_seconds,
            "target_tokens_per_second": result.weights.get("language", math.nan) / step_seconds,
            "mfu": self._utilisation(result.n_tokens / step_seconds),
            "learning_rate": lr,
            "grad_norm": result.grad_norm,
            "seconds": summary.seconds,
            "peak_bytes": peak_bytes(self.device),
            **result.parts,
        }
        if result.skipped:
            row["skipped"] = result.skipped
        log.row(row)
        by_clock = (plan.seconds or math.inf) - summary.seconds
        by_steps = ((plan.steps or math.inf) - summary.steps) * summary.seconds / summary.steps
        remaining = min(by_clock, by_steps)
        total = f"/{plan.steps}" if plan.steps is not None else ""
        # the rate people want is the run's, not one noisy step's
        rate = summary.tokens / max(summary.seconds, 1e-9)
        shown = row | {"tokens_per_second": rate, "mfu": self._utilisation(rate)}
        log.progress(shown, total, remaining, last=self._finished(summary.seconds))

    def _utilisation(self, tokens_per_second: float) -> float:
        """Model-FLOPs utilisation (Chowdhery et al. 2022, sec. 4.1): the model's own operations, those computed a
        second time left out, over what matrix products reach on all ranks."""
        return tokens_per_second * self.flops_per_token / (self.peak_flops_per_second * self.ranks.world_size)

    def _count_bad(self, log: RunLog | None, result: StepResult) -> None:
        if not result.skipped:
            self.bad_in_a_row = 0
            return
        self.bad_in_a_row += 1
        self.summary.skipped += 1
        if log is not None:
            log.say(f"step {self.summary.steps} skipped: {result.skipped} (loss {result.loss:.4g})")
        if self.bad_in_a_row < BAD_STEPS_TO_STOP:
            return
        self.bad_in_a_row, self.guard.losses = 0, []  # resuming from here counts, and learns what is usual, anew
        self.save()
        raise DivergedError(
            f"stopped at step {self.summary.steps}: {BAD_STEPS_TO_STOP} bad steps in a row",
            f"the loss was {result.loss:.4g} and the gradient norm {result.grad_norm:.4g}",
            f"the last good model is kept in {self.out}; lower --lr, lengthen --warmup, or look at the data",
        )

    @torch.no_grad()
    def _evaluate(self, log: RunLog | None) -> dict[str, float]:
        """Mean loss over the evaluation batches, and the samples; rows with `split` in the metrics."""
        state, started = random_state(self.device), time.monotonic()  # looking must not change what is trained
        self.model.eval()
        result: dict[str, float] = {}
        if self.evaluation:
            total = evaluate(self.model, self.objective, self.evaluation, self.device, self.dtype, self.ranks)
            if total.micro_rows < most_rows(self.evaluation):
                self.evaluation = [part for batch in self.evaluation for part in batch.split(total.micro_rows)]
            result = {"loss_per_token": total.loss, "bits_per_byte": total.bits_per_byte, **total.parts}
            self.summary.evaluation = result
            if log is not None:
                position = {"step": self.summary.steps, "tokens": self.summary.tokens, "split": "eval"}
                log.row({**position, **result, "seconds": self.summary.seconds})
                log.say(f"step {self.summary.steps}: held-out loss {in_words(result)}")
        if self.sample is not None and (log is not None or self.ranks.shards):
            rows = self.sample()
            if log is not None:
                log.samples(self.summary.steps, rows)
        if self.ranks.shards:
            reshard(self.model)
        self.model.train()
        set_random_state(state, self.device)
        self.summary.evaluated_step = self.summary.steps
        self._eval_seconds = self._agree(time.monotonic() - started)  # the next one is due for all ranks or for none
        return result

    @contextmanager
    def _profiled(self, log: RunLog | None) -> Iterator[None]:
        """Watched by the profiler, if there is one."""
        if self.profiler is None:
            yield
            return
        with self.profiler.watch() as self._step_ended:
            yield
        if log is not None:
            for line in self.profiler.lines:
                log.say(line)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks for an end after this step; a second SIGINT ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self._asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked = True

        try:
            old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever owns it handles signals
            old = {}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
