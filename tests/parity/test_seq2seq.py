"""Encoder-decoders' logits equal `transformers`' in float32, whoever saved and whoever loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.inference.beam import generate_beam
from seodang.inference.decode import generate
from seodang.inference.inputs import pad_right
from seodang.inference.options import ignored, merge
from seodang.inference.sampling import Settings
from seodang.models.encoder_decoder import EncoderDecoder

TOLERANCE = 1e-4
VOCAB = 61


def _t5(kind: Any = T5ForConditionalGeneration, config: Any = T5Config, **changes: Any) -> PreTrainedModel:
    sizes = {"vocab_size": VOCAB, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3}
    model = kind(config(**{**sizes, "decoder_start_token_id": 0, **changes}))
    if not getattr(model.config, "scale_decoder_outputs", False):  # 5.23 no longer unties by itself
        model.lm_head.weight = nn.Parameter(torch.empty(VOCAB, model.config.d_model))
    return model


def _sizes(heads: int = 3, **changes: Any) -> dict[str, Any]:
    sizes = {"vocab_size": VOCAB, "d_model": 24, "max_position_embeddings": 32}
    sizes |= {"encoder_layers": 2, "decoder_layers": 2}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_attention_heads": heads, f"{side}_ffn_dim": 40}
    return {**sizes, **changes}


def _bart(**changes: Any) -> PreTrainedModel:
    return _with_one_embedding(BartForConditionalGeneration(BartConfig(**_sizes(**changes))))


def _marian(**changes: Any) -> PreTrainedModel:
    waves = {"scale_embedding": True, "static_position_embeddings": True, "normalize_embedding": False}
    ids = {"decoder_start_token_id": 60, "pad_token_id": 60}
    return _with_one_embedding(MarianMTModel(MarianConfig(**_sizes(**{**waves, **ids, **changes}))))


def _with_one_embedding(model: PreTrainedModel) -> PreTrainedModel:
    """Without tied weights transformers makes three embeddings; the papers have one, and an output matrix."""
    for side in (model.model.encoder, model.model.decoder):
        side.embed_tokens.weight = model.model.shared.weight
    return model


_GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

CASES: dict[str, Callable[[], PreTrainedModel]] = {
    "transformer": lambda: _marian(activation_function="relu"),
    "transformer one layer, three in the decoder, odd width": lambda: _marian(
        encoder_layers=1, decoder_layers=3, d_model=27
    ),
    "transformer one head, swish": lambda: _marian(heads=1, activation_function="swish"),
    "transformer untied": lambda: _marian(tie_word_embeddings=False),
    "bart": _bart,
    "bart three layers, one in the decoder": lambda: _bart(encoder_layers=3, decoder_layers=1),
    "bart one head, relu": lambda: _bart(heads=1, activation_function="relu"),
    "bart untied": lambda: _bart(tie_word_embeddings=False),
    "t5": _t5,
    "t5 one layer, three in the decoder": lambda: _t5(num_layers=1, num_decoder_layers=3),
    "t5 wide heads, few buckets": lambda: _t5(
        d_kv=10, num_heads=5, relative_attention_num_buckets=6, relative_attention_max_distance=9
    ),
    "t5 untied": lambda: _t5(tie_word_embeddings=False),
    "t5 gelu, wide eps": lambda: _t5(feed_forward_proj="gelu", layer_norm_epsilon=1e-2),
    "t5v1.1": lambda: _t5(**_GATED),
    "t5v1.1 one head, one decoder layer": lambda: _t5(num_heads=1, num_decoder_layers=1, **_GATED),
    "t5v1.1 tied, silu": lambda: _t5(feed_forward_proj="gated-silu"),
    "mt5": lambda: _t5(MT5ForConditionalGeneration, MT5Config, **_GATED),
}


def theirs(case: str) -> PreTrainedModel:
    """The case's model with weights large enough that a wrong one shows."""
    torch.manual_seed(0)
    model = CASES[case]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):  # Marian's waves stay
            one = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(one + 0.15 * torch.randn(parameter.shape, generator=generator))
        if "final_logits_bias" in dict(model.named_buffers()):
            model.final_logits_bias.normal_(generator=generator)
    return model.eval()


