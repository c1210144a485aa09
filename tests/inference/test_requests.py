"""Continuation, rolling, generate: what is shared, cut into trees or batched changes no number."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seodang.errors import DataError, UsageError
from seodang.inference import likelihood
from seodang.inference.language_model import LanguageModel
from seodang.inference.likelihood import Row, answers, logprobs
from seodang.inference.requests import continuations, encode_pairs, generations, prefix_id, rolling, rolling_windows
from seodang.inference.sampling import Settings
from seodang.inference.trees import plant
from seodang.models.base import Model
from seodang.models.config import RoPE
from seodang.models.decoder import Decoder
from seodang.models.families import FAMILIES, build_model
from seodang.text.tokenizer import Tokenizer
from tests.inference.conftest import TEXTS, tiny
from tests.models.test_encoder_decoder import NAMES as SEQ2SEQ
from tests.models.test_encoder_decoder import tiny as tiny_seq2seq

LONG = " ".join(TEXTS[:8])
"""More than a context."""

CAUSAL = sorted(name for name, family in FAMILIES.items() if issubclass(family, Decoder))


def questions(beginning: int = 0, seed: int = 3) -> list[Row]:
    """Six questions with four answers each, behind a beginning that all share: some answers begin alike, one is the
    beginning of another, one comes twice, one has one token; one question is the beginning of another."""
    draw = torch.Generator().manual_seed(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(96, (n,), generator=draw).tolist())

    shots, rows = ids(beginning), []
    texts = [ids(n) for n in (1, 7, 12, 25)]
    texts += [texts[3] + ids(4), texts[3] + ids(1)]
    for text in texts:
        stem = ids(3)
        for answer in (stem + ids(2), stem, ids(1), stem + ids(6), stem):
            rows.append(Row((*shots, *text, *answer), len(answer)))
    return rows


@torch.no_grad()
def plainly(model: Model, row: Row) -> tuple[float, bool]:
    """The same from the model's logits of this text alone."""
    logits = model.logits(model(torch.tensor([row.ids[:-1]])))[0].double()
    targets = torch.tensor(row.ids[-row.n_counted :])
    scores = logits[-row.n_counted :].log_softmax(-1)
    value = scores.gather(1, targets[:, None]).sum().item()
    return value, bool((scores.argmax(-1) == targets).all())


def agree(found: list[tuple[float, bool]], wanted: list[tuple[float, bool]]) -> None:
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    torch.testing.assert_close(
        torch.tensor([value for value, _ in found]), torch.tensor([value for value, _ in wanted]), atol=2e-4, rtol=2e-5
    )


@pytest.mark.parametrize("family", [*CAUSAL, "rnn", "lstm", "gru"])
@pytest.mark.parametrize("beginning", [0, 40], ids=["zero-shot", "few-shot"])
def test_sharing_changes_no_score(family: str, beginning: int) -> None:
    model, rows = tiny(family), questions(beginning)
    wanted = [plainly(model, row) for row in rows]
    for budget in (1, 60, 4096):  # every text in a pass of its own; a few; all
        agree(logprobs(model, rows, budget=budget), wanted)
    greedy = [i for i, (_, is_greedy) in enumerate(wanted) if is_greedy]
    best = model.logits(model(torch.tensor([rows[0].ids[:-1]])))[0, -1].argmax().item()
    agree(logprobs(model, [Row((*rows[0].ids[:-1], best), 1)]), [plainly(model, Row((*rows[0].ids[:-1], best), 1))])
    assert len(greedy) < len(rows)


def test_every_token_of_a_shared_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny("llama"), questions(40)
    computed: list[int] = []
    forward = type(model).forward

    def counted(self: Model, ids: torch.Tensor, **options: object) -> torch.Tensor:
        computed.append(ids.numel())
        return forward(self, ids, **options)

    monkeypatch.setattr(type(model), "forward", counted)
    logprobs(model, rows, budget=4096)
    beginnings = {row.ids[:end] for row in rows for end in range(1, len(row.ids))}
    assert sum(computed) == len(beginnings)  # each distinct beginning of a text is one token that is read
    computed.clear()
    logprobs(model, rows, budget=60)
    assert sum(computed) < 1.5 * len(beginnings)


def test_a_tree_is_its_texts() -> None:
    texts = [(5, 6, 7), (5, 6), (5, 6, 8, 9), (1,), (5, 6, 7)]
    (tree,) = plant(texts, 100)
    for number, path in tree.paths:
        assert tuple(tree.ids[place] for place in path) == texts[number]
        assert [tree.depths[place] for place in path] == list(range(len(path)))
        assert tree.visible()[0, path[-1]].nonzero()[:, 0].tolist() == sorted(path)
    assert len(tree.ids) == 6 and not tree.is_chain
    assert [len(tree.ids) for tree in plant([(1, 2, 3), (1, 2, 4), (5, 6, 7), (8, 9)], 3)] == [4, 3, 2]
    (branch,) = plant([(1, 2, 3), (1, 2, 4)], 100, start=1)
    assert branch.ids == [2, 3, 4] and branch.visible()[0].tolist() == [
        [True, True, False, False], [True, True, True, False], [True, True, False, True]
    ]  # fmt: skip
    long = [(1, 2, *range(10, 40)), (1, 2, *range(50, 80))]  # two tokens of 32 are not worth a stretch of keys
    (apart,) = plant(long, 100)
    assert len(apart.ids) == 64 and apart.parents[32] == -1


