"""Whole published files, where a folder of them is at hand: SEODANG_DATA=FOLDER pytest -m slow tests/data/tasks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seodang.data.tasks import Columns, read_task

pytestmark = pytest.mark.slow

FILES: list[tuple[str, str, tuple[int, ...], int]] = [
    # set, file, examples of each class (of a regression: of all), rows left out
    ("sst2", "en_sst2/train.tsv", (29780, 37569), 0),
    ("sst2", "en_sst2/dev.tsv", (428, 444), 0),
    ("cola", "en_cola/in_domain_train.tsv", (2528, 6023), 0),
    ("cola", "en_cola/in_domain_dev.tsv", (162, 365), 0),
    ("mrpc", "en_mrpc/msr_paraphrase_train.txt", (1323, 2753), 0),
    ("mnli", "en_nli/mnli_a.csv", (5003, 4293, 4704), 0),
    ("snli", "en_nli/snli_a.csv", (2393, 2278, 2329), 0),
    ("qnli", "en_nli/qnli_a.csv", (1972, 2028), 0),
    ("rte", "en_nli/rte_train.csv", (1249, 1241), 0),
    ("rte", "en_nli/rte_dev.csv", (146, 131), 0),
    ("scitail", "en_nli/scitail_a.csv", (596, 904), 0),
    ("stsb", "en_stsb/sts-train.csv", (5749,), 0),
    ("stsb", "en_stsb/sts-dev.csv", (1500,), 0),
    ("race", "en_race/race_500.jsonl", (93, 155, 140, 112), 0),
    ("arc-easy", "en_arc_csqa/arc_easy_train.jsonl", (548, 588, 578, 535, 2), 0),
    ("arc-easy", "en_arc_csqa/arc_easy_dev.jsonl", (158, 152, 142, 118), 0),
    ("arc-challenge", "en_arc_csqa/arc_challenge_train.jsonl", (239, 296, 291, 293), 0),
    ("arc-challenge", "en_arc_csqa/arc_challenge_dev.jsonl", (64, 73, 78, 83, 1), 0),
    ("commonsenseqa", "en_arc_csqa/csqa_train.jsonl", (1909, 1973, 1946, 1985, 1928), 0),
    ("commonsenseqa", "en_arc_csqa/csqa_dev.jsonl", (239, 255, 241, 251, 235), 0),
    ("imdb", "en_imdb/train.jsonl", (1800, 1800), 0),
    ("imdb", "en_imdb/val.jsonl", (250, 250), 0),
    ("trec", "en_trec_subj_mr/TREC.train", (86, 1250, 1162, 1223, 835, 896), 0),
    ("sst5", "en_trec_subj_mr/stsa.fine.train", (1092, 2218, 1624, 2322, 1288), 0),
    ("sst5", "en_trec_subj_mr/stsa.fine.dev", (139, 289, 229, 279, 165), 0),
    ("qqp", "en_qqp_t0/qqp.jsonl", (124, 76), 0),
    ("kobest-boolq", "ko_kobest/BoolQ_train.tsv", (1834, 1831), 0),
    ("kobest-boolq", "ko_kobest/BoolQ_dev.tsv", (374, 326), 0),
    ("kobest-copa", "ko_kobest/COPA_train.tsv", (1671, 1405), 0),
    ("kobest-copa", "ko_kobest/COPA_dev.tsv", (248, 252), 0),
    ("kobest-hellaswag", "ko_kobest/HellaSwag_train.tsv", (533, 511, 487, 498), 0),
    ("kobest-hellaswag", "ko_kobest/HellaSwag_dev.tsv", (111, 125, 145, 119), 0),
    ("kobest-sentineg", "ko_kobest/SentiNeg_train.tsv", (1811, 1838), 0),
    ("kobest-sentineg", "ko_kobest/SentiNeg_dev.tsv", (200, 200), 0),
    ("kobest-wic", "ko_kobest/WiC_train.tsv", (1638, 1680), 0),
    ("kobest-wic", "ko_kobest/WiC_dev.tsv", (349, 261), 0),
    ("nsmc", "ko_nsmc/ratings_train_small.txt", (15837, 15728), 1),
    ("kornli", "ko_kornlu/xnli.dev.ko.tsv", (830, 830, 830), 0),
    ("korsts", "ko_kornlu/sts-train.tsv", (5749,), 0),
    ("korsts", "ko_kornlu/sts-dev.tsv", (1500,), 0),
    ("paws-x", "ko_pawsx_ner/pawsx_ko_dev_2k.tsv", (1160, 840), 0),
    ("3i4k", "ko_3i4k/fci_train_val.txt", (5409, 16470, 16083, 11672, 1571, 979, 2950), 0),
    ("similar", "ko_question_pair/train.txt", (4169, 1967), 0),
    ("similar", "ko_question_pair/validation.txt", (432, 250), 0),
    ("regress", "ko_nsmc_raw/reviews_110k.tsv", (107813,), 0),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = os.environ.get("SEODANG_DATA")
    if not found:
        pytest.skip("SEODANG_DATA names no folder of data")
    return Path(found)


@pytest.mark.parametrize(("task", "file", "counts", "left_out"), FILES)
def test_counts(folder: Path, task: str, file: str, counts: tuple[int, ...], left_out: int) -> None:
    data = read_task(task, folder / file)
    found = tuple(data.label_counts().values()) or (len(data.examples),)
    assert found == counts and len(data.examples) == sum(counts)
    assert data.notes == ([f"left out {left_out} row with an empty text"] if left_out else [])
    if data.spec.kind == "choice":
        assert all(0 <= int(e.label or 0) < len(e.answers) for e in data.examples)


def test_tables_without_names(folder: Path) -> None:
    """ParaKQC: topic, speech act and text, none of them named."""
    path = folder / "ko_parakqc/paraKQC_v1.txt"
    topic = read_task("classify", path, columns=Columns(text="3", label="1"))
    assert list(topic.label_counts().values()) == [2500] * 4 and topic.spec.language == "ko"
    act = read_task("classify", path, columns=Columns(text="3", label="2"))
    assert list(act.label_counts().values()) == [2000, 4000, 2000, 2000]


def test_scores_are_within_their_range(folder: Path) -> None:
    for task, file in (("stsb", "en_stsb/sts-train.csv"), ("korsts", "ko_kornlu/sts-train.tsv")):
        scores = [float(example.label or 0) for example in read_task(task, folder / file).examples]
        assert min(scores) == 0 and max(scores) == 5
