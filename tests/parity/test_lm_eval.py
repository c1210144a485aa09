"""lm-evaluation-harness's `hf` model on the same folder: equal log-probabilities and texts, row by row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.inference.language_model import LanguageModel
from seodang.inference.requests import continuations, rolling
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.text.train import train_tokenizer
from tests.inference.conftest import TEXTS
from tests.inference.test_requests import with_bos

pytestmark = pytest.mark.slow

LONG = " ".join(TEXTS)
PAIRS = [
    ("the cat sat", " on the mat"), ("the cat sat ", "on the log"), ("the cat sat", " on"), ("the cat sat", " in"),
    ("", "the cat"), (LONG, " the cat"), ("서당에서 ", "아이들이 글을 배운다."), ("where is", " the cat? the cat is"),
    ("the cat\n\n", "sat"), ("<|endoftext|>the cat", " sat"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["gpt2-mini", "llama-mini with bos", "gemma3-mini", "neox-mini"])
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(ours, `hf`) of one folder."""
    pytest.importorskip("lm_eval")
    pytest.importorskip("accelerate")
    os.environ["HF_HUB_OFFLINE"] = "1"
    from lm_eval.models.huggingface import HFLM

    from seodang.evaluation.lm_eval_model import SeodangLM

    name, _, bos = request.param.partition(" ")
    tokenizer = train_tokenizer(iter(TEXTS), vocab_size=320, style="gpt")
    folder = tmp_path_factory.mktemp("models")
    if bos:
        tokenizer = with_bos(tokenizer, folder / "plain")
    model = build_model(published(name, vocab_size=tokenizer.vocab_size, context_length=128, init_std=0.2))
    model.init_weights(torch.Generator().manual_seed(0))
    LanguageModel(model, tokenizer).save(folder / "model")
    return SeodangLM(str(folder / "model"), device="cpu"), HFLM(str(folder / "model"), device="cpu", batch_size=3)


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, number) for number, one in enumerate(arguments)]


def test_log_probabilities_of_continuations(sides: tuple[Any, Any]) -> None:
    ours, theirs = sides
    requests = asked("loglikelihood", *PAIRS)
    own, other = ours.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True)
    for pair, one, two in zip(PAIRS, own, other, strict=True):
        assert one[0] == pytest.approx(two[0], abs=1e-4), pair
        assert one[1] == two[1]
    again = continuations(ours.lm, PAIRS, allow_special=True)
    assert [(one.logprob, one.is_greedy) for one in again] == own


def test_log_probabilities_of_texts(sides: tuple[Any, Any]) -> None:
    ours, theirs = sides
    texts = [TEXTS[0], LONG, "a", TEXTS[2] * 3]
    requests = asked("loglikelihood_rolling", *((text,) for text in texts))
    own, other = ours.loglikelihood_rolling(requests), theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    for text, one, two in zip(texts, own, other, strict=True):
        assert one == pytest.approx(two, abs=1e-4, rel=2e-6), text
    if not ours.lm.tokenizer.add_bos:
        assert [one.logprob for one in rolling(ours.lm, texts)] == own


def test_generated_texts(sides: tuple[Any, Any]) -> None:
    ours, theirs = sides
    settings = {"until": [" and", "\n"], "max_gen_toks": 12, "do_sample": False}
    requests = asked("generate_until", *((text[:20], settings) for text in TEXTS[:4]), (LONG, settings))
    own, other = ours.generate_until(requests), theirs.generate_until(requests, disable_tqdm=True)
    # half a character at the end is left away here, and shown as U+FFFD there
    assert [text.rstrip("\ufffd") for text in own] == [text.rstrip("\ufffd") for text in other]


def test_conversations(sides: tuple[Any, Any]) -> None:
    ours, theirs = sides
    if ours.lm.tokenizer.chat_template is None:
        pytest.skip("a vocabulary without a chat template")
    talk = [{"role": "user", "content": "hello"}]
    assert ours.apply_chat_template(talk) == theirs.apply_chat_template(talk)
    assert ours.chat_template(True) == theirs.chat_template(True) and ours.chat_template(False) is None
    talk.append({"role": "assistant", "content": "well, "})
    assert ours.apply_chat_template(talk, False) == theirs.apply_chat_template(talk, False)


def test_known_by_name(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.registry import get_model

    import seodang.evaluation.lm_eval_model as registered

    assert get_model("seodang") is registered.SeodangLM