def ours(model: PreTrainedModel, folder: Path) -> EncoderDecoder:
    """`model` saved by transformers and loaded by us."""
    model.save_pretrained(folder)
    loaded = load_folder(folder)[0]
    assert isinstance(loaded, EncoderDecoder)
    return loaded


def random_ids(rows: int, length: int, seed: int) -> Tensor:
    return torch.randint(3, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded(rows: int = 3, length: int = 20) -> tuple[Tensor, Tensor]:
    """Sources and their mask: one padded on the left, one on the right, one whole."""
    ids, mask = random_ids(rows, length, 2), torch.ones(rows, length, dtype=torch.bool)
    mask[0, :7] = False
    mask[1, 15:] = False
    return ids, mask


@torch.no_grad()
def our_logits(model: EncoderDecoder, ids: Tensor, decoder_ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, T, V)."""
    return model.logits(model(decoder_ids, memory=model.encode(ids, mask=mask)))


@torch.no_grad()
def their_logits(model: PreTrainedModel, ids: Tensor, decoder_ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, T, V)."""
    given = torch.ones_like(ids) if mask is None else mask.long()
    return model(input_ids=ids, attention_mask=given, decoder_input_ids=decoder_ids).logits


@pytest.mark.parametrize("case", CASES)
def test_saved_by_transformers_loaded_by_us(case: str, tmp_path: Path) -> None:
    model = theirs(case)
    loaded = ours(model, tmp_path)
    ids, mask = padded()
    # positions that stand on a source's first token are theirs too: only T5 knows no places
    sources = [(ids, None), (ids[:, -5:], None), (ids[:1, :1], None), (ids, mask)]
    for source, real in sources if "t5" in case else [*sources[:3], (ids[1:], mask[1:])]:
        targets = random_ids(len(source), 15, 3)
        for decoder_ids in (targets, targets[:, :1]):
            expected = their_logits(model, source, decoder_ids, real)
            assert (our_logits(loaded, source, decoder_ids, real) - expected).abs().max() < TOLERANCE
            assert expected.std() > 0.02  # the comparison is of real numbers


@pytest.mark.parametrize("case", CASES)
def test_saved_by_us_loaded_by_transformers(case: str, tmp_path: Path) -> None:
    before = theirs(case)
    model = ours(before, tmp_path / "theirs")
    save_folder(tmp_path / "ours", model, None)
    after, info = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert after.generation_config.decoder_start_token_id == before.config.decoder_start_token_id
    ids, targets = random_ids(3, 20, 2), random_ids(3, 15, 3)
    found = our_logits(model, ids, targets)
    assert (their_logits(after.eval(), ids, targets) - found).abs().max() < TOLERANCE
    again = load_folder(tmp_path / "ours")[0]
    assert again.config == model.config


def _sources() -> tuple[list[list[int]], Tensor, Tensor]:
    """Four sources as lists, and padded on the right with their mask."""
    lists = [random_ids(1, length, 10 + length)[0].tolist() for length in (1, 4, 9, 17)]
    ids, mask = pad_right(lists, "cpu")
    assert mask is not None
    return lists, ids, mask


def _expected(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> list[list[int]]:
    """What transformers generates, without the start token and the padding behind an end."""
    made = model.generate(
        input_ids=ids, attention_mask=mask.long(), do_sample=False, pad_token_id=1, decoder_start_token_id=2,
        use_cache=False,  # 5.23's has as many layers as the encoder, which is wrong where the decoder has more
        **{"forced_eos_token_id": None, "eos_token_id": None, **options},
    )  # fmt: skip
    return [row[1:].tolist() for row in made]


RULES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"num_beams": 3}, {"num_beams": 3}),
    ({"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
     {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True}),
    ({"num_beams": 2, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "min_length": 6, "forced_bos_token_id": 4,
      "forced_eos_token_id": 3, "bad_words_ids": [[6], [7]]},
     {"num_beams": 2, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "min_new_tokens": 5, "forced_first_id": 4,
      "forced_last_id": 3, "banned_ids": (6, 7)}),
    ({"no_repeat_ngram_size": 3, "min_new_tokens": 4, "forced_eos_token_id": 3, "repetition_penalty": 1.3},
     {"no_repeat_ngram_size": 3, "min_new_tokens": 4, "forced_last_id": 3, "repetition_penalty": 1.3}),
]  # fmt: skip
"""Their options, and ours."""


