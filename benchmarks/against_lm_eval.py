"""Our evaluation against lm-evaluation-harness's `hf` model: the same rows, the same folder, in turns, in one process.

The tasks are lm-evaluation-harness's own files, which read the rows from here; every prompt is compared, every
log-probability or generated text, every score. What is timed are the requests alone, on both sides, and on ours the
whole of `evaluate` as well. One thread unless OMP_NUM_THREADS says otherwise.

    python benchmarks/against_lm_eval.py sst2=dev.tsv arc_easy=arc_easy_dev.jsonl --rows 100 --batch-size 1

Needs lm_eval[hf], and real weights: `make smollm2`, or --model FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from side_by_side import machine, settle, spread
from smollm2 import smollm2_folder

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

Rows = list[dict[str, Any]]


def _choice(example: Any) -> dict[str, Any]:
    letters = "ABCDE"[: len(example.answers)]
    return {
        "question": example.texts[1],
        "choices": {"text": list(example.answers), "label": list(letters)},
        "answerKey": letters[example.label],
    }


def _endings(example: Any) -> dict[str, Any]:
    endings = {f"ending_{number}": text for number, text in enumerate(example.answers, start=1)}
    return {"context": example.texts[0], **endings, "label": example.label}


def _copa(example: Any) -> dict[str, Any]:
    first, second = example.answers
    told = {"premise": example.texts[0], "question": example.texts[1]}
    return {**told, "alternative_1": first, "alternative_2": second, "label": example.label}


def _race(example: Any) -> dict[str, Any]:
    problem = {"question": example.texts[1], "options": list(example.answers), "answer": "ABCD"[example.label]}
    return {"article": example.texts[0], "problems": repr([problem])}


def _wic(example: Any) -> dict[str, Any]:
    first, second = example.texts
    return {"context_1": first, "context_2": second, "word": re.findall(r"\[(.+?)\]", first)[0], "label": example.label}


def _articles(file: str) -> Iterator[dict[str, Any]]:
    from seodang.evaluation.tasks.wikitext import articles

    return ({"page": text} for text, _ in articles(Path(file)))


def _sums(file: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, Path(file).read_text("utf-8").splitlines())


def _named(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda example: {**dict(zip(names, example.texts, strict=True)), "label": example.label}


TASKS: dict[str, tuple[str, str, Callable[[Any], dict[str, Any]]]] = {
    "arc_easy": ("arc-easy", "arc/arc_easy.yaml", _choice),
    "arc_challenge": ("arc-challenge", "arc/arc_challenge.yaml", _choice),
    "commonsense_qa": ("commonsenseqa", "commonsense_qa/default.yaml", _choice),
    "sst2": ("sst2", "glue/sst2/default.yaml", _named("sentence")),
    "cola": ("cola", "glue/cola/default.yaml", _named("sentence")),
    "rte": ("rte", "glue/rte/default.yaml", _named("sentence1", "sentence2")),
    "mrpc": ("mrpc", "glue/mrpc/default.yaml", _named("sentence1", "sentence2")),
    "mnli": ("mnli", "glue/mnli/default.yaml", _named("premise", "hypothesis")),
    "qnli": ("qnli", "glue/qnli/default.yaml", _named("question", "sentence")),
    "race": ("race", "race/race.yaml", _race),
    "kobest_boolq": ("kobest-boolq", "kobest/kobest_boolq.yaml", _named("paragraph", "question")),
    "kobest_copa": ("kobest-copa", "kobest/kobest_copa.yaml", _copa),
    "kobest_hellaswag": ("kobest-hellaswag", "kobest/kobest_hellaswag.yaml", _endings),
    "kobest_sentineg": ("kobest-sentineg", "kobest/kobest_sentineg.yaml", _named("sentence")),
    "kobest_wic": ("kobest-wic", "kobest/kobest_wic.yaml", _wic),
    "wikitext": ("wikitext-pages", "wikitext/wikitext.yaml", _articles),
    "gsm8k": ("gsm8k", "gsm8k/gsm8k.yaml", _sums),
}
"""Their name → ours, their file below lm_eval/tasks, and a row, or all rows of a file, in the layout of the hub."""

SAME = {
    "accuracy": "acc", "accuracy_norm": "acc_norm", "matthews": "mcc", "f1": "f1", "macro_f1": "f1",
    "strict": "exact_match,strict-match", "flexible": "exact_match,flexible-extract",
}  # fmt: skip


def hub_rows(name: str, file: str, n: int) -> Rows:
    """The first rows of a task's file as the data set on the hub has them."""
    from seodang.data.tasks import read_task

    ours, _, layout = TASKS[name]
    if layout in (_articles, _sums):
        return list(islice(layout(file), n))
    return [layout(example) for example in read_task(ours, file).examples[:n]]


