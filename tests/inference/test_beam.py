"""Beam search gives what transformers' beam search gives, from the same weights."""

from __future__ import annotations

import pytest
import torch
import transformers

from seodang.checkpoints.layouts import layout_of_family
from seodang.errors import FitError
from seodang.inference.beam import beam_search, generate_beam
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from tests.inference.conftest import ATTENTIVE, ragged_prompts, tiny


def in_transformers(model):
    """The same model, as transformers has it."""
    layout = layout_of_family(model.config.family)
    config = transformers.AutoConfig.for_model(layout.model_type, **layout.from_config(model.config))
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            theirs.get_parameter(layout.theirs(name)).copy_(layout.to_theirs(name, parameter, model.config))
    theirs.tie_weights()
    return theirs


@pytest.fixture(scope="module")
def pairs():
    """Flatter models than elsewhere: beams that have reason to change places."""
    made = {family: tiny(family, vocab_size=40, seed=3) for family in ATTENTIVE}
    with torch.no_grad():
        for model in made.values():
            model.output_weight.mul_(0.5)
    return {family: (model, in_transformers(model)) for family, model in made.items()}


@pytest.mark.parametrize("family", ATTENTIVE)
@pytest.mark.parametrize(("beams", "alpha", "ends"), [(2, 1.0, (7,)), (4, 1.0, (3, 7)), (3, 0.0, (5,)), (5, 2.0, ())])
def test_equals_transformers(pairs, family, beams, alpha, ends):
    model, theirs = pairs[family]
    settings = Settings(max_new_tokens=15, num_beams=beams, length_penalty=alpha, stop_ids=ends)
    for prompt in ragged_prompts(4, vocab_size=40):
        expected = theirs.generate(
            torch.tensor([prompt]), num_beams=beams, length_penalty=alpha, max_new_tokens=15, do_sample=False,
            num_return_sequences=beams, eos_token_id=list(ends) or None, pad_token_id=1, return_dict_in_generate=True,
            output_scores=True, attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        )  # fmt: skip
        found = beam_search(model, prompt, settings)
        for hypothesis, row, score in zip(found, expected.sequences, expected.sequences_scores, strict=True):
            row = row[len(prompt) :].tolist()
            assert hypothesis.tokens == row[: len(hypothesis.tokens)]
            assert set(row[len(hypothesis.tokens) :]) <= {1}  # theirs is padded
            assert hypothesis.score == pytest.approx(float(score), abs=1e-4)


def test_repetition_penalty_equals_transformers(pairs):
    model, theirs = pairs["gpt2"]
    expected = theirs.generate(
        torch.tensor([[1, 2, 3]]), num_beams=3, repetition_penalty=1.5, max_new_tokens=12, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    settings = Settings(max_new_tokens=12, num_beams=3, repetition_penalty=1.5)
    assert beam_search(model, [1, 2, 3], settings)[0].tokens == expected[0, 3:].tolist()


def test_one_beam_is_greedy(models):
    settings = Settings(max_new_tokens=20)
    for model in models.values():
        assert generate_beam(model, [4, 5], settings).tokens == generate(model, [[4, 5]], settings)[0].tokens


def test_finds_what_greedy_misses(pairs):
    """The score is log P / length, and more beams find at least as good a text."""
    model, _ = pairs["llama"]
    scores = []
    for beams in (1, 8):
        settings = Settings(max_new_tokens=10, num_beams=beams)
        best = beam_search(model, [9, 9, 1], settings)[0]
        with torch.inference_mode():
            logits = model.logits(model(torch.tensor([[9, 9, 1, *best.tokens]])))[0, 2:-1]
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(best.tokens)[:, None])
        assert best.score == pytest.approx(float(logprobs.sum()) / 10, abs=1e-5)
        scores.append(best.score)
    assert scores[1] > scores[0]


def test_stops_where_told(models):
    settings = Settings(max_new_tokens=30, num_beams=3)
    result = generate_beam(models["gpt2"], [1, 2], settings, ends=lambda tokens: len(tokens) == 4)
    assert (len(result.tokens), result.finish_reason) == (4, "stop")
    assert generate_beam(models["gpt2"], [1, 2], settings).finish_reason == "length"


def test_context_limits_the_search():
    model = tiny("gpt2", context_length=8)
    assert len(generate_beam(model, [1, 2, 3], Settings(max_new_tokens=30, num_beams=2)).tokens) == 5
    with pytest.raises(FitError):
        generate_beam(model, [1] * 8, Settings(num_beams=2))
