"""What a run says of itself: metrics.jsonl always, a live line on stderr, TensorBoard on request."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seodang.files import atomic_write, make_folder

if TYPE_CHECKING:  # a report is read without torch
    import torch


def peak_bytes(device: torch.device) -> int:
    """Peak memory of this process in bytes: the device's allocations on CUDA, resident memory elsewhere."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def duration(seconds: float) -> str:
    """`4:05` or `1:02:03`; `?` for a time that nobody knows."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class RunLog:
    """Rows of metrics.jsonl (`step, tokens, loss_per_token, bits_per_byte, …`) and the live line."""

    def __init__(self, folder: Path, *, quiet: bool = False, tensorboard: bool = False, after_step: int = 0) -> None:
        """Open metrics.jsonl and samples.jsonl; rows behind `after_step`, where a run is resumed, are dropped."""
        self.folder = make_folder(folder)
        self._streams: dict[str, IO[str]] = {}
        self._board = _open_tensorboard(folder, after_step) if tensorboard else None
        for name in ("metrics.jsonl", "samples.jsonl"):
            rows = read_rows(folder / name) if after_step else []
            kept = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["step"] <= after_step]
            if kept:
                atomic_write(folder / name, "".join(kept))  # a crash must not cost the rows so far
            else:
                (folder / name).unlink(missing_ok=True)
        self.quiet, self._live, self._last_line = quiet, sys.stderr.isatty(), -math.inf

    def _write(self, name: str, row: dict[str, Any]) -> None:
        # JSON has no NaN: an unknown number is null
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        if name not in self._streams:
            self._streams[name] = open(self.folder / name, "a", encoding="utf-8")
        self._streams[name].write(json.dumps(clean, ensure_ascii=False) + "\n")
        self._streams[name].flush()

    def row(self, row: dict[str, Any]) -> None:
        """Append one row; numbers go to TensorBoard too."""
        self._write("metrics.jsonl", row)
        if self._board is not None:
            split = row.get("split", "train")
            for key, value in row.items():
                if isinstance(value, int | float) and key not in ("step", "tokens") and math.isfinite(value):
                    self._board.add_scalar(f"{split}/{key.removesuffix('_per_token')}", value, row["step"])

    def samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Append what the model says at this step."""
        for row in rows:
            self._write("samples.jsonl", {"step": step, **row})

    def progress(self, row: dict[str, Any], total: str, remaining: float, *, last: bool = False) -> None:
        """The live line: redrawn on a terminal, one line every ten seconds in a file."""
        now = time.monotonic()
        if self.quiet or (now - self._last_line < (0.2 if self._live else 10) and not last):
            return
        self._last_line = now
        text = (
            f"step {row['step']:>6}{total}  loss {row['loss_per_token']:.3f}  "
            f"{_bits(row['bits_per_byte'])}lr {row['learning_rate']:.1e}  "
            f"{row['tokens_per_second']:,.0f} tok/s{_share(row.get('mfu'))}  left {duration(remaining)}  "
            f"{row['peak_bytes'] / 1e9:.1f} GB"
        )
        sys.stderr.write(f"\r\x1b[2K{text}" if self._live else text + "\n")
        if last and self._live:
            sys.stderr.write("\n")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """A remark on a line of its own."""
        if not self.quiet:
            sys.stderr.write(("\r\x1b[2K" if self._live else "") + text + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Flush and close the files."""
        for stream in self._streams.values():
            stream.close()
        if self._board is not None:
            self._board.close()


def _share(mfu: float | None) -> str:
    return "" if mfu is None or not math.isfinite(mfu) else f"  mfu {mfu:.0%}"


def _bits(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"bits/byte {value:.3f}  "


def loss_unit(names: Collection[str]) -> str:
    """What `loss_per_token` is a mean over, told by the other measures of its row: several terms are added up."""
    if sum(name.endswith("_loss") for name in names) > 1:
        return "in all"
    if "task_loss" in names:
        return "per example"
    return "per masked token" if "masked_accuracy" in names else "per token"


def in_words(row: Mapping[str, float]) -> str:
    """An evaluation: `4.1210 per token, 1.341 bits per byte`, and what else was measured."""
    others = {key: value for key, value in row.items() if key not in ("loss_per_token", "bits_per_byte")}
    bits = row["bits_per_byte"]
    shown = f"{row['loss_per_token']:.4f} {loss_unit(others)}"
    shown += f", {bits:.3f} bits per byte" if math.isfinite(bits) else ""  # nan: it is no likelihood of a text
    return shown + "".join(f", {key.replace('_', ' ')} {value:.3f}" for key, value in others.items())


def _open_tensorboard(folder: Path, after_step: int) -> Any:
    from seodang.errors import UsageError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(
            "--tensorboard needs a package", "tensorboard is not installed", "pip install 'seodang[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=after_step + 1 if after_step else None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl or samples.jsonl; a last line that a crash cut short is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows
