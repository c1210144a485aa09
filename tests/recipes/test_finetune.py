"""seodang finetune and classify, from files to scores, on toy tasks of every kind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.training import checkpoint_folders
from seodang.checkpoints.verify import verify_folder
from seodang.cli.main import main
from seodang.data.labelled import Labelled
from seodang.data.task_settings import MARKS, PAD
from seodang.errors import SeodangError, UsageError
from seodang.evaluation.compare import compare_results
from seodang.evaluation.results import load_results
from seodang.inference.language_model import load
from seodang.recipes.config import FinetuneConfig
from seodang.recipes.defaults import fine_tuning
from seodang.recipes.finetune import finetune
from seodang.recipes.resume import resume
from seodang.training.log import read_rows
from tests.recipes.tasks import KINDS, MODELS, base_model, rows, write


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A decoder, an encoder and an LSTM with fresh weights."""
    folder = tmp_path_factory.mktemp("bases")
    return {which: base_model(folder / which, which) for which in MODELS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KIND.jsonl and KIND-dev.jsonl."""
    folder = tmp_path_factory.mktemp("tasks")
    for kind in KINDS:
        write(folder / f"{kind}.jsonl", rows(kind, 384, 0))
        write(folder / f"{kind}-dev.jsonl", rows(kind, 80, 1))
    return folder


def config(base: Path, files: Path, out: Path, kind: str = "classify", **options: Any) -> FinetuneConfig:
    """Options of a run of seconds."""
    usual = {"epochs": 5, "lr": 3e-3, "device": "cpu", "dtype": "float32", "quiet": True, "eval_every": 1000}
    data, held_out = (files / f"{kind}.jsonl",), (files / f"{kind}-dev.jsonl",)
    settings: dict[str, Any] = {"model": str(base), "task": kind, "data": data, "eval": held_out, "out": out}
    return FinetuneConfig(**{**settings, **usual, **options})


@pytest.fixture(scope="module")
def tuned(bases: dict[str, Path], files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that tells animals from fruits."""
    out = tmp_path_factory.mktemp("tuned") / "model"
    result = finetune(config(bases["decoder"], files, out))
    assert result.scores["metrics"]["accuracy"]["value"] == 1.0
    return out


SLOW = [(which, kind) for which in MODELS for kind in KINDS if (which, kind) not in (
    ("decoder", "classify"), ("encoder", "entail"), ("lstm", "similar"))]  # fmt: skip


@pytest.mark.parametrize("which, kind", [("encoder", "entail"), ("lstm", "similar"),
                                         *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])  # fmt: skip
def test_a_tiny_model_learns_every_kind(
    which: str, kind: str, bases: dict[str, Path], files: Path, tmp_path: Path
) -> None:
    result = finetune(config(bases[which], files, tmp_path / "out", kind, epochs=16 if kind == "regress" else 5))
    name = "pearson" if kind == "regress" else "accuracy"
    measured = result.scores["metrics"][name]
    assert measured["value"] > 0.95 and measured["baseline"] < 0.75
    assert measured["low"] <= measured["value"] <= measured["high"] and measured["n"] == 80
    assert result.facts["aux_weight"] == (0.0 if which == "encoder" else 0.5)


def test_what_a_run_leaves_behind(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((tuned / "config.json").read_text())
    assert stored["architectures"] == ["GPT2ForSequenceClassification"]
    assert stored["id2label"] == {"0": "animal", "1": "fruit"} and stored["label2id"] == {"animal": 0, "fruit": 1}
    assert stored["pad_token_id"] not in (None, stored["eos_token_id"])
    kept = json.loads((tuned / "seodang.json").read_text())["task"]
    assert kept["spec"]["labels"] == ["animal", "fruit"] and kept["max_length"] == 32
    assert kept["special"]["extract"] == "<|task_extract|>"
    lm = load(tuned)
    assert lm.task is not None and lm.task.kind == "classify" and lm.tokenizer.id_of("<|task_extract|>") is not None
    assert verify_folder(tuned).passed and len(lm.generate("look, a", max_new_tokens=4).tokens) > 0
    results = load_results(tuned / "evaluation.json")
    assert results.tasks["classify"].measurements["accuracy"].value == 1.0
    assert {row["name"]: row["right"] == row["examples"] > 0 for row in results.machine["classes"]} == {
        "animal": True, "fruit": True}  # fmt: skip
    assert compare_results([results, results], ["a", "b"]).rows[0].differences[0].difference == 0
    last = read_rows(tuned / "metrics.jsonl")[-1]
    assert last["split"] == "eval" and last["accuracy"] == 1.0 and {"task_loss", "language_loss"} <= set(last)


def test_a_prediction_is_the_same_alone_and_in_any_batch(tuned: Path) -> None:
    lm = load(tuned)
    texts = [row["text"] for row in rows("classify", 9, 3)] + ["a fig", "look, " * 9 + "a cat is there"]
    alone = [lm.classify([text])[0] for text in texts]
    for size in (2, 11):
        for one, many in zip(alone, lm.classify(texts, batch_size=size), strict=True):
            assert one.label == many.label
            assert one.probabilities == pytest.approx(many.probabilities, abs=1e-5)


def test_transformers_gives_the_same_probabilities(tuned: Path) -> None:
    transformers = pytest.importorskip("transformers")
    lm, texts = load(tuned), ["look, a fig is there", "a cat"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tuned).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tuned)
    framed = [f"<|task_start|>{text}<|task_extract|>" for text in texts]
    batch = tokenizer(framed, return_tensors="pt", padding=True)
    with torch.no_grad():
        found = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)
    expected = torch.tensor([one.probabilities for one in lm.classify(texts)])
    assert torch.allclose(found, expected.float(), atol=1e-4)
    assert [model.config.id2label[int(row.argmax())] for row in found] == ["fruit", "animal"]


