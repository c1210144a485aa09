"""Class logits equal `transformers`' in float32, whoever saved and whoever loads."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from seodang.checkpoints.huggingface import load_folder, read_task, save_folder
from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.verify import verify_folder
from seodang.models.base import Model
from tests.parity import encoders, models
from tests.parity.models import enlarged

TOLERANCE, PAD = 1e-4, 3

DECODERS = {
    "gpt1": "OpenAIGPTForSequenceClassification",
    "gpt2": "GPT2ForSequenceClassification",
    "gpt2 untied": "GPT2ForSequenceClassification",
    "gpt3": "GPTNeoForSequenceClassification",
    "gptneox": "GPTNeoXForSequenceClassification",
    "llama grouped": "LlamaForSequenceClassification",
    "llama tied": "LlamaForSequenceClassification",
    "mistral": "MistralForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification",
    "qwen3": "Qwen3ForSequenceClassification",
    "gemma2": "Gemma2ForSequenceClassification",
    "gemma3": "Gemma3TextForSequenceClassification",
}
ENCODERS = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "albert": "AlbertForSequenceClassification",
    "electra discriminator": "ElectraForSequenceClassification",
}
CASES = {**DECODERS, **ENCODERS}


def theirs(case: str, kind: str = "", labels: int = 3) -> PreTrainedModel:
    """A small random classifier of theirs, enlarged."""
    config = (models.CASES if case in DECODERS else encoders.CASES)[case]().config
    config.num_labels = labels
    if config.pad_token_id is None or case in DECODERS:
        config.pad_token_id = PAD
    return enlarged(lambda: getattr(transformers, kind or CASES[case])(config))


def inputs(rows: int = 3, length: int = 14) -> tuple[Tensor, Tensor]:
    """Ids and mask, padded on the right as in a batch of unequal texts."""
    ids = torch.randint(5, models.VOCAB, (rows, length), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(length) < torch.tensor([length, length - 5, 2])[:rows, None]
    return ids, mask


@torch.no_grad()
def ours(model: Model, ids: Tensor, mask: Tensor) -> Tensor:
    return model.class_logits(model.text_vectors(model(ids, mask=mask), mask))


@torch.no_grad()
def their_logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    filled = torch.where(mask, ids, model.config.pad_token_id)
    return model(filled, attention_mask=mask.long()).logits


@pytest.mark.parametrize("case", CASES)
def test_saved_by_transformers_loaded_by_us(case: str, tmp_path: Path) -> None:
    before = theirs(case)
    before.save_pretrained(tmp_path)
    loaded = load_folder(tmp_path)[0]
    ids, mask = inputs()
    expected = their_logits(before, ids, mask)
    assert (ours(loaded, ids, mask) - expected).abs().max() < TOLERANCE and expected.abs().max() > 0.5
    assert (ours(loaded, ids[1:2, :9], mask[1:2, :9]) - expected[1:2]).abs().max() < TOLERANCE  # alone, unpadded
    assert (read_task(tmp_path) or {})["spec"]["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("case", CASES)
def test_saved_by_us_loaded_by_transformers(case: str, tmp_path: Path) -> None:
    before = theirs(case)
    before.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    spec = {"name": "mood", "kind": "classify", "labels": ["bad", "so-so", "good"]}
    generation = {"pad_token_id": before.config.pad_token_id}
    save_folder(tmp_path / "ours", loaded.model, None, generation=generation, task={"spec": spec})
    after, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(after).__name__ == CASES[case] and after.config.id2label == {0: "bad", 1: "so-so", 2: "good"}
    assert after.config.label2id["good"] == 2 and after.config.problem_type == "single_label_classification"
    ids, mask = inputs()
    assert (their_logits(after.eval(), ids, mask) - their_logits(before, ids, mask)).abs().max() < TOLERANCE
    again = load_model(tmp_path / "ours")
    assert torch.allclose(ours(again.model, ids, mask), ours(loaded.model, ids, mask), atol=1e-6)
    assert again.task == {"spec": spec} and verify_folder(tmp_path / "ours").passed


@pytest.mark.parametrize("case, kind", [("bert", "BertForMultipleChoice"), ("albert", "AlbertForMultipleChoice")])
def test_choices_of_encoders(case: str, kind: str, tmp_path: Path) -> None:
    before = theirs(case, kind)
    before.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    ids, mask = inputs(2)
    expected = before(ids[None], attention_mask=mask[None].long()).logits  # (1 row, 2 answers)
    assert (ours(loaded.model, ids, mask).T - expected).abs().max() < TOLERANCE
    save_folder(tmp_path / "ours", loaded.model, None, task=loaded.task)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [kind]
    after = getattr(transformers, kind).from_pretrained(tmp_path / "ours").eval()
    assert (after(ids[None], attention_mask=mask[None].long()).logits - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", ["gpt1", "gpt2 untied", "llama grouped", "bert", "electra discriminator"])
def test_what_it_was_before_is_kept(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A classifier made of a language model loads as that in `transformers` too: the heads of both are there."""
    from seodang.models.families import with_classes

    source = models.theirs(case) if case in DECODERS else encoders.theirs(case)
    source.save_pretrained(tmp_path / "theirs")
    grown, fresh = with_classes(load_folder(tmp_path / "theirs")[0], 2, generator=torch.Generator().manual_seed(0))
    save_folder(tmp_path / "ours", grown, None)
    ids, mask = inputs()
    options: dict[str, Any] = {"output_loading_info": True}
    logging.getLogger("transformers").propagate = True
    classifier, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", **options)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    classifier.config.pad_token_id = PAD
    found = ours(load_folder(tmp_path / "ours")[0], ids, mask)
    assert (their_logits(classifier.eval(), ids, mask) - found).abs().max() < TOLERANCE
    before, info = type(source).from_pretrained(tmp_path / "ours", **options)
    logging.getLogger("transformers").propagate = False
    assert not info["missing_keys"] and not info["mismatched_keys"]
    expected = source(ids, attention_mask=mask.long())[0]
    assert torch.allclose(before.eval()(ids, attention_mask=mask.long())[0], expected)
    assert len(info["unexpected_keys"]) == len(fresh)


