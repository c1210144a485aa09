"""One battery for every encoder: padded = alone, packed = alone, gradients, initialisation, heads, sizes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from seodang.errors import FitError, UsageError
from seodang.models.cost import n_matmul_parameters, n_parameters, training_flops_per_token
from seodang.models.electra import Electra, generator_config
from seodang.models.encoder import Encoder
from seodang.models.families import FAMILIES, build_model, with_heads, with_rows
from seodang.models.sizes import SIZES, published
from tests.training.helpers import tiny

NAMES = ["bert-tiny", "roberta-mini", "albert-mini", "electra-mini"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def encoder(name: str, **changes: object) -> Encoder:
    dropouts = dict.fromkeys(("embedding_dropout", "attention_dropout", "residual_dropout"), 0.0)
    model = tiny(name, **dropouts, **changes)
    assert isinstance(model, Encoder)
    return model


def _ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2, 40, shape, generator=torch.Generator().manual_seed(seed))


def test_every_encoder_is_in_the_battery() -> None:
    assert {SIZES[name].family for name in NAMES} == {
        family for family, kind in FAMILIES.items() if kind.kind == "masked"
    }


@torch.no_grad()
def test_both_sides_are_seen(name: str) -> None:
    model = encoder(name).eval()
    ids = _ids(1, 9)
    changed = ids.clone()
    changed[0, 5] += 1
    apart = (model(changed) - model(ids)).abs().amax(dim=-1)
    assert (apart > 1e-6).all()


@torch.no_grad()
@pytest.mark.parametrize("left", [0, 2, 4])
def test_padding_on_either_side_changes_nothing(name: str, left: int) -> None:
    model = encoder(name).eval()
    text, segments = _ids(1, 6), torch.tensor([[0, 0, 0, 1, 1, 1]])
    segments = segments.clamp(max=model.config.n_segments - 1)
    padded = torch.full((1, 10), 1)
    padded[:, left : left + 6] = text
    types = torch.zeros_like(padded)
    types[:, left : left + 6] = segments
    mask = torch.zeros_like(padded, dtype=torch.bool)
    mask[:, left : left + 6] = True
    hidden, alone = model(padded, segments=types, mask=mask), model(text, segments=segments)
    torch.testing.assert_close(hidden[:, left : left + 6], alone, rtol=0, atol=1e-5)
    filler = model.predictor
    filled, by_itself = filler(padded, segments=types, mask=mask), filler(text, segments=segments)
    torch.testing.assert_close(filled[:, left : left + 6], by_itself, rtol=0, atol=1e-5)
    if model.has("pooler"):
        torch.testing.assert_close(model.pooled(hidden, mask), model.pooled(alone), rtol=0, atol=1e-5)


def _packed(first: torch.Tensor, second: torch.Tensor) -> dict[str, torch.Tensor]:
    lengths = first.shape[1], second.shape[1]
    return {
        "ids": torch.cat((first, second, torch.zeros(1, 2, dtype=torch.long)), dim=1),
        "positions": torch.tensor([[*range(lengths[0]), *range(lengths[1]), 0, 0]]),
        "documents": torch.tensor([[0] * lengths[0] + [1] * lengths[1] + [-1] * 2]),
    }


def test_packed_equals_alone_with_gradients(name: str) -> None:
    first, second = _ids(1, 5, seed=1), _ids(1, 7, seed=2)
    alone, packed = encoder(name), encoder(name)
    weight = torch.randn(12, alone.config.d_model, generator=torch.Generator().manual_seed(3))
    separate = torch.cat((alone(first), alone(second)), dim=1)[0]
    inputs = _packed(first, second)
    together = packed(inputs.pop("ids"), **inputs)[0, :12]
    torch.testing.assert_close(together, separate, rtol=0, atol=1e-5)
    (separate * weight).sum().backward()
    (together * weight).sum().backward()
    for (where, p), q in zip(alone.named_parameters(), packed.parameters(), strict=True):
        if p.grad is not None or q.grad is not None:
            assert p.grad is not None and q.grad is not None, where
            # norms of vectors as small as fresh embeddings make gradients in the hundreds
            assert (p.grad - q.grad).abs().max() <= 1e-5 * max(1.0, float(p.grad.abs().max())), where


def test_every_weight_gets_a_gradient(name: str) -> None:
    model = encoder(name)
    hidden = model(_ids(2, 8))
    score = hidden.square().mean() * 0
    if model.has("masked"):
        score = score + model.logits(hidden).square().mean()
    if isinstance(model, Electra):
        assert model.generator is not None
        score = score + model.replaced_logits(hidden).square().mean()
        score = score + model.generator.logits(model.generator(_ids(2, 8))).square().mean()
    if model.has("sentence"):
        score = score + model.sentence_logits(hidden).square().mean()
    score.backward()
    assert [where for where, p in model.named_parameters() if p.grad is None] == []


def test_initialisation_is_the_papers(name: str) -> None:
    """A normal distribution of 0.02 cut off at two standard deviations; its own deviation is then 0.88 of that."""
    model = build_model(replace(published(name), d_model=256, n_heads=4, vocab_size=300, d_ff=512, init_std=0.02))
    model.init_weights(torch.Generator().manual_seed(0))
    for where, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            assert parameter.abs().max() <= 0.04, where
            if parameter.numel() > 10_000:
                assert parameter.std().item() == pytest.approx(0.02 * 0.8796, rel=0.03), where
        else:
            assert (parameter == (0.0 if where.endswith("bias") else 1.0)).all(), where
    again = dict(build_model(model.config, "meta").fresh_weights(torch.Generator().manual_seed(0)))
    assert all(torch.equal(again[where], parameter) for where, parameter in model.named_parameters())


def test_narrow_encoders_start_with_scores_as_wide_as_berts(name: str) -> None:
    """q·k of two normed states has the deviation init_std² · d_model · √d_head, over √d_head: the same in all sizes."""
    base, small = published("bert-base"), published(name)
    spread = [config.init_std**2 * config.d_model for config in (base, small)]
    assert spread[0] == pytest.approx(0.3072) and spread[1] == pytest.approx(spread[0], rel=0.06)


def test_zero_residual_leaves_the_stream_alone(name: str) -> None:
    model, usual = (build_model(replace(published(name), vocab_size=50)) for _ in range(2))
    model.init_weights(torch.Generator().manual_seed(0), zero_residual=True)
    usual.init_weights(torch.Generator().manual_seed(0))
    zeros = [where for where, p in model.named_parameters() if p.dim() == 2 and not p.any()]
    assert zeros and all(where.endswith(("attention.out.weight", "mlp.down.weight")) for where in zeros)
    for key, value in model.state_dict().items():  # the others are the same with it as without
        into_residual = key.endswith(("attention.out.weight", "mlp.down.weight"))
        assert not value.any() if into_residual else torch.equal(value, usual.state_dict()[key]), key


def test_a_text_beyond_the_context_is_refused(name: str) -> None:
    model = encoder(name)
    n = model.config.context_length + 1
    with pytest.raises(FitError, match="do not fit"):
        model(_ids(1, n))
    positions = torch.arange(n)[None] % (n - 1)
    assert model(_ids(1, n), positions=positions).shape[1] == n


def test_it_does_not_generate(name: str) -> None:
    with pytest.raises(UsageError, match="does not generate"):
        encoder(name).new_cache(1, 8)


def test_more_rows_and_their_biases(name: str) -> None:
    model = encoder(name).eval()
    grown = with_rows(model, 45)
    ids = _ids(1, 6)
    assert isinstance(grown, Encoder)
    before, after = (one.predictor.logits(one.predictor(ids)) for one in (model, grown))
    assert after.shape[-1] == 45
    torch.testing.assert_close(after[..., :40], before, rtol=0, atol=1e-6)


def test_fresh_heads_where_they_are_asked_for() -> None:
    whole = encoder("bert-tiny")
    bare = build_model(replace(whole.config, heads=("pooler",)))
    bare.load_state_dict({name: whole.state_dict()[name] for name in bare.state_dict()})
    grown, fresh = with_heads(bare, ("masked", "sentence"), torch.Generator().manual_seed(0))
    assert isinstance(grown, Encoder) and grown.config.heads == ("pooler", "masked", "sentence")
    assert {name.split(".")[0] for name in fresh} == {"sentence", "transform", "transform_norm", "token_bias"}
    ids = _ids(1, 6)
    hidden = grown(ids)
    assert torch.equal(hidden, whole(ids)) and grown.logits(hidden).isfinite().all()
    assert torch.equal(grown.pooled(hidden), whole.pooled(hidden))
    with pytest.raises(UsageError, match="no such head"):
        with_heads(encoder("roberta-mini"), ("sentence",))


@pytest.mark.parametrize("heads", [("masked", "nonsense"), ("sentence",)])
def test_heads_that_make_no_sense_are_refused(heads: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        build_model(replace(published("bert-tiny"), heads=heads), "meta")


RELEASED = {
    # what transformers' classes of the released folders hold; of ELECTRA without what the generator repeats
    "bert-base": 110_106_428,
    "bert-large": 336_226_108,
    "roberta-base": 124_697_433,
    "roberta-large": 355_412_057,
    "albert-base": 11_813_810,
    "albert-large": 17_847_474,
    "albert-xlarge": 59_021_490,
    "albert-xxlarge": 223_158_450,
    "electra-small": 13_549_057 + 4_620_026 - 3_972_864,
    "electra-base": 109_483_009 + 33_740_602 - 23_837_184,
    "electra-large": 335_142_913 + 51_295_290 - 31_782_912,
}


@pytest.mark.parametrize("name", RELEASED)
def test_published_sizes_have_the_released_number_of_parameters(name: str) -> None:
    assert n_parameters(published(name)) == RELEASED[name]


@pytest.mark.parametrize(
    ("name", "millions"), [("bert-tiny", 4.4), ("bert-mini", 11.2), ("bert-small", 28.8), ("bert-medium", 41.4)]
)
def test_small_berts_have_the_papers_number_of_parameters(name: str, millions: float) -> None:
    """Turc et al. 2019, table 1, which counts the encoder alone."""
    assert n_parameters(replace(published(name), heads=("pooler",))) / 1e6 == pytest.approx(millions, abs=0.05)


def test_what_a_token_is_multiplied_with_by_hand() -> None:
    config = replace(published("bert-tiny"), vocab_size=100)
    block = 4 * 128 * 128 + 2 * 128 * 512
    assert n_matmul_parameters(config) == 2 * block + 128 * 128 + 100 * 128
    assert n_matmul_parameters(replace(config, heads=("pooler",))) == 2 * block


def test_one_block_is_counted_as_often_as_it_is_used() -> None:
    config = replace(published("albert-mini"), vocab_size=100, n_layers=5)
    block = 4 * 128 * 128 + 2 * 128 * 512
    assert n_matmul_parameters(config) == 64 * 128 + 5 * block + 128 * 64 + 100 * 64
    assert n_parameters(config) - n_parameters(replace(config, n_layers=1)) == 0
    assert build_model(config, "meta").keys_seen(10) == 5 * 10
    # of a hundred tokens, fifteen are multiplied with the transform and the output matrix
    n = 64 * 128 + 5 * block + 0.15 * (128 * 64 + 100 * 64)
    assert training_flops_per_token(config, 10) == 6 * round(n) + 12 * 128 * 5 * 10


def test_generator_and_discriminator_are_counted_together() -> None:
    config = replace(published("electra-mini"), n_layers=4, vocab_size=100)
    block, small = 4 * 128 * 128 + 2 * 128 * 512, 4 * 64 * 64 + 2 * 64 * 256
    finder, filler = 4 * block + 128 * 128 + 128, 128 * 64 + 4 * small + 64 * 128 + 100 * 128
    assert n_matmul_parameters(config) == finder + filler
    assert build_model(config, "meta").keys_seen(10) == 4 * 10 + 2 * 10
    assert build_model(config, "meta").spared_parameters() == 17_843  # 0.85 · (64 · 128 + 100 · 128)


def test_the_generator_reads_the_discriminators_embeddings() -> None:
    """One matrix: moved, loaded, copied or trained, it stays one."""
    model = encoder("electra-mini")
    assert isinstance(model, Electra) and model.generator is not None
    assert not any("generator.embed" in name or "generator.positions" in name for name in model.state_dict())
    again = build_model(model.config, "meta")
    again.load_state_dict(model.state_dict(), assign=True)
    for one in (model, again, copy.deepcopy(model), model.to(torch.float64)):
        assert isinstance(one, Electra) and one.generator is not None
        assert one.generator.output_weight is one.embed.weight and one.generator.embed_norm is one.embed_norm
        assert one.generator(_ids(1, 5)).isfinite().all()
    with pytest.raises(UsageError, match="generator predicts"):
        model.logits(model(_ids(1, 5)))


def test_sizes_of_the_released_generators() -> None:
    """configure_pretraining.py and get_generator_config of the released code."""
    sizes = {
        name: (config.d_model, config.n_heads, config.d_ff, config.n_layers, config.d_embed)
        for name in ("electra-small", "electra-base", "electra-large")
        for config in [generator_config(published(name))]
    }
    assert sizes == {
        "electra-small": (64, 1, 256, 12, 128),
        "electra-base": (256, 4, 1024, 12, 768),
        "electra-large": (256, 4, 1024, 24, 1024),
    }


@pytest.mark.parametrize("name", ["roberta-mini", "albert-mini", "electra-mini"])
def test_laptop_sizes_are_small(name: str) -> None:
    least = 0.5e6 if name == "albert-mini" else 1e6  # its four layers are one
    assert least < n_parameters(published(name)) < 3e6
