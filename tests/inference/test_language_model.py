"""LanguageModel: what a person does with a model, from text to text."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

import seodang
from seodang.errors import DataError, FitError, UsageError
from seodang.inference.language_model import LanguageModel
from tests.inference.conftest import TEXTS, tiny

PROMPTS = ["the cat", "where is", "서당에서", "the lowest newest", "고양이", "the dog sat on", "t", "the mat. 고"]


def test_generates_what_it_has_learned(lm):
    result = lm.generate("the lowest newest", max_new_tokens=60)
    assert result.text == TEXTS[1].removeprefix("the lowest newest")
    assert result.finish_reason == "stop"
    assert result.tokens[-1] == lm.tokenizer.end_of_text_id
    assert lm.tokenizer.decode(result.tokens, skip_special=True) == result.text
    assert result.prompt_tokens == len(lm.tokenizer.encode("the lowest newest"))
    assert lm.generate("the lowest newest", max_new_tokens=3).finish_reason == "length"


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 3}], ids=["greedy", "sampled"])
def test_batch_size_changes_nothing(lm, options):
    prompts = PROMPTS * 2
    one, four, sixteen = (
        lm.generate(prompts, batch_size=size, max_new_tokens=25, stop=["wide", "다."], **options)
        for size in (1, 4, 16)
    )
    assert one == four == sixteen  # texts, tokens and reasons; not the seconds
    assert len({result.text for result in one}) > 4
    assert {result.finish_reason for result in one} == {"stop", "length"} or options


def test_streams_what_it_generates(lm):
    for options in ({}, {"temperature": 1.2, "seed": 1}, {"stop": "mat"}, {"stop": ["고양이", " on"]}):
        for prompt in PROMPTS:
            stream = lm.stream(prompt, max_new_tokens=30, **options)
            text = "".join(stream)
            assert stream.generation == lm.generate(prompt, max_new_tokens=30, **options)
            assert text == stream.generation.text


def test_stop_strings_end_a_text_before_them(lm):
    result = lm.generate("the cat sat", stop=[" and"], max_new_tokens=60)
    assert (result.text, result.finish_reason) == (" on the mat", "stop")


def test_a_stream_can_be_closed(lm):
    stream = lm.stream("the cat", max_new_tokens=50)
    first = next(stream)
    stream.close()
    assert list(stream) == []
    assert stream.generation.text == first and stream.generation.finish_reason == "stop"


def test_beams(lm):
    result = lm.generate("the cat sat", num_beams=3, stop=[" and"], max_new_tokens=60)
    assert (result.text, result.finish_reason) == (" on the mat", "stop")
    with pytest.raises(UsageError):
        lm.stream("the", num_beams=2)


def test_an_empty_prompt_begins_a_text(lm, learned, tokenizer):
    ids = lm.generate_ids([[tokenizer.end_of_text_id]], lm.settings(max_new_tokens=10))[0].tokens
    assert lm.generate("", max_new_tokens=10).tokens == ids


def test_defaults_come_from_the_generation_config(learned, tokenizer):
    file = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "eos_token_id": [5, 6], "repetition_penalty": 1.2}
    model = LanguageModel(learned, tokenizer, file)
    got = model.settings()
    assert (got.temperature, got.top_p, got.repetition_penalty) == (0.7, 0.8, 1.2)
    assert {5, 6, tokenizer.end_of_text_id, tokenizer.end_of_turn_id} == set(got.stop_ids)
    assert model.settings(temperature=0.3).temperature == 0.3
    assert model.settings(temperature=0).top_p is None
    assert LanguageModel(learned, tokenizer, {**file, "do_sample": False}).settings().temperature == 0
    assert LanguageModel(learned, tokenizer).settings(top_k=5).temperature == 1


def test_wrong_calls(lm, learned):
    with pytest.raises(UsageError, match="unknown option") as caught:
        lm.generate("x", temprature=1)
    assert "temperature" in caught.value.fix
    for wrong in ({"temperature": -1}, {"top_p": 2}):
        with pytest.raises(UsageError):
            lm.generate("x", **wrong)
    with pytest.raises(FitError):
        lm.generate("the cat " * 100)
    with pytest.raises(DataError, match="no tokenizer"):
        LanguageModel(learned, None).generate("x")
    with pytest.raises(UsageError):
        seodang.load("smollm2", device="cude")


# --- score -----------------------------------------------------------------------------------------------------------


def test_score_by_hand(lm, learned, tokenizer):
    text = TEXTS[0]
    ids = tokenizer.encode(text)
    with torch.inference_mode():
        logits = learned.logits(learned(torch.tensor([[tokenizer.end_of_text_id, *ids]])))[0]
    expected = [float(row.log_softmax(-1)[token]) for row, token in zip(logits, ids, strict=False)]
    score = lm.score(text)
    assert score.ids == ids and "".join(score.tokens) == text
    assert score.logprobs == pytest.approx(expected, abs=1e-5)
    assert score.logprob == pytest.approx(sum(expected), abs=1e-4)
    assert score.perplexity == pytest.approx(math.exp(-sum(expected) / len(ids)), rel=1e-5)
    assert score.bits_per_byte == pytest.approx(-sum(expected) / math.log(2) / len(text.encode()), rel=1e-5)


def test_score_does_not_depend_on_the_batch(lm):
    texts = [*TEXTS[:4], *PROMPTS, "x", "the cat sat on the log", "가", "."]
    results = [lm.score(texts, batch_size=size) for size in (1, 4, 16)]
    for one, four, sixteen in zip(*results, strict=True):
        assert one.ids == four.ids == sixteen.ids
        assert one.logprobs == pytest.approx(four.logprobs, abs=1e-5)
        assert one.logprobs == pytest.approx(sixteen.logprobs, abs=1e-5)
        assert lm.score(one.text).logprobs == pytest.approx(one.logprobs, abs=1e-6)


def test_score_longer_than_the_context(lm, learned, tokenizer):
    """Windows count every token once, each with at least half a context before it."""
    text = " ".join(TEXTS[:4] * 4)
    ids, context = [tokenizer.end_of_text_id, *tokenizer.encode(text)], learned.config.context_length
    assert len(ids) > 2.5 * context
    expected: list[float] = []
    start, end = 0, 1
    while end < len(ids):
        start, last = max(end - 1 - context // 2, 0) if expected else 0, end
        end = min(start + context + 1, len(ids))
        with torch.inference_mode():
            logits = learned.logits(learned(torch.tensor([ids[start : end - 1]])))[0].log_softmax(-1)
        expected += [float(logits[place - start - 1, ids[place]]) for place in range(last, end)]
    assert lm.score(text).logprobs == pytest.approx(expected, abs=1e-5)


def test_first_token_without_a_start_token(learned, tokenizer, monkeypatch):
    lm = LanguageModel(learned, tokenizer)
    monkeypatch.setattr(LanguageModel, "start_id", None)
    score = lm.score("the cat")
    assert score.logprobs[0] is None and score.n_counted == len(score.ids) - 1
    assert score.n_bytes == len(b"the cat") - len(tokenizer.token_bytes(score.ids[0]))
    assert math.isnan(lm.score("t").perplexity)
    with pytest.raises(DataError):
        lm.generate("")


def test_score_wants_text(lm):
    with pytest.raises(DataError, match="text 2 is empty"):
        lm.score(["a", ""])


def test_half_characters_are_spelt_out(lm):
    assert "".join(lm.score("😀").tokens) == "\\xf0\\x9f\\x98\\x80"


# --- suggest ---------------------------------------------------------------------------------------------------------


def test_suggests_whole_words(lm):
    found = lm.suggest("the cat sat on the", n=3)
    assert found[0].text.strip() in ("mat", "log")
    assert len({one.text for one in found}) == 3
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    two = lm.suggest("the cat sat", n=1, words=2)[0]
    assert two.text == " on the"


def test_probabilities_are_those_of_the_tokens(lm):
    prompt = "the cat"
    for one in lm.suggest(prompt, n=5):
        ids = lm.tokenizer.encode(prompt)
        logits = lm.logits([*ids, *one.tokens])[0, len(ids) - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, torch.tensor(one.tokens)[:, None]).sum().exp()
        assert one.probability == pytest.approx(float(expected), rel=1e-4)
        assert lm.tokenizer.decode(one.tokens) == one.text


def test_single_tokens_are_the_most_probable_ones(lm):
    """With room for one token the answer is the head of the next-token distribution."""
    probabilities = lm.logits(lm.tokenizer.encode("the"))[0, -1].softmax(-1)
    visible = [
        (float(p), lm.tokenizer.decode([token]))
        for token, p in enumerate(probabilities)
        if token not in lm.tokenizer.special_ids and lm.tokenizer.decode([token]).strip()
    ]
    expected = [pair for pair in sorted(visible, reverse=True) if "\N{REPLACEMENT CHARACTER}" not in pair[1]][:10]
    found = lm.suggest("the", n=10, max_new_tokens=1)
    assert [one.text for one in found] == [text for _, text in expected]
    assert [one.probability for one in found] == pytest.approx([p for p, _ in expected], rel=1e-4)


def test_best_first_finds_what_exhaustive_search_finds(lm):
    """All texts of up to two tokens, tried one by one."""
    prompt, special = lm.tokenizer.encode("the dog"), lm.tokenizer.special_ids
    usable = [token for token in range(lm.tokenizer.vocab_size) if token not in special]
    first = lm.logits(prompt)[0, -1].log_softmax(-1)
    second = lm.logits([[*prompt, token] for token in usable])[:, -1].log_softmax(-1)
    best: dict[str, float] = {}
    for (place, one), two in itertools.product(enumerate(usable), usable):
        text = lm.tokenizer.decode([one, two])
        if text.strip() and "\N{REPLACEMENT CHARACTER}" not in text:
            best[text] = max(best.get(text, 0.0), math.exp(first[one] + second[place, two]))
    for found in lm.suggest("the dog", n=5, max_new_tokens=2):
        if len(found.tokens) == 2:
            assert found.probability == pytest.approx(best[found.text], rel=1e-4)
    assert lm.suggest("the dog", n=1, max_new_tokens=2)[0].text == " sat"


def test_suggest_wants_numbers_above_zero(lm):
    for wrong in ({"n": 0}, {"words": 0}, {"max_new_tokens": 0}):
        with pytest.raises(UsageError):
            lm.suggest("the", **wrong)


# --- embed, logits, save ---------------------------------------------------------------------------------------------


def test_embedding_is_the_mean_over_real_tokens(lm, learned):
    texts = [*PROMPTS, TEXTS[0]]
    together = lm.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        with torch.inference_mode():
            hidden = learned(torch.tensor([lm.tokenizer.encode(text)]))[0]
        assert torch.allclose(vector, hidden.mean(0), atol=1e-5)
        assert torch.allclose(lm.embed(text)[0], vector, atol=1e-5)


def test_logits_of_lists_and_tensors(lm, learned):
    one = lm.logits([1, 2, 3])
    assert one.shape == (1, 3, learned.config.vocab_size)
    assert torch.equal(one, lm.logits(torch.tensor([1, 2, 3])))
    ragged = lm.logits([[1, 2, 3], [4]])
    assert torch.allclose(ragged[0], one[0], atol=1e-5) and torch.allclose(ragged[1, :1], lm.logits([4])[0], atol=1e-5)
    left = lm.logits(torch.tensor([[1, 2, 3], [0, 0, 4]]), mask=torch.tensor([[1, 1, 1], [0, 0, 1]]))
    assert torch.allclose(left[1, 2], ragged[1, 0], atol=1e-5)
    assert lm.logits([1], dtype=torch.float64).dtype == torch.float64


def test_logits_that_cannot_be(lm):
    for ids, error in (([5000], DataError), ([[]], DataError), ([1] * 129, FitError)):
        with pytest.raises(error):
            lm.logits(ids)
    with pytest.raises(UsageError):
        lm.logits([1], decoder_ids=torch.tensor([[1]]))


def test_saved_and_loaded_is_the_same_model(lm, tmp_path):
    lm.save(tmp_path / "model")
    again = seodang.load(tmp_path / "model", device="cpu")
    assert torch.equal(again.logits([1, 2, 3]), lm.logits([1, 2, 3]))
    assert dataclasses.replace(again.generate("the cat"), seconds=0) == lm.generate("the cat")
    half = seodang.load(tmp_path / "model", device="cpu", dtype="bfloat16")
    assert half.logits([1]).dtype == torch.bfloat16 and half.logits([1], dtype=torch.float32).dtype == torch.float32
    with pytest.raises(UsageError):
        seodang.load(tmp_path / "model", dtype="float31")


def test_padded_vocabulary_is_not_generated(tokenizer):
    lm = LanguageModel(tiny("gpt2", vocab_size=tokenizer.vocab_size + 200), tokenizer)
    result = lm.generate("the", temperature=3.0, max_new_tokens=100)
    assert max(result.tokens) < tokenizer.vocab_size
