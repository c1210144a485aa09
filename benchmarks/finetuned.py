"""One pre-trained model fine-tuned on many tasks, beside the same network untrained and the majority: a table.

    python benchmarks/finetuned.py --model smollm2 --out runs/tasks --minutes 15 \
        sst2=train.tsv,dev.tsv cola=train.tsv,dev.tsv mrpc=msr_paraphrase_train.txt

NAME=TRAIN[,DEV]: a published task with its files; without DEV a tenth of TRAIN is held out. Each runs twice through
`seodang finetune` with its defaults, from the trained and (--from-scratch) from fresh weights, for --epochs or
--minutes, whichever end first. What is finished in --out is not run again. Prints the table; --only what there is.
Afterwards `seodang compare OUT/untrained OUT/pretrained --average glue` tests each difference.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

KEPT = ("evaluation.json", "evaluation.samples.jsonl", "metrics.jsonl", "run.json", "result.json")


def train(model: str, task: str, files: list[str], out: Path, more: list[str]) -> dict[str, Any]:
    """One run, or what it left behind."""
    result = out / "result.json"
    if not result.is_file():
        command = [sys.executable, "-m", "seodang", "finetune", "--model", model, "--task", task, "--data", files[0]]
        command += ["--eval", files[1]] if len(files) > 1 else []
        command += ["--out", str(out), "--json", "--quiet", "--keep", "1", *more]
        command += ["--resume"] if out.exists() else []
        print(shlex.join(command), file=sys.stderr, flush=True)
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        result.write_text(said, encoding="utf-8")
        for path in out.iterdir():  # a model of half a gigabyte, and its optimiser
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return json.loads(result.read_text(encoding="utf-8"))


def line(task: str, trained: dict[str, Any], fresh: dict[str, Any] | None) -> str:
    """A row of the table: a metric of both with intervals, the majority, rows and time."""

    def said(run: dict[str, Any] | None, name: str) -> str:
        if run is None:
            return "–"
        found = run["scores"]["metrics"][name]
        return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"

    rows = []
    for name, found in trained["scores"]["metrics"].items():
        baseline = "–" if found["baseline"] is None else f"{found['baseline']:.3f}"
        cells = [task, name, said(trained, name), said(fresh, name), baseline, f"{found['n']:,}"]
        plan = trained["plan"]
        cells += [f"{plan['train_rows']:,}", f"{trained['steps'] * plan['batch_rows'] / plan['train_rows']:.2f}"]
        rows.append("| " + " | ".join([*cells, f"{trained['seconds'] / 60:.1f}"]) + " |")
    return "\n".join(rows)


def main() -> None:
    """Run what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="NAME=TRAIN[,DEV]")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--only", action="store_true", help="print the table of what is finished")
    parser.add_argument("--options", default="", help='more options of seodang finetune: "--dtype float32"')
    options = parser.parse_args()
    more = ["--epochs", str(options.epochs), "--minutes", str(options.minutes), *shlex.split(options.options)]
    print("| task | metric | pre-trained | untrained | majority | rows | training rows | epochs | minutes |")
    print("|" + "---|" * 9)
    for entry in options.tasks:
        task, _, files = entry.partition("=")
        runs: list[dict[str, Any] | None] = []
        for which, options_of_it in (("pretrained", []), ("untrained", ["--from-scratch"])):
            out = options.out / which / task
            if options.only and not (out / "result.json").is_file():
                runs.append(None)
                continue
            runs.append(train(options.model, task, files.split(","), out, [*options_of_it, *more]))
        if runs[0] is not None:
            print(line(task, runs[0], runs[1]), flush=True)


if __name__ == "__main__":
    main()