def task_file(name: str, data: Path, folder: Path) -> str:
    """Their task, reading `data`. Returns its name."""
    import lm_eval

    theirs = Path(lm_eval.__file__).parent / "tasks" / TASKS[name][1]
    lines = [
        f"include: {theirs}", f"task: {name}_here", "tag: null", "dataset_path: json", "dataset_name: null",
        f"dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {folder / 'cache'}}}",
        "training_split: null", "validation_split: null", "fewshot_split: null", "test_split: test",
    ]  # fmt: skip
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    return f"{name}_here"


def turns_of(requests: list[Any], n_turns: int) -> Iterator[list[Any]]:
    """The requests in so many parts; a document's stay together."""
    documents: dict[int, list[Any]] = {}
    for request in requests:
        documents.setdefault(request.doc_id, []).append(request)
    rows = list(documents.values())
    size = -(-len(rows) // n_turns)
    for start in range(0, len(rows), size):
        yield [request for row in rows[start : start + size] for request in row]


def engines(folder: str, batch_size: str, n_turns: int) -> tuple[Any, Any, list[dict[str, float]]]:
    """(our model, their `hf`, the seconds of every turn): whenever `hf` is asked, ours is asked the same, before it."""
    from lm_eval.models.huggingface import HFLM

    from seodang.inference.language_model import load
    from seodang.inference.requests import continuations, generations, rolling

    ours, times = load(folder, device="cpu"), []

    class Turns(HFLM):
        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
            return in_turns(
                requests,
                lambda asked: [(one.logprob, one.is_greedy) for one in continuations(ours, asked)],
                super().loglikelihood,
                lambda a, b: (abs(a[0] - b[0]), a[1] != b[1]),
            )

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
            return in_turns(
                requests,
                lambda asked: [one.logprob for one in rolling(ours, [text for (text,) in asked])],
                super().loglikelihood_rolling,
                lambda a, b: (abs(a - b), False),
            )

        def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
            # a batch on our side is what it is on theirs
            def own(asked: list[Any]) -> list[str]:
                size = self.batch_size if isinstance(self.batch_size, int) else 16
                found = generations(ours, [text for text, _ in asked], asked[0][1]["until"], batch_size=size)
                return [one.text for one in found]

            return in_turns(requests, own, super().generate_until, lambda a, b: (0.0, a != b))

    def in_turns(
        requests: list[Any], own: Callable[[list[Any]], Any], theirs: Callable[..., Any], differ: Callable[..., Any]
    ) -> list[Any]:
        found = {}
        for part in turns_of(requests, n_turns):
            start, busy = time.perf_counter(), time.process_time()
            mine = own([request.args for request in part])
            middle, busy_middle = time.perf_counter(), time.process_time()
            other = theirs(part, disable_tqdm=True)
            end, busy_end = time.perf_counter(), time.process_time()
            found |= {id(request): answer for request, answer in zip(part, other, strict=True)}
            unlike = [differ(a, b) for a, b in zip(mine, other, strict=True)]
            times.append(
                {"rows": len({request.doc_id for request in part}), "ours": middle - start, "hf": end - middle,
                 "ours_busy": busy_middle - busy, "hf_busy": busy_end - busy_middle,
                 "gap": max(gap for gap, _ in unlike), "unlike": sum(other for _, other in unlike)}
            )  # fmt: skip
        return [found[id(request)] for request in requests]

    size = int(batch_size) if batch_size.isdigit() else batch_size
    return ours, Turns(folder, device="cpu", batch_size=size), times


def limit(lm: Any, pairs: list[tuple[str, str]]) -> float:
    """Seconds that the matrix products alone would take, each needed token and each predicting state once.

    The rate is that of products of 512 tokens with the model's own matrices, through oneDNN as ours.
    """
    import torch

    from seodang.inference.requests import encode_pairs
    from seodang.models.linear import product

    whole = [(context + ids, len(ids)) for context, ids in encode_pairs(lm, pairs)]
    read = {tuple(ids[:end]) for ids, _ in whole for end in range(1, len(ids))}
    predicting = {tuple(ids[:end]) for ids, n in whole for end in range(len(ids) - n, len(ids))}
    head = lm.model.output_weight.numel()
    flops = 2 * ((lm.model.n_matmul_parameters() - head) * len(read) + head * len(predicting))
    matrices = [one.weight for one in lm.model.layers[0].modules() if isinstance(one, torch.nn.Linear)]
    with torch.inference_mode():
        inputs = [torch.randn(512, matrix.shape[1]) for matrix in matrices]
        seconds = []
        for _ in range(8):
            start = time.process_time()
            for x, matrix in zip(inputs, matrices, strict=True):
                product(x, matrix)
            seconds.append(time.process_time() - start)
    rate = 2 * 512 * sum(matrix.numel() for matrix in matrices) / statistics.median(seconds)
    return flops / rate


def texts_of(sample: dict[str, Any]) -> list[Any]:
    """What the harness asked of a row, as our items have it: pairs for continuations, texts alone for the others."""
    arguments = sample["arguments"]
    if isinstance(arguments, dict):
        arguments = [list(arguments[f"gen_args_{i}"].values()) for i in range(len(arguments))]
    pairs = [tuple(one) for one in arguments]
    return [pair if len(pair) == 2 and isinstance(pair[1], str) else pair[0] for pair in pairs]


def their_name(measurement: str, metric: str) -> str:
    """The harness's name of one of our measurements."""
    name = SAME.get(measurement, SAME.get(metric, measurement))
    return name if "," in name else f"{name},none"


def compare(
    name: str, file: str, data: Path, folder: Path, ours: Any, theirs: Any, times: list[dict[str, float]]
) -> dict[str, Any]:
    """One task: scores of both, ours from `file` and theirs from `data`, how far they are apart, rows a second."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from seodang.evaluation import tasks
    from seodang.evaluation.harness import evaluate

    times.clear()
    key = task_file(name, data, folder)
    result = simple_evaluate(
        theirs, tasks=[key], num_fewshot=0, task_manager=TaskManager(include_path=str(folder)), bootstrap_iters=0,
        log_samples=True,
    )  # fmt: skip
    rows = {sample["doc_id"]: sample for sample in result["samples"][key]}  # one for each filter of a task
    samples = [rows[number] for number in sorted(rows)]
    task = tasks.find(TASKS[name][0])
    start = time.perf_counter()
    own = evaluate(ours, task, [file], limit=len(samples))
    whole = time.perf_counter() - start
    asked = [list(item.asked) for item in islice(task.read([file]).items, len(samples))]
    unlike = sum(one != texts_of(sample) for one, sample in zip(asked, samples, strict=True))
    reported = result["results"][key]
    names = {measure: their_name(measure, one.metric) for measure, one in own.measurements.items()}
    scores = {
        measure: (one.value, reported[names[measure]])
        for measure, one in own.measurements.items()
        if names[measure] in reported
    }
    n = sum(turn["rows"] for turn in times)
    pairs = [pair for row in asked for pair in row if isinstance(pair, tuple)]
    share = limit(ours, pairs) / sum(turn["ours_busy"] for turn in times) if pairs else None
    return {
        "task": name, "rows": own.n, "scores": scores, "unlike_prompts": unlike,
        "largest_difference_of_a_score": max(abs(a - b) for a, b in scores.values()),
        "largest_difference_of_an_answer": max(turn["gap"] for turn in times),
        "unlike_texts": int(sum(turn["unlike"] for turn in times)),
        "rows_per_second": {side: n / sum(turn[side] for turn in times) for side in ("ours", "hf")},
        "rows_per_second_of_evaluate": own.n / whole,
        "share_of_the_limit": share,
        "ratio": spread([turn["hf"] / turn["ours"] for turn in times]),
        "ratio_of_processor_time": statistics.median(turn["hf_busy"] / turn["ours_busy"] for turn in times),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help=f"TASK=FILE; tasks: {', '.join(TASKS)}")
    parser.add_argument("--model", help="a Hugging Face folder (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--rows", type=int, default=100, help="rows of each task (default 100)")
    parser.add_argument("--turns", type=int, default=4, help="parts in which the sides take turns (default 4)")
    parser.add_argument("--batch-size", default="1", help="of hf: a number, or auto (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    settle()
    with ExitStack() as stack:
        folder = options.model or stack.enter_context(smollm2_folder())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, theirs, times = engines(folder, options.batch_size, options.turns)
        found = []
        for entry in options.tasks:
            name, _, file = entry.partition("=")
            data = scratch / f"{name}.jsonl"
            rows = hub_rows(name, file, options.rows)
            data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
            found.append(compare(name, file, data, scratch, ours, theirs, times))
            print(words(found[-1]), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps({"benchmark": "against_lm_eval", "batch_size": options.batch_size, "machine": machine(),
                          "tasks": found}, ensure_ascii=False))  # fmt: skip


def words(one: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} {a:.4f} and {b:.4f}" for name, (a, b) in one["scores"].items())
    rates, ratio, gap = one["rows_per_second"], one["ratio"], one["largest_difference_of_an_answer"]
    share = "" if one["share_of_the_limit"] is None else f"{one['share_of_the_limit']:.0%} of the limit; "
    other = f", {one['unlike_texts']} texts or marks of the most probable differ" if one["unlike_texts"] else ""
    return (
        f"{one['task']}, {one['rows']} rows: {scores}; an answer differs by at most {gap:.1e}, "
        f"{one['unlike_prompts']} prompts differ{other}\n  {rates['ours']:.2f} rows a second and {rates['hf']:.2f}: "
        f"{ratio['median']:.1f} times ({ratio['low']:.1f} to {ratio['high']:.1f}), "
        f"{one['ratio_of_processor_time']:.1f} in processor time; "
        f"{share}the whole of evaluate {one['rows_per_second_of_evaluate']:.2f}"
    )


if __name__ == "__main__":
    main()
