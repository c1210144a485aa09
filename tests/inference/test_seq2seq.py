"""Encoder-decoders answer: cached = uncached, batch = alone, greedy, sampled, streamed, scored, suggested."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.huggingface import load_folder
from seodang.checkpoints.verify import verify
from seodang.cli.main import main
from seodang.data.batch import Batch
from seodang.errors import DataError, FitError, UsageError
from seodang.inference.beam import generate_beam
from seodang.inference.constraints import constrain, repeated_ends
from seodang.inference.decode import Decoding, generate
from seodang.inference.language_model import LanguageModel, load
from seodang.inference.sampling import Settings
from seodang.models.encoder_decoder import EncoderDecoder
from seodang.objectives.seq2seq import TeacherForcing
from tests.inference.conftest import TEXTS, ragged_prompts
from tests.inference.conftest import train as train_tokenizer
from tests.models.test_encoder_decoder import NAMES, tiny


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return tiny(str(request.param), vocab_size=96, context_length=64).eval()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(max_new_tokens=12),
        Settings(max_new_tokens=12, temperature=1.0, seed=3, stop_ids=(5, 6, 7, 8, 9, 10, 11, 12)),
        Settings(max_new_tokens=12, temperature=0.8, top_k=20, no_repeat_ngram_size=2, min_new_tokens=3),
    ],
)
def test_cached_equals_uncached_and_batch_equals_alone(model: EncoderDecoder, settings: Settings) -> None:
    prompts = ragged_prompts(5)
    together = generate(model, prompts, settings)
    assert [made.tokens for made in generate(model, prompts, settings, use_cache=False)] == [
        made.tokens for made in together
    ]
    for row, prompt in enumerate(prompts):
        (alone,) = generate(model, [prompt], settings, streams=[row])
        assert alone.tokens == together[row].tokens and alone.prompt_tokens == len(prompt)


def test_one_beam_is_greedy_and_more_find_no_worse(model: EncoderDecoder) -> None:
    for prompt in ragged_prompts(3):
        (greedy,) = generate(model, [prompt], Settings(max_new_tokens=8))
        assert generate_beam(model, prompt, Settings(max_new_tokens=8)).tokens == greedy.tokens
        beam = generate_beam(model, prompt, Settings(max_new_tokens=8, num_beams=4))
        assert _logprob(model, prompt, beam.tokens) >= _logprob(model, prompt, greedy.tokens) - 1e-4


@torch.no_grad()
def _logprob(model: EncoderDecoder, source: list[int], target: list[int]) -> float:
    read = torch.tensor([[model.config.start_id, *target[:-1]]])
    logits = model.logits(model(read, memory=model.encode(torch.tensor([source]))))[0]
    return float(logits.log_softmax(-1)[range(len(target)), target].sum())


def test_a_source_is_encoded_once(model: EncoderDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[tuple[int, ...]] = []
    encode = type(model).encode

    def counted(self: EncoderDecoder, ids: torch.Tensor, **given: object) -> object:
        encoded.append(tuple(ids.shape))
        return encode(self, ids, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model), "encode", counted)
    generate(model, [[4, 5], [6, 7, 8]], Settings(max_new_tokens=9))
    generate_beam(model, [4, 5], Settings(max_new_tokens=9, num_beams=3))
    assert encoded == [(2, 3), (1, 2)]


def test_a_later_decoding_takes_no_cache_over(model: EncoderDecoder) -> None:
    first = Decoding(model, [[4, 5, 6]], Settings(max_new_tokens=4), capacity=40)
    while not first.done:
        first.step()
    later = Decoding(model, [[4, 5, 7]], Settings(max_new_tokens=4), after=first)
    while not later.done:
        later.step()
    assert later.tokens == [made.tokens for made in generate(model, [[4, 5, 7]], Settings(max_new_tokens=4))]


def test_wrong_sources_are_refused() -> None:
    bart = tiny("bart-mini", vocab_size=96, context_length=10).eval()
    with pytest.raises(FitError, match="prompt 1 has 11 tokens"):
        generate(bart, [[5] * 11], Settings())
    assert len(generate(bart, [[5] * 10], Settings(max_new_tokens=30))[0].tokens) == 9  # with the start token, 10
    with pytest.raises(DataError, match="is empty"):
        generate(bart, [[]], Settings())
    with pytest.raises(DataError, match="no token to begin with"):
        generate(tiny("bart-mini", start_id=None).eval(), [[5]], Settings())


def test_repeated_ends_by_hand() -> None:
    assert repeated_ends([1, 2, 3, 1, 2], 3) == {3}  # 1 2 3 came already
    assert repeated_ends([1, 2, 3, 1, 2], 2) == {3}
    assert repeated_ends([1, 2, 1, 3, 1], 2) == {2, 3}
    assert repeated_ends([1, 2], 1) == {1, 2} and repeated_ends([1, 2], 3) == set() == repeated_ends([], 2)


def test_rules_by_hand() -> None:
    scores = torch.zeros(3, 6)
    settings = Settings(
        stop_ids=(1,), min_new_tokens=2, no_repeat_ngram_size=2, banned_ids=(5, 99), forced_first_id=3, forced_last_id=1
    )
    found = constrain(scores, [[0], [0, 4, 0], [0, 2, 2, 3]], [0, 1, 3], [9, 9, 4], settings)
    allowed = [[id for id in range(6) if row[id] > -math.inf] for row in found]
    assert allowed == [[3], [0, 2, 3], [1]]  # the first; no end, no 0 4 again, no 5; the last
    assert constrain(scores, [], [], [], Settings()) is scores


# -- as people use it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that has learned to answer each text's first half with its second."""
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = train_tokenizer("bytes", folder / "tokenizer")
    model = tiny(
        "t5-mini", vocab_size=tokenizer.vocab_size, d_model=32, d_ff=64, d_head=16, start_id=tokenizer.pad_id,
        pad_id=tokenizer.pad_id,
    ).train()  # fmt: skip
    model.init_weights(torch.Generator().manual_seed(0))
    assert tokenizer.end_of_text_id is not None and tokenizer.pad_id is not None
    pairs = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in TEXTS[:4]]
    sources = [torch.tensor(tokenizer.encode(source)) for source, _ in pairs]
    targets = [torch.tensor([*tokenizer.encode(target), tokenizer.end_of_text_id]) for _, target in pairs]
    pad = torch.nn.utils.rnn.pad_sequence
    batch = Batch(
        pad(sources, batch_first=True),
        pad(targets, batch_first=True, padding_value=-100),
        documents=pad([torch.zeros_like(source) for source in sources], batch_first=True, padding_value=-1),
        decoder_ids=pad(
            [torch.cat((torch.tensor([tokenizer.pad_id]), target[:-1])) for target in targets], batch_first=True
        ),
    )
    optimizer, objective = torch.optim.AdamW(model.parameters(), lr=5e-3), TeacherForcing()
    for _ in range(150):
        loss = objective(model, batch)["language"]
        optimizer.zero_grad()
        (loss.sum / loss.weight).backward()
        optimizer.step()
    assert float(loss.sum.detach() / loss.weight) < 0.1
    LanguageModel(model, tokenizer).save(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def lm(folder: Path) -> LanguageModel:
    return load(folder)


HALF, REST = TEXTS[0][: len(TEXTS[0]) // 2], TEXTS[0][len(TEXTS[0]) // 2 :]


def test_the_folder_keeps_its_start(folder: Path) -> None:
    model, tokenizer, generation = load_folder(folder)
    assert tokenizer is not None
    assert generation["decoder_start_token_id"] == tokenizer.pad_id == model.config.start_id
    verify(folder)


def test_answers_and_streams(lm: LanguageModel) -> None:
    options = {"max_new_tokens": 60}
    first, other = lm.generate([HALF, TEXTS[1][: len(TEXTS[1]) // 2]], **options)  # type: ignore[call-overload]
    assert first.text == REST and first.finish_reason == "stop"
    assert other.text == TEXTS[1][len(TEXTS[1]) // 2 :]
    stream = lm.stream(HALF, **options)  # type: ignore[arg-type]
    assert "".join(stream) == REST
    assert lm.generate(HALF, num_beams=3, **options).text == REST  # type: ignore[call-overload]
    assert lm.generate(HALF, temperature=0.01, seed=4, **options).text == REST  # type: ignore[call-overload]
    stopped = lm.generate(HALF, stop=REST[4:7], **options)  # type: ignore[call-overload]
    assert stopped.text == REST[:4]


def test_scores_need_a_source(lm: LanguageModel) -> None:
    with pytest.raises(UsageError, match="without a source"):
        lm.score(REST)
    right, wrong = lm.score([REST, REST], source=[HALF, TEXTS[2]])
    assert right.logprob > wrong.logprob - 1 and right.text == REST
    ids = lm.tokenizer.encode_pair(REST)[0]
    assert right.ids == ids and right.n_counted == len(ids)
    assert isinstance(lm.model, EncoderDecoder)
    assert right.logprob == pytest.approx(_logprob(lm.model, lm.prompt_ids(HALF), ids), abs=1e-3)
    with pytest.raises(UsageError, match="2 sources for 1 texts"):
        lm.score([REST], source=[HALF, HALF])


def test_suggestions_begin_the_answer(lm: LanguageModel) -> None:
    best = lm.suggest(HALF, 3)[0]
    assert REST.startswith(best.text) and best.probability > 0.5


def test_logits_have_two_inputs(lm: LanguageModel) -> None:
    source, target = lm.prompt_ids(HALF), [3, 4, 5]
    with pytest.raises(UsageError, match="no decoder_ids"):
        lm.logits(source)
    alone = lm.logits(source, torch.tensor([target]))
    assert alone.shape == (1, 3, lm.model.config.vocab_size)
    padded = lm.logits([source, source + source], torch.tensor([target, target]))
    torch.testing.assert_close(padded[:1], alone, rtol=0, atol=1e-4)
    ids, mask = torch.tensor([[0, 0, *source]]), torch.tensor([[False] * 2 + [True] * len(source)])
    torch.testing.assert_close(lm.logits(ids, torch.tensor([target]), mask), alone, rtol=0, atol=1e-4)


def test_embeddings_are_the_encoders(lm: LanguageModel) -> None:
    together = lm.embed([HALF, TEXTS[2]])
    torch.testing.assert_close(together[:1], lm.embed(HALF), rtol=0, atol=1e-5)
    assert isinstance(lm.model, EncoderDecoder)
    with torch.no_grad():
        states = lm.model.encode(torch.tensor([lm.prompt_ids(HALF)])).states
    torch.testing.assert_close(together[:1], states.mean(1), rtol=0, atol=1e-5)


def test_command_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--model", str(folder), "--prompt", HALF, "--max-new-tokens", "60", "--quiet"]) == 0
    assert capsys.readouterr().out == REST + "\n"
    assert main(["score", "--model", str(folder), "--text", REST, "--source", HALF]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert main(["score", "--model", str(folder), "--text", REST]) == 2
    assert "--source" in capsys.readouterr().err