def test_resumed_equals_uninterrupted(bases: dict[str, Path], files: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {"epochs": None, "steps": 8, "save_every": 4, "batch_rows": 16, "dropout": 0.1, "keep": 3}
    for out in (whole, cut):
        finetune(config(bases["decoder"], files, out, "similar", **options))
    shutil.rmtree(checkpoint_folders(cut)[-1])
    for name in ("config.json", "model.safetensors", "evaluation.json"):
        (cut / name).unlink()
    again = resume(cut, quiet=True)
    assert again.summary.steps == 8 and (cut / "evaluation.json").exists()
    before, after = load_model(whole).model.state_dict(), load_model(cut).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and "classifier.weight" in before
    kept = [load_results(out / "evaluation.json").tasks["similar"] for out in (whole, cut)]
    assert kept[0].measurements == kept[1].measurements


def test_a_fine_tuned_model_goes_on_with_its_head_or_gets_another(tuned: Path, files: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": None, "steps": 1, "lr": 1e-9}
    same = finetune(config(tuned, files, tmp_path / "same", **options))
    assert same.scores["metrics"]["accuracy"]["value"] == 1.0
    finetune(config(tuned, files, tmp_path / "other", "regress", **options))
    other, first = load_model(tmp_path / "other"), load_model(tuned)
    assert other.model.config.n_classes == 1 and other.model.config.vocab_size == first.model.config.vocab_size
    assert torch.allclose(other.model.embed.weight, first.model.embed.weight, atol=1e-6)


def test_from_scratch_and_balanced_weights(tuned: Path, files: Path, tmp_path: Path) -> None:
    some = [row for row in rows("classify", 90, 4) if row["label"] == "animal"][:30]
    few = [row for row in rows("classify", 90, 5) if row["label"] == "fruit"][:10]
    data = (write(tmp_path / "few.jsonl", [*some, *few]),)
    options = {"data": data, "from_scratch": True, "class_weights": "balanced", "epochs": None, "steps": 1}
    result = finetune(config(tuned, files, tmp_path / "out", **options))
    assert result.facts["class_weights"] == pytest.approx([2 / 3, 2.0])
    assert result.facts["label_counts"] == {"animal": 30, "fruit": 10}
    assert result.summary.first_evaluation["accuracy"] < 0.95  # what it had learned is gone


@pytest.mark.parametrize("changes, fact, value", [
    ({"aux_weight": 0.25}, "aux_weight", 0.25),
    ({"batch_rows": 8}, "batch_rows", 8),
    ({"head_dropout": 0.3}, "head_dropout", 0.3),
    ({"class_weights": "balanced"}, "class_weights", pytest.approx([1.0, 1.0], abs=0.2)),
    ({"eval": (), "eval_fraction": 0.5}, "held_out_rows", 192),
    ({"max_length": 5}, "context_length", 5),
    ({"lr": 1e-4}, "learning_rate", 1e-4),
])  # fmt: skip
def test_options_reach_the_run(
    changes: dict[str, Any], fact: str, value: Any, bases: dict[str, Path], files: Path, tmp_path: Path
) -> None:
    usual = finetune(config(bases["decoder"], files, tmp_path / "out", dry_run=True)).facts
    facts = finetune(config(bases["decoder"], files, tmp_path / "out", dry_run=True, **changes)).facts
    assert facts[fact] == value != usual[fact]


def test_rows_that_are_too_long_are_cut_dropped_or_stop_the_run(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = rows("classify", 20, 0)
    examples[3]["text"] = "look, " * 40 + "a cat"
    files = {"data": (write(tmp_path / "train.jsonl", examples),), "eval": (), "eval_fraction": 0, "dry_run": True}

    def run(**changes: Any) -> str:
        finetune(config(bases["decoder"], tmp_path, tmp_path / "out", **{**files, "quiet": False, **changes}))
        return capsys.readouterr().err

    assert "1 of 20 rows cut to 32 tokens" in run() and "train.jsonl:4" in run()
    assert "1 of 20 rows left out as longer than 32 tokens" in run(too_long="drop")
    for changes, says in (({"too_long": "error"}, "train.jsonl:4 is too long"),
                          ({"too_long": "drop", "max_lost": 0.01}, "would be lost"),
                          ({"too_long": "drop", "max_lost": 1.0, "max_length": 3}, "20 of 20 rows")):  # fmt: skip
        with pytest.raises(SeodangError, match=says) as caught:
            run(**changes)
        assert caught.value.exit_code == 3


def test_no_step_is_skipped_for_a_hard_example(tuned: Path, tmp_path: Path) -> None:
    """A wrong label among a hundred right ones: a run of single examples meets it and goes on."""
    examples = rows("classify", 100, 6)
    examples[0]["label"] = "fruit" if examples[0]["label"] == "animal" else "animal"
    files = {"data": (write(tmp_path / "train.jsonl", examples),), "eval": ()}
    options = {**files, "batch_rows": 1, "epochs": 1, "lr": 1e-6, "eval_fraction": 0}
    result = finetune(config(tuned, tmp_path, tmp_path / "out", **options))
    losses = [row["task_loss"] for row in read_rows(tmp_path / "out" / "metrics.jsonl")]
    assert max(losses) > 10 * sorted(losses)[50] and max(losses) > 1 and result.summary.skipped == 0


def test_a_part_is_held_out_without_eval_files_and_a_dry_run_writes_nothing(
    bases: dict[str, Path], files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = finetune(config(bases["decoder"], files, out, eval=(), dry_run=True))
    assert result.dry_run and not out.exists()
    assert (result.facts["train_rows"], result.facts["held_out_rows"]) == (346, 38)


def test_examples_that_are_learned_and_asked_are_counted(
    bases: dict[str, Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = rows("entail", 40, 0)
    fresh = [{"premise": "no", "hypothesis": f"row {n}", "label": "True"} for n in (1, 2)]
    data = (write(tmp_path / "train.jsonl", learned),)
    for asked, says in (([*learned[:3], *fresh], "note: 3 of 5 held-out examples are also learned from"), (fresh, "")):
        settings = {"data": data, "eval": (write(tmp_path / "dev.jsonl", asked),), "dry_run": True}
        finetune(config(bases["decoder"], files, tmp_path / "out", "entail", **settings))
        note = "".join(line for line in capsys.readouterr().err.splitlines() if "also learned" in line)
        assert says in note and bool(says) == bool(note)


def test_the_class_of_an_f1_is_named() -> None:
    from seodang.data.labelled import TaskSpec
    from seodang.evaluation.classified import class_counts, results_of
    from seodang.inference.classify import Prediction
    from seodang.recipes.finetune import score_lines

    spec = TaskSpec("similar", "similar", ("different", "same"), metrics=("accuracy", "f1"))
    examples = [Labelled(("a", "b"), n % 2, (), f"f:{n}") for n in range(8)]
    predictions = [Prediction(1, None, [0.0, 1.0])] * 8
    task = results_of(spec, examples, predictions, model="m", tokenizer="t").tasks["similar"]
    lines = score_lines(task, class_counts(spec, examples, predictions))
    assert lines[1].startswith("  accuracy 0.5000,") and lines[2].startswith("  f1 of same 0.6667,")


def test_hyper_parameters_are_the_papers() -> None:
    from seodang.models.sizes import published

    gpt1, bert = fine_tuning(published("gpt1")), fine_tuning(published("bert-base"))
    assert (gpt1.hyper.lr, gpt1.rows, gpt1.epochs, gpt1.aux_weight) == (6.25e-5, 32, 3, 0.5)
    assert (gpt1.hyper.warmup, gpt1.hyper.schedule, gpt1.head_dropout) == (0.002, "linear", 0.1)
    assert (bert.hyper.lr, bert.aux_weight, bert.hyper.warmup, bert.hyper.eps) == (3e-5, 0.0, 0.1, 1e-6)
    mini = fine_tuning(published("gpt2-mini"))
    assert 1e-4 < mini.hyper.lr < 1e-3 and "quarter" in mini.hyper.source


@pytest.mark.parametrize("words, code, says", [
    (["--task", "sst3"], 2, "sst2"),
    (["--batch-tokens", "64"], 2, "--batch-rows"),
    (["--aux-weight", "-1"], 2, "negative"),
    (["--columns", "text=review"], 3, "review"),
    (["--max-length", "2"], 4, "--max-length"),
    (["--batch-rows", "0"], 2, "above 0"),
])  # fmt: skip
def test_mistakes_are_said_in_three_lines(
    words: list[str], code: int, says: str, bases: dict[str, Path], files: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    argv = ["finetune", "--model", str(bases["decoder"]), "--data", str(files / "classify.jsonl")]
    assert main([*argv, "--out", str(tmp_path / "out"), "--quiet", *words]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()][-3:]
    assert lines[0].startswith("error:") and any(says in line for line in lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind, train, held_out, says", [
    ("classify", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], [{"text": "c", "label": "z"}], "z"),
    ("classify", [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], [], "x"),
    ("classify", [{"text": "a"}, {"text": "b"}], [], "label"),
    ("choice", [{"context": "a", "answers": ["x", "y"], "label": 0}, {"context": "b", "answers": ["z"], "label": 0}],
     [], "answers"),
])  # fmt: skip
def test_bad_labels_are_data_errors(
    kind: str, train: list[dict[str, Any]], held_out: list[dict[str, Any]], says: str, bases: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    files = {"data": (write(tmp_path / "train.jsonl", train),)}
    files["eval"] = (write(tmp_path / "dev.jsonl", held_out),) if held_out else ()
    with pytest.raises(SeodangError) as caught:
        finetune(config(bases["decoder"], tmp_path, tmp_path / "out", kind, **files))
    assert caught.value.exit_code == 3 and says in str(caught.value) and ".jsonl" in str(caught.value)


def test_what_cannot_be_fine_tuned(bases: dict[str, Path], files: Path, tmp_path: Path) -> None:
    from seodang.checkpoints.huggingface import save_folder
    from seodang.models.families import build_model
    from seodang.models.sizes import published

    with pytest.raises(UsageError, match="next token|encoder model|bert model"):
        finetune(config(bases["encoder"], files, tmp_path / "out", aux_weight=0.5))
    with pytest.raises(UsageError, match="a size, not a trained model"):
        finetune(config(Path("gpt2-mini"), files, tmp_path / "out"))
    t5 = build_model(published("t5-mini"))
    t5.init_weights()
    save_folder(tmp_path / "t5", t5, load_model(bases["decoder"]).tokenizer)
    with pytest.raises(UsageError, match="class head on a t5 model"):
        finetune(config(tmp_path / "t5", files, tmp_path / "out"))


def test_examples_of_another_kind_are_refused(tuned: Path, bases: dict[str, Path]) -> None:
    from seodang.errors import DataError

    lm = load(tuned)
    with pytest.raises(DataError, match="2 texts"):
        lm.classify([Labelled(("a", "b"), None)])
    with pytest.raises(DataError, match="2 answers"):
        lm.classify([Labelled(("a",), None, ("x", "y"))])
    with pytest.raises(UsageError, match="fine-tuned for no task"):
        load(bases["decoder"]).classify(["a"])


def test_marks_are_never_generated(tuned: Path) -> None:
    model = load(tuned)
    marks = {model.tokenizer.id_of(mark) for mark in (*MARKS.values(), PAD)} - {None}
    assert len(marks) >= 3
    made = model.generate(["look, a"] * 40, temperature=3.0, max_new_tokens=16, seed=1)
    assert not marks & {token for one in made for token in one.tokens}


def test_a_head_that_is_gone_on_with_has_the_dropout_asked_for(tuned: Path, files: Path, tmp_path: Path) -> None:
    before = load_model(str(tuned)).model
    result = finetune(config(tuned, files, tmp_path / "out", epochs=None, steps=1, lr=1e-9, head_dropout=0.3))
    after = load_model(str(tmp_path / "out")).model
    assert result.facts["head_dropout"] == after.config.head_dropout == 0.3 != before.config.head_dropout
    assert after.classifier is not None and before.classifier is not None
    torch.testing.assert_close(after.classifier.weight, before.classifier.weight, rtol=0, atol=1e-6)


def test_frozen_embeddings_say_that_the_marks_are_not_learned(
    bases: dict[str, Path], tuned: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for base, said in ((bases["decoder"], True), (tuned, False), (bases["encoder"], False)):
        finetune(config(base, files, tmp_path / base.name, dry_run=True, freeze="embed"))
        assert ("new tokens stay alike" in capsys.readouterr().err) == said


@pytest.mark.parametrize("kind", ["entail", "choice"])
def test_a_roberta_with_a_tokenizer_of_berts_kind(
    kind: str, bases: dict[str, Path], files: Path, tmp_path: Path
) -> None:
    """klue/roberta-*: the tokenizer tells second texts apart by segment 1, which the model does not know."""
    from seodang.checkpoints.huggingface import save_folder
    from seodang.models.families import build_model
    from seodang.models.sizes import published

    tokenizer = load_model(bases["encoder"]).tokenizer
    assert tokenizer is not None and 1 in tokenizer.encode_pair("a", "a")[1]
    sizes = {"d_model": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_head": 16, "d_ff": 64}
    config_ = replace(published("roberta-mini"), vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, **sizes)
    roberta = build_model(config_)
    roberta.init_weights(torch.Generator().manual_seed(0))
    save_folder(tmp_path / "roberta", roberta, tokenizer)
    result = finetune(config(tmp_path / "roberta", files, tmp_path / "out", kind, epochs=None, steps=2, max_length=32))
    assert result.scores["n"] == 80


def held_out_choices(folder: Path, *answers: str) -> dict[str, Any]:
    """Options of a run that is asked 20 choices, and after them one of each of these as its second answer."""
    asked = rows("choice", 20, 1) + [{**rows("choice", 1, 2)[0], "answers": ["a cat", one, "a fig"]} for one in answers]
    data = (write(folder / "train.jsonl", rows("choice", 64, 0)),)
    return {"data": data, "eval": (write(folder / "dev.jsonl", asked),), "epochs": None, "steps": 1}


def test_held_out_rows_that_do_not_fit_are_left_out_or_refused_before_the_first_step(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = held_out_choices(tmp_path, "a cat " * 40)
    result = finetune(config(bases["decoder"], tmp_path, tmp_path / "out", "choice", too_long="drop", quiet=False,
                             **options))  # fmt: skip
    note = f"1 of 21 rows left out as longer than 32 tokens: {tmp_path / 'dev.jsonl'}:21"
    assert f"held out   {note}" in capsys.readouterr().err and result.scores["n"] == result.facts["held_out_rows"] == 20
    stored = load_results(tmp_path / "out" / "evaluation.json").tasks["choice"]
    assert stored.n == 20 and stored.notes == (note,)
    for too_long in ("cut", "error"):
        with pytest.raises(SeodangError, match="dev.jsonl:21 does not fit into 32 tokens") as caught:
            finetune(config(bases["decoder"], tmp_path, tmp_path / too_long, "choice", too_long=too_long, **options))
        assert caught.value.exit_code == 4 and not (tmp_path / too_long / "metrics.jsonl").exists()


def test_held_out_rows_that_are_cut_are_said_and_kept(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*rows("classify", 9, 1), {"text": "look, " * 40 + "a cat", "label": "animal"}]
    files = {"data": (write(tmp_path / "train.jsonl", rows("classify", 64, 0)),)}
    files["eval"] = (write(tmp_path / "dev.jsonl", asked),)
    options: dict[str, Any] = {**files, "epochs": None, "steps": 1, "quiet": False}
    finetune(config(bases["decoder"], tmp_path, tmp_path / "out", **options))
    note = f"1 of 10 rows cut to 32 tokens: {tmp_path / 'dev.jsonl'}:10"
    assert f"held out   {note}" in capsys.readouterr().err
    assert load_results(tmp_path / "out" / "evaluation.json").tasks["classify"].notes == (note,)
    with pytest.raises(SeodangError, match="dev.jsonl:10 is too long"):
        finetune(config(bases["decoder"], tmp_path, tmp_path / "other", too_long="error", **options))
