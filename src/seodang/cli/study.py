"""`seodang study VERB`: GPT-1's analyses as grids of runs that can be stopped and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seodang.cli.frame import dispatch, print_result
from seodang.studies.config import AblationConfig, StudyConfig, TransferConfig, ZeroShotConfig

if TYPE_CHECKING:
    from seodang.studies.study import Study

INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Exit code 0 when every cell is finished, 1 when one diverged, 130 when it was interrupted."""
    return dispatch("study", "", VERBS, argv)


def _transfer(config: TransferConfig) -> int:
    from seodang.studies.transfer import transfer

    return _run(transfer, config)


def _zeroshot(config: ZeroShotConfig) -> int:
    from seodang.studies.zeroshot import zeroshot

    return _run(zeroshot, config)


def _ablation(config: AblationConfig) -> int:
    from seodang.studies.ablation import ablation

    return _run(ablation, config)


def _run(make: Callable[[Any], Study], config: StudyConfig) -> int:
    from seodang.studies.study import run_study

    result = run_study(make(config), config)
    print_result(result.to_dict(), config.json, result.lines)
    if result.interrupted:
        return INTERRUPTED
    return 0 if result.finished or config.dry_run else 1


VERBS: dict[str, tuple[str, type, Callable[[Any], int]]] = {
    "transfer": ("score against the number of transferred layers", TransferConfig, _transfer),
    "zeroshot": ("GPT-1's heuristics along a pre-training run, Transformer against LSTM", ZeroShotConfig, _zeroshot),
    "ablation": ("full, no auxiliary loss, no pre-training, LSTM, fine-tuned alike", AblationConfig, _ablation),
}