@pytest.mark.parametrize("case", [case for case in CASES if "untied" not in case])
def test_generated_tokens(case: str, tmp_path: Path) -> None:
    """Greedy, beams with a length penalty, and every rule of a generation_config, on sources of unequal length."""
    model = theirs(case)
    loaded = ours(model, tmp_path)
    sources, ids, mask = _sources()
    unending = generate(loaded, sources, Settings(max_new_tokens=12, start_id=2))
    assert [made.tokens for made in unending] == _expected(model, ids, mask, max_new_tokens=12)
    ends = sorted({unending[0].tokens[5], unending[1].tokens[2], 3})  # which these texts come to
    lengths = set()
    for options, settings in RULES:
        expected = _expected(model, ids, mask, max_new_tokens=12, eos_token_id=ends, **options)
        banned = tuple(id for id in settings.get("banned_ids", ()) if id not in ends)
        chosen = Settings(max_new_tokens=12, start_id=2, stop_ids=tuple(ends), **{**settings, "banned_ids": banned})
        if chosen.num_beams > 1:
            found = [generate_beam(loaded, source, chosen) for source in sources]
        else:
            found = generate(loaded, sources, chosen)
        for mine, row in zip(found, expected, strict=True):
            assert mine.tokens == row[: len(mine.tokens)]
            assert set(row[len(mine.tokens) :]) <= {1}  # theirs is padded
            lengths.add(len(mine.tokens))
    assert len(lengths) > 1  # some texts ended by themselves


def test_settings_of_barts_generation_config(tmp_path: Path) -> None:
    """What a BART summariser's generation_config.json asks for is what happens, with nothing said by the caller."""
    model = theirs("bart")
    asked = {
        "num_beams": 3, "length_penalty": 2.0, "max_length": 14, "min_length": 8, "no_repeat_ngram_size": 2,
        "early_stopping": True, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps(stored | asked | {"diversity_penalty": 0.5}))
    loaded, _, generation = load_folder(tmp_path)
    settings = merge({}, generation, frozenset([2]), seq2seq=True)
    sources, ids, mask = _sources()
    expected = model.generate(input_ids=ids, attention_mask=mask.long(), do_sample=False, pad_token_id=1, **asked)
    for source, row in zip(sources, expected, strict=True):
        found = generate_beam(loaded, source, settings)
        assert [2, *found.tokens] == row[: len(found.tokens) + 1].tolist()
        assert found.tokens[0] == 0 and found.tokens[-1] == 2 and 7 <= len(found.tokens) <= 13
    assert ignored(generation, seq2seq=True) == ["diversity_penalty = 0.5"]
    assert ignored(generation) == ["diversity_penalty = 0.5", "num_beams = 3", "min_length = 8"]
    decoder = merge({}, generation, frozenset([2]))
    assert (decoder.num_beams, decoder.forced_first_id, decoder.no_repeat_ngram_size) == (1, None, 2)
    asks = merge({"temperature": 0.7, "max_new_tokens": 5}, generation, frozenset([2]), seq2seq=True)
    assert (asks.num_beams, asks.max_new_tokens, asks.min_new_tokens) == (1, 5, 7)