def test_a_classifier_without_its_output_matrix_classifies_and_says_so_when_asked_for_text(tmp_path: Path) -> None:
    from seodang.errors import UsageError

    theirs("llama grouped").save_pretrained(tmp_path)
    model = load_folder(tmp_path)[0]
    with pytest.raises(UsageError, match="without an output matrix"):
        model.logits(model(torch.tensor([[5, 6]])))


def test_texts_through_another_programs_classifier(tmp_path: Path) -> None:
    """Text in, probabilities out, of one text and of a pair, as transformers' tokenizer and model give them."""
    from transformers import AutoTokenizer

    from seodang.data.labelled import Labelled
    from seodang.errors import DataError
    from seodang.inference.language_model import load
    from tests.inference.masked import wordpiece

    for case in ("bert", "gpt2"):
        tokenizer = wordpiece()
        config = (models.CASES if case in DECODERS else encoders.CASES)[case]().config
        config.vocab_size, config.num_labels, config.pad_token_id = tokenizer.vocab_size, 3, tokenizer.pad_id
        before = enlarged(lambda: getattr(transformers, CASES[case])(config))  # noqa: B023
        folder = tmp_path / case
        before.save_pretrained(folder)
        tokenizer.save(folder)
        lm, theirs_tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
        assert lm.task is not None and lm.task.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
        batch = theirs_tokenizer(["the cat sat", "the mat"], padding=True, return_tensors="pt")
        expected = before(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)
        found = torch.tensor([one.probabilities for one in lm.classify(["the cat sat", "the mat"])]).float()
        assert torch.allclose(found, expected, atol=1e-4)
        pair = [Labelled(("the cat", "the dog"), None)]
        if case == "bert":
            batch = theirs_tokenizer("the cat", "the dog", return_tensors="pt")
            expected = before(**batch).logits.softmax(-1)
            assert torch.allclose(torch.tensor([lm.classify(pair)[0].probabilities]).float(), expected, atol=1e-4)
        else:
            with pytest.raises(DataError, match="not one text"):
                lm.classify(pair)
