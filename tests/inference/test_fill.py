"""Blanks are filled with what the model's scores say; masked models refuse what only decoders do."""

from __future__ import annotations

import pytest
import torch

from seodang.errors import FitError, UsageError
from seodang.inference.language_model import LanguageModel
from seodang.models.electra import Electra
from seodang.text.train import train_tokenizer
from tests.inference.conftest import TEXTS, taught
from tests.inference.masked import encoder, read, wordpiece


def test_fills_in_what_it_has_learned() -> None:
    (blank,) = read().fill("the cat sat on the [MASK] and the dog sat on the log", 3)
    assert len(blank) == 3 and blank[0].token == "mat" and blank[0].probability > 0.5
    first, second = read().fill("the [MASK] sat on the mat and the dog [MASK] on the log", 1)
    assert (first[0].token, second[0].token) == ("cat", "sat")


def test_probabilities_by_hand() -> None:
    lm = read()
    tokenizer = lm.tokenizer
    assert tokenizer.mask_id is not None and tokenizer.cls_id is not None and tokenizer.sep_id is not None
    ids = [tokenizer.cls_id, *tokenizer.encode("the"), tokenizer.mask_id, tokenizer.sep_id]
    scores = lm.logits(ids)[0, ids.index(tokenizer.mask_id), : tokenizer.vocab_size]  # the rest are rows without token
    expected = sorted(scores.exp().div(scores.exp().sum()).tolist(), reverse=True)[:4]
    (blank,) = lm.fill("the [MASK]", 4)
    assert [guess.probability for guess in blank] == pytest.approx(expected, rel=1e-5)
    assert [guess.id for guess in blank] == scores.topk(4).indices.tolist()


def test_a_mask_by_another_name_and_the_generator_of_electra() -> None:
    tokenizer = train_tokenizer(iter(TEXTS * 2), vocab_size=300, style="roberta")
    model = encoder("roberta-mini", vocab_size=tokenizer.vocab_size)
    lm = LanguageModel(model, tokenizer)
    assert lm.fill("the cat sat on the [MASK]") == lm.fill("the cat sat on the <mask>")

    electra = encoder("electra-mini", d_embed=16)
    assert isinstance(electra, Electra) and electra.generator is not None
    filled = LanguageModel(electra, wordpiece()).fill("the [MASK] sat", 2)
    assert filled == LanguageModel(electra.generator, wordpiece()).fill("the [MASK] sat", 2)


def test_texts_and_models_that_cannot_be_filled() -> None:
    lm = read()
    with pytest.raises(UsageError, match="no blank"):
        lm.fill("the cat sat")
    with pytest.raises(UsageError, match="n = 0"):
        lm.fill("the [MASK]", 0)
    with pytest.raises(FitError, match="tokens"):
        lm.fill("the cat " * 40 + "[MASK]")
    with pytest.raises(UsageError, match="blank with a model of the family"):
        taught().fill("the [MASK]")
    with pytest.raises(UsageError, match="no 'masked' head"):
        LanguageModel(encoder(heads=("pooler",)), wordpiece()).fill("the [MASK]")


def test_what_only_a_decoder_does_is_refused_in_three_parts() -> None:
    lm = read()
    message = [{"role": "user", "content": "hello"}]
    calls = {
        "generate": lambda: lm.generate("the cat"),
        "several": lambda: lm.generate(["the cat", "the"], num_beams=2),
        "stream": lambda: lm.stream("the cat"),
        "chat": lambda: lm.chat(message),
        "stream_chat": lambda: lm.stream_chat(message),
        "suggest": lambda: lm.suggest("the cat"),
        "score": lambda: lm.score("the cat"),
    }
    for name, call in calls.items():
        with pytest.raises(UsageError, match="left alone" if name == "score" else "both sides") as caught:
            call()
        assert caught.value.why and "fill" in caught.value.fix, name


def test_lists_of_ids_are_padded_without_a_trace() -> None:
    lm = read()
    long, short = [2, 9, 8, 7, 6, 5, 3], [2, 9, 3]
    both = lm.logits([long, short])
    torch.testing.assert_close(both[0], lm.logits(long)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1, :3], lm.logits(short)[0], rtol=0, atol=1e-5)
    left = lm.logits(torch.tensor([[0, 0, *short]]), mask=torch.tensor([[0, 0, 1, 1, 1]]))
    torch.testing.assert_close(left[0, 2:], lm.logits(short)[0], rtol=0, atol=1e-5)
