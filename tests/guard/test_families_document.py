"""The worked example of docs/families.md, run as it is printed; and its table of lines, counted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.checkpoints import layouts
from seodang.checkpoints.huggingface import load_folder
from seodang.checkpoints.layouts.base import Layout
from seodang.models import families, sizes
from seodang.models.config import ModelConfig, RoPE
from seodang.recipes.config import PretrainConfig
from seodang.recipes.pretrain import pretrain
from seodang.text import styles
from tests.guard.documents import blocks
from tests.guard.source import ROOT

DOCUMENT = ROOT / "docs" / "families.md"


def test_the_example_is_a_whole_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, Any] = {
        "FAMILIES": families.FAMILIES, "SIZES": sizes.SIZES, "STYLE_OF": styles.FAMILIES, "ModelConfig": ModelConfig,
        "RoPE": RoPE, "Layout": Layout,
    }  # fmt: skip
    for table, name in ((families.FAMILIES, "palm"), (sizes.SIZES, "palm-mini"), (styles.FAMILIES, "palm")):
        monkeypatch.setitem(table, name, None)  # type: ignore[call-overload]  # taken out again afterwards
    for block in blocks(DOCUMENT, "python"):
        exec(compile(block, str(DOCUMENT), "exec"), tables)
    monkeypatch.setattr(layouts, "LAYOUTS", (*layouts.LAYOUTS, tables["PALM"]))
    text = tmp_path / "text.txt"
    text.write_text("The little cat sat on the red mat. " * 200, encoding="utf-8")
    result = pretrain(
        PretrainConfig(
            model="palm-mini", data=(text,), out=tmp_path / "run", steps=8, batch_tokens=256, max_length=64, lr=3e-3,
            vocab_size=300, eval_fraction=0.1, dtype="float32", device="cpu", quiet=True,
        )  # fmt: skip
    )
    assert result.summary.evaluation["loss_per_token"] < 0.8 * result.summary.first_evaluation["loss_per_token"]
    model, tokenizer, _ = load_folder(tmp_path / "run")
    assert tokenizer is not None
    ids = torch.tensor([tokenizer.encode("The little cat sat on the red mat.")])
    cache, pieces = model.new_cache(1, ids.shape[1]), []
    with torch.no_grad():
        for at in range(ids.shape[1]):
            pieces.append(model(ids[:, at : at + 1], cache=cache))
            cache.advance(1)
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=0, atol=1e-5)


def test_the_table_of_lines_is_true() -> None:
    rows = re.findall(r"^\|.*?\]\((\.\./src/[^)]+\.py)\) (\d+) .*?\]\((\.\./src/[^)]+\.py)\) (\d+)",
                      DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)  # fmt: skip
    assert len(rows) >= 15
    for model, lines, layout, more in rows:
        for path, stated in ((model, lines), (layout, more)):
            found = len((DOCUMENT.parent / path).resolve().read_text(encoding="utf-8").splitlines())
            assert abs(found - int(stated)) <= max(5, 0.1 * found), f"{path} has {found} lines, the table says {stated}"
