"""Continuing a run from its own folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from seodang.errors import SeodangError
from seodang.recipes.config import FinetuneConfig, PretrainConfig, RunConfig, SFTConfig
from seodang.recipes.run import RUN, RunResult, read_run


def resume(folder: Path, *, quiet: bool = False) -> RunResult:
    """Take the run in `folder` up at its newest whole checkpoint, with the options it was started with.

    Raises UsageError when the folder holds no run, and what the run itself raises.
    """
    verb, options = read_run(folder)
    known: dict[str, type[RunConfig]] = {"pretrain": PretrainConfig, "sft": SFTConfig, "finetune": FinetuneConfig}
    config_class = known.get(verb)
    if config_class is None:
        raise SeodangError(f"{folder / RUN} is of an unknown verb {verb!r}", "", "use the version that wrote it")
    values: dict[str, Any] = {}
    for option in fields(config_class):
        if option.name in options:
            value = options[option.name]
            if option.name in ("data", "eval"):
                value = tuple(Path(item) for item in value)
            values[option.name] = tuple(value) if isinstance(value, list) else value
    if not {"model", "data"} <= values.keys():
        raise SeodangError(f"{folder / RUN} is damaged", "it names no model or no data", "start the run anew")
    config = config_class(**{**values, "out": folder, "resume": True, "quiet": quiet})
    if isinstance(config, PretrainConfig):
        from seodang.recipes.pretrain import pretrain

        return pretrain(config)
    if isinstance(config, FinetuneConfig):
        from seodang.recipes.finetune import finetune

        return finetune(config)
    from seodang.recipes.sft import sft

    assert isinstance(config, SFTConfig)
    return sft(config)
