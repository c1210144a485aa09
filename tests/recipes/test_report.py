"""The report: whole, self-contained, escaped, and true to the numbers of the run."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.errors import DataError, UsageError
from seodang.recipes import report_parts as parts
from seodang.recipes.report import write_report

VOID = {"meta", "br", "rect", "line", "path", "circle", "link", "img", "input"}
HOSTILE = "<script>alert('서당')</script> & \"quoted\""


class Reader(HTMLParser):
    """Checks that tags close in order; collects text, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    rows = []
    for step in range(1, 41):
        rows.append({
            "step": step, "tokens": step * 1000, "loss_per_token": 5 / step**0.5, "bits_per_byte": 3 / step**0.5,
            "tokens_per_second": 900.0, "learning_rate": 1e-3, "grad_norm": 1.0 if step != 7 else None,
            "seconds": step * 1.1, "peak_bytes": 250_000_000,
        })  # fmt: skip
        if step % 20 == 0:
            rows.append({"step": step, "tokens": step * 1000, "split": "eval", "loss_per_token": 4 / step**0.5,
                         "bits_per_byte": 2 / step**0.5, "seconds": step * 1.1})  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 41, "tok')
    samples = [{"step": step, "prompt": HOSTILE, "temperature": 0.0, "text": f"said {step} {HOSTILE}"} for step in
               (0, 20, 40)]  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    (folder / "run.json").write_text(json.dumps({"verb": "pretrain", "options": {"model": HOSTILE, "seed": 7}}))
    return folder


def test_a_run_becomes_one_page_that_needs_nothing_else(run_folder: Path) -> None:
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    html = path.read_text(encoding="utf-8")
    reader = read(html)
    tags = {tag for tag, _ in reader.tags}
    assert "svg" in tags and "table" in tags
    assert not tags & {"script", "link", "img", "iframe"}
    for _, attributes in reader.tags:
        assert not {"src", "href", "onclick", "onload"} & set(attributes)
    assert "url(" not in html and "@import" not in html and "<!--" not in html


def test_what_the_run_said_is_shown_and_escaped(run_folder: Path) -> None:
    html = write_report(run_folder).read_text(encoding="utf-8")
    assert "<script>" not in html
    text = "".join(read(html).text)
    assert f"said 40 {HOSTILE}" in text and f"said 0 {HOSTILE}" in text
    assert f"{2 / 40**0.5:.3f}" in text  # held-out bits per byte at the end
    assert "250\u00a0MB" in text and "40k" in text


def test_the_verb_writes_where_it_is_told(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "elsewhere" / "page.html"
    assert main(["report", str(run_folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", str(run_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(run_folder / "report.html")}


def test_folders_that_are_no_run(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(UsageError):
        write_report(tmp_path / "missing")
    with pytest.raises(UsageError):
        write_report(tmp_path)
    (run_folder / "metrics.jsonl").write_text('{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(DataError, match="metrics.jsonl:2"):
        write_report(run_folder)
    (run_folder / "demo.json").write_text("{}")
    with pytest.raises(DataError, match="demo.json"):
        write_report(run_folder)
    assert not (run_folder / "report.html").exists()


def test_a_run_without_a_step_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    assert "No step was logged" in write_report(tmp_path).read_text(encoding="utf-8")


def test_ticks_are_round_and_cover_the_range() -> None:
    assert parts.ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert parts.ticks(0.0, 97.0) == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    assert parts.ticks(1000, 40000, tight=True) == [10000.0, 20000.0, 30000.0, 40000.0]
    assert len(parts.ticks(3.0, 3.0)) >= 2


def test_a_curve_puts_points_where_they_belong() -> None:
    svg = parts.curve("A & B", [parts.Series("one", [0, 1, 2], [0.0, math.nan, 1.0])], "tokens")
    path = re.search(r'class="c0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', svg)
    assert path is not None
    x0, y0, x1, y1 = map(float, path.groups())
    assert x0 == parts.LEFT and x1 == parts.WIDTH - parts.RIGHT
    assert y0 == parts.HEIGHT - parts.BOTTOM and y1 == parts.TOP  # SVG's y runs downwards
    assert "A &amp; B" in svg
    assert parts.curve("none", [parts.Series("x", [1.0], [math.nan])], "tokens") == ""


def test_numbers_people_read() -> None:
    assert [parts.short(n) for n in (0, 0.5, 1234, 1.5e6, 2.25e20)] == ["0", "0.5", "1.23k", "1.5M", "225E"]
    assert [parts.span(s) for s in (4.21, 185, 3723)] == ["4.2 s", "3:05 min", "1:02:03 h"]
    assert [parts.size(n) for n in (12, 5.73e8)] == ["12\u00a0B", "573\u00a0MB"]
    assert parts.smooth([1.0, 1.0, 4.0, 1.0, 1.0]) == [1.0, 2.0, 2.0, 2.0, 1.0]


def test_a_run_of_several_terms_is_labelled_as_such(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "tokens": 0, "split": "eval", "loss_per_token": 5.9, "bits_per_byte": None, "masked_loss": 5.2,
         "next_sentence_loss": 0.7, "masked_accuracy": 0.005, "next_sentence_accuracy": 0.5},
        {"step": 1, "tokens": 500, "loss_per_token": 5.8, "bits_per_byte": None, "masked_loss": 5.1,
         "next_sentence_loss": 0.7},
        {"step": 1, "tokens": 500, "split": "eval", "loss_per_token": 5.0, "bits_per_byte": None, "masked_loss": 4.4,
         "next_sentence_loss": 0.6, "masked_accuracy": 0.154, "next_sentence_accuracy": 0.75},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = " ".join(read(write_report(tmp_path).read_text(encoding="utf-8")).text)
    assert "masked accuracy (held out) 0.154 first 0.005" in " ".join(text.split())
    assert "Next sentence accuracy" in text and "loss of all terms" in text
    assert "per token" not in text and "bits per byte" not in text.lower()


def test_one_masked_term_is_a_mean_over_masked_tokens(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "tokens": 500, "loss_per_token": 5.8, "bits_per_byte": None},
        {"step": 1, "tokens": 500, "split": "eval", "loss_per_token": 5.0, "bits_per_byte": None,
         "masked_accuracy": 0.1},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "Loss per masked token" in write_report(tmp_path).read_text(encoding="utf-8")
