"""Decoding: the same text with and without a cache, alone and in any batch; where it ends; what it refuses."""

from __future__ import annotations

import pytest
import torch

from seodang.errors import DataError, FitError
from seodang.inference import decode
from seodang.inference.decode import Decoding, generate, prefill
from seodang.inference.sampling import Settings
from seodang.models.cache import KVCache
from tests.inference.conftest import ATTENTIVE, FAMILY_NAMES, ragged_prompts, tiny

GREEDY = Settings(max_new_tokens=200)
SAMPLED = Settings(max_new_tokens=30, temperature=1.0, top_p=0.95, repetition_penalty=1.1, seed=7)


def tokens(generations):
    return [generation.tokens for generation in generations]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("prompts", [[[5, 9, 2]], ragged_prompts(4)], ids=["one", "ragged"])
def test_cache_does_not_change_the_text(models, family, prompts):
    cached = tokens(generate(models[family], prompts, GREEDY))
    assert [len(row) for row in cached] == [200] * len(prompts)
    assert min(len(set(row)) for row in cached) > 3  # a text of one repeated token would prove little
    assert cached == tokens(generate(models[family], prompts, GREEDY, use_cache=False))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_several_texts_of_a_prompt_read_it_once(models, family, monkeypatch):
    one, other = ragged_prompts(2)
    prompts = [one, other, one, one, other]
    alone = [tokens(generate(models[family], [prompt], SAMPLED, streams=[n]))[0] for n, prompt in enumerate(prompts)]
    read = []

    def counted(model, ids, *rest):
        read.append(len(ids))
        return prefill(model, ids, *rest)

    monkeypatch.setattr(decode, "prefill", counted)
    assert tokens(generate(models[family], prompts, SAMPLED)) == alone
    assert read == [2] and len({*map(tuple, alone)}) == 5


@pytest.mark.parametrize("family", ATTENTIVE)
def test_cache_does_not_change_the_logits(models, family):
    model, prompts = models[family], ragged_prompts(4)
    cached = Decoding(model, prompts, Settings(max_new_tokens=40))
    anew = Decoding(model, prompts, Settings(max_new_tokens=40), use_cache=False)
    for _ in range(40):
        with torch.inference_mode():
            length = cached._cache.length
            cached_logits, logits = cached._logits(), anew._logits()
            cached._cache.truncate(length)  # the look has written one column; step() writes it again
            if cached._positions is not None and cached._next is not None:
                cached._positions -= 1
        assert torch.allclose(cached_logits, logits, atol=1e-5, rtol=1e-5)
        assert cached.step() == anew.step()


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("settings", [Settings(max_new_tokens=40), SAMPLED], ids=["greedy", "sampled"])
def test_batch_does_not_change_the_text(models, family, settings):
    prompts = ragged_prompts(16)
    whole = tokens(generate(models[family], prompts, settings))
    for size in (1, 4):
        parts = []
        for start in range(0, 16, size):
            rows = range(start, start + size)
            parts += tokens(generate(models[family], [prompts[row] for row in rows], settings, streams=rows))
        assert parts == whole


def test_padding_is_never_read(models):
    ids, mask = decode.pad_left([[7, 8], [1, 2, 3, 4]], "cpu")
    assert mask.tolist() == [[False, False, True, True], [True] * 4]
    other = ids.clone()
    other[0, :2] = 50
    for model in models.values():
        with torch.inference_mode():
            assert torch.equal(decode.prefill(model, ids, mask, None), decode.prefill(model, other, mask, None))


def test_stop_ids_end_a_row_and_only_that_row(models):
    model, prompts = models["gpt2"], ragged_prompts(6)
    free = tokens(generate(model, prompts, Settings(max_new_tokens=50)))
    end = free[0][10]
    for generation, whole in zip(
        generate(model, prompts, Settings(max_new_tokens=50, stop_ids=(end,))), free, strict=True
    ):
        if end in whole:
            assert generation.finish_reason == "stop"
            assert generation.tokens == whole[: whole.index(end) + 1]
        else:
            assert generation.finish_reason == "length" and generation.tokens == whole


def test_finished_rows_leave_the_batch(models):
    decoding = Decoding(models["llama"], ragged_prompts(8), Settings(max_new_tokens=30))
    whole = tokens(generate(models["llama"], ragged_prompts(8), Settings(max_new_tokens=30)))
    decoding.step()
    for row in (0, 2, 3, 5, 6):
        decoding.stop(row)
    decoding.step()
    assert decoding._cache.batch == 3
    while not decoding.done:
        decoding.step()
    assert [decoding.tokens[row] for row in (1, 4, 7)] == [whole[row] for row in (1, 4, 7)]
    assert decoding.generation(0).finish_reason == "stop" and len(decoding.tokens[0]) == 1


@pytest.mark.parametrize("family", ATTENTIVE)
def test_context_ends_a_text(family):
    model = tiny(family, context_length=24)
    short, long = generate(model, [[1, 2], list(range(20))], Settings(max_new_tokens=100))
    assert (len(short.tokens), len(long.tokens)) == (22, 4)
    assert short.finish_reason == long.finish_reason == "length"
    assert short.tokens == generate(model, [[1, 2]], Settings(max_new_tokens=100))[0].tokens


def test_seed_decides(models):
    prompts = [[1, 2, 3]] * 3
    first = tokens(generate(models["gpt2"], prompts, SAMPLED))
    assert first == tokens(generate(models["gpt2"], prompts, SAMPLED))
    assert len({tuple(row) for row in first}) == 3  # rows have streams of their own
    other = Settings(max_new_tokens=30, temperature=1.0, seed=8)
    assert first != tokens(generate(models["gpt2"], prompts, other))


def test_rows_that_pad_the_vocabulary_are_never_chosen(models):
    hot = Settings(max_new_tokens=60, temperature=5.0)
    assert max(generate(models["gpt2"], [[1]], hot)[0].tokens) >= 20
    assert max(generate(models["gpt2"], [[1]], hot, vocabulary=20)[0].tokens) < 20


def test_only_the_last_position_is_projected(models, monkeypatch):
    shapes = []
    model = models["gpt2"]
    monkeypatch.setattr(model, "logits", lambda hidden: shapes.append(hidden.shape) or hidden @ model.output_weight.T)
    generate(model, ragged_prompts(3), Settings(max_new_tokens=3))
    assert {shape[:-1] for shape in shapes} == {(3,)}


@pytest.mark.parametrize(
    ("prompt", "error"), [([], DataError), ([1, 96], DataError), ([-1], DataError), ([0] * 256, FitError)]
)
def test_prompts_that_cannot_be_continued(models, prompt, error):
    with pytest.raises(error) as caught:
        generate(models["gpt2"], [[1], prompt], GREEDY)
    assert "prompt 2" in caught.value.what and caught.value.fix


def test_nothing_to_do(models):
    assert generate(models["gpt2"], [], GREEDY) == []


def test_cache_is_as_long_as_the_text_can_get(models):
    decoding = Decoding(models["gpt2"], [[1, 2], [3]], Settings(max_new_tokens=5))
    assert isinstance(decoding._cache, KVCache) and decoding._cache.capacity == 7