def test_positions_that_depend_on_the_length_are_computed_row_by_row() -> None:
    model = tiny("llama", context_length=8)
    model.config = replace(model.config, rope=RoPE(scaling="dynamic", factor=2.0))
    rows = questions()
    assert not likelihood.can_branch(model)
    agree(logprobs(model, rows), [plainly(model, row) for row in rows])


def test_words_of_a_network_over_windows() -> None:
    from seodang.models.sizes import published

    model = build_model(replace(published("textgenrnn"), vocab_size=96))
    model.init_weights(torch.Generator().manual_seed(0))
    rows = questions()[:9]
    agree(logprobs(model.eval(), rows, budget=50), [plainly(model, row) for row in rows])


@pytest.mark.parametrize("name", SEQ2SEQ)
@torch.no_grad()
def test_an_encoder_decoder_answers_its_sources(name: str) -> None:
    model = tiny_seq2seq(name, vocab_size=96, context_length=64).eval()
    rows = [replace(row, ids=row.ids[-row.n_counted :], source=row.ids[: -row.n_counted]) for row in questions()]
    wanted = []
    for row in rows:
        memory = model.encode(torch.tensor([row.source]))
        scores = model.logits(model(torch.tensor([[7, *row.ids[:-1]]]), memory=memory))[0].double().log_softmax(-1)
        targets = torch.tensor(row.ids)
        wanted.append((scores.gather(1, targets[:, None]).sum().item(), bool((scores.argmax(-1) == targets).all())))
    for budget in (1, 50, 4096):
        agree(answers(model, rows, Settings(start_id=7), budget=budget), wanted)


# -- texts -------------------------------------------------------------------------------------------------------------


def test_a_continuation_is_the_difference_of_two_texts(lm: LanguageModel) -> None:
    whole, context = "the cat sat on the mat", "the cat sat"
    (found,) = continuations(lm, [(context, whole[len(context) :])])
    scores = [a.logprob - b.logprob for a, b in [rolling(lm, [whole, context])]]
    start = lm.tokenizer.encode(whole)[len(lm.tokenizer.encode(context)) :]
    assert found.n_tokens == len(start) and found.n_bytes == len(" on the mat") and found.n_cut == 0
    ids = lm.tokenizer.encode(whole)
    alone = plainly(lm.model, Row(tuple(ids), len(start)))[0]
    assert found.logprob == pytest.approx(alone, abs=1e-4)
    # with the token that begins a text before both, the probabilities of whole and beginning divide
    (behind_start,) = continuations(lm, [([prefix_id(lm), *lm.tokenizer.encode(context)], start)])
    assert behind_start.logprob == pytest.approx(scores[0], abs=1e-4)


def test_white_space_before_a_continuation_belongs_to_it(lm: LanguageModel) -> None:
    pairs = [("the cat sat", " on the mat"), ("the cat sat ", "on the mat"), ("the cat sat \n", "")]
    first, second, third = continuations(lm, pairs)
    assert (first.logprob, first.n_tokens) == (second.logprob, second.n_tokens)
    ((_, ids),) = encode_pairs(lm, pairs[2:])
    assert lm.tokenizer.decode(ids) == " \n" and third.n_tokens == len(ids)


def test_without_a_context_a_text_begins(lm: LanguageModel) -> None:
    (empty,), (text,) = continuations(lm, [("", TEXTS[0])]), rolling(lm, [TEXTS[0]])
    assert empty.logprob == pytest.approx(text.logprob, abs=1e-5) and empty.n_tokens == text.n_tokens
    start = lm.tokenizer.token_of(prefix_id(lm))
    (spelled,) = continuations(lm, [("", start + TEXTS[0])], allow_special=True)
    assert spelled.logprob == pytest.approx(text.logprob, abs=1e-5)


def test_rolling_is_score(lm: LanguageModel) -> None:
    found = rolling(lm, TEXTS[:4])
    for one, score in zip(found, lm.score(TEXTS[:4]), strict=True):
        assert one.logprob == pytest.approx(score.logprob, abs=1e-4)
        assert (one.n_tokens, one.n_bytes) == (score.n_counted, score.n_bytes)
    assert [one.n_words for one in found] == [13, 10, 8, 13]


def test_windows_count_every_token_once_and_the_last_reaches_back() -> None:
    assert list(rolling_windows([10, 11, 12, 13, 14, 15, 16, 17, 18, 19], 9, 4)) == [
        ((9, 10, 11, 12, 13), 4), ((13, 14, 15, 16, 17), 4), ((15, 16, 17, 18, 19), 2),
    ]  # fmt: skip
    assert list(rolling_windows([1, 2], 9, 4)) == [((9, 1, 2), 2)]
    assert list(rolling_windows([], 9, 4)) == []


def test_a_long_text_is_the_sum_of_its_windows(lm: LanguageModel) -> None:
    text = LONG
    ids, limit = lm.tokenizer.encode(text), lm.model.max_tokens
    assert len(ids) > limit
    windows = [Row(window, n) for window, n in rolling_windows(ids, prefix_id(lm), limit)]
    assert sum(row.n_counted for row in windows) == len(ids) == rolling(lm, [text])[0].n_tokens
    wanted = math.fsum(plainly(lm.model, row)[0] for row in windows)
    assert rolling(lm, [text])[0].logprob == pytest.approx(wanted, abs=1e-3)


def test_a_long_context_loses_its_beginning(lm: LanguageModel) -> None:
    context = LONG
    (found,) = continuations(lm, [(context, " the cat")])
    ((context_ids, ids),) = encode_pairs(lm, [(context, " the cat")])
    kept = [*context_ids, *ids][-lm.model.max_tokens - 1 :]
    assert found.n_cut == len(context_ids) + len(ids) - len(kept) > 0
    assert found.logprob == pytest.approx(plainly(lm.model, Row(tuple(kept), len(ids)))[0], abs=1e-4)


def with_bos(tokenizer: Tokenizer, folder: Path) -> Tokenizer:
    """The same vocabulary, whose texts begin with <|im_start|>."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import processors

    tokenizer.save(folder)
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    bos = "<|im_start|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    return Tokenizer(backend, config={"bos_token": bos, "eos_token": "<|endoftext|>"})


def test_a_tokenizer_with_bos_begins_with_one(lm: LanguageModel, tmp_path: Path) -> None:
    other = LanguageModel(lm.model, with_bos(lm.tokenizer, tmp_path))
    bos = other.tokenizer.bos_id
    pairs = [("the cat", " sat"), ("", "the cat"), ("<|im_start|>the cat", " sat")]
    for context, ids in encode_pairs(other, pairs, allow_special=True):
        assert context[0] == bos and [*context, *ids].count(bos) == 1
    (once,), (twice,) = rolling(other, ["the cat"]), rolling(other, ["the cat"], repeat_bos=True)
    assert (once.n_tokens + 1, twice.n_tokens) == (twice.n_tokens, 1 + len(other.tokenizer.encode("the cat")))
    again = plainly(lm.model, Row((bos, bos, *other.tokenizer.encode("the cat")), twice.n_tokens))
    assert twice.logprob == pytest.approx(again[0], abs=1e-4)


def test_generation_ends_before_the_stop_string(lm: LanguageModel) -> None:
    prompts = ["the cat sat on the mat", "the lowest newest"]
    found = generations(lm, prompts, until=[" and", ","], max_new_tokens=20)
    assert [one.text for one in found] == ["", " widest river is low"]
    long = generations(lm, [LONG], max_new_tokens=5)
    assert long[0].prompt_tokens == lm.context_length - 5


def test_what_cannot_be_asked(lm: LanguageModel) -> None:
    assert continuations(lm, []) == [] and rolling(lm, []) == []
    with pytest.raises(DataError, match="continuation 2 is empty"):
        continuations(lm, [("a", "b"), ("a", "")])
    with pytest.raises(DataError, match="continuation 1 has"):
        continuations(lm, [("a", " ".join(TEXTS))])
    with pytest.raises(DataError, match="^dev.tsv:8: the continuation is empty"):
        continuations(lm, [("a", "b"), ("a", "")], names=["dev.tsv:7", "dev.tsv:8"])
    with pytest.raises(DataError, match="text 1 is empty"):
        rolling(lm, [""])
    with pytest.raises(UsageError, match="max_new_tokens = 128"):
        generations(lm, ["the"], max_new_tokens=128)
    masked = LanguageModel(tiny_masked(), lm.tokenizer)
    for ask in (lambda: continuations(masked, [("a", "b")]), lambda: rolling(masked, ["a"])):
        with pytest.raises(UsageError, match="a masked model"):
            ask()
    seq2seq = LanguageModel(tiny_seq2seq("t5-mini", vocab_size=320, context_length=64).eval(), lm.tokenizer)
    with pytest.raises(UsageError, match="an encoder-decoder"):
        rolling(seq2seq, ["a"])


def tiny_masked() -> Model:
    from seodang.models.sizes import published

    model = build_model(replace(published("bert-mini"), vocab_size=320))
    model.init_weights(torch.Generator().manual_seed(0))
    return model
