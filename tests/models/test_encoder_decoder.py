"""One battery for every encoder-decoder: padding, cached = uncached, causality, the source computed once."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from seodang.errors import FitError
from seodang.models.attention import attention_mask
from seodang.models.cost import n_matmul_parameters, n_parameters, training_bytes
from seodang.models.encoder_decoder import CrossAttention, EncoderDecoder
from seodang.models.families import FAMILIES, build_model, with_rows
from seodang.models.positions import sinusoids
from seodang.models.sizes import SIZES, published
from seodang.models.t5 import relative_bucket
from seodang.training.activations import checkpoint_activations

NAMES = ["transformer-mini", "bart-mini", "t5-mini", "t5v1.1-mini"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def tiny(name: str, seed: int = 0, **changes: object) -> EncoderDecoder:
    """A 16-wide model with one layer in the encoder and two in the decoder."""
    sizes = {
        "vocab_size": 40, "context_length": 24, "d_model": 16, "n_layers": 2, "n_encoder_layers": 1, "n_heads": 2,
        "n_kv_heads": 2, "d_head": 8, "d_ff": 24,
    }  # fmt: skip
    model = build_model(published(name, **{**sizes, **changes}).with_dropout(0.0))
    assert isinstance(model, EncoderDecoder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            one = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(one + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def _ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))


def test_every_attentive_family_is_in_the_battery() -> None:
    kinds = {name for name, family in FAMILIES.items() if family.kind == "seq2seq" and hasattr(family, "furnish")}
    assert {SIZES[name].family for name in NAMES} == kinds


@torch.no_grad()
@pytest.mark.parametrize("left", [True, False])
def test_padding_of_the_source_changes_nothing(name: str, left: bool) -> None:
    model = tiny(name).eval()
    source, target = _ids(1, 9), _ids(1, 6, seed=1)
    filler = torch.full((1, 4), 39)
    padded = torch.cat((filler, source) if left else (source, filler), dim=1)
    documents = torch.tensor([[-1] * 4 + [0] * 9 if left else [0] * 9 + [-1] * 4])
    expected = model(target, memory=model.encode(source))
    for memory in (model.encode(padded, documents=documents), model.encode(padded, mask=documents >= 0)):
        real = memory.states[:, 4:] if left else memory.states[:, :9]
        torch.testing.assert_close(real, model.encode(source).states, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(target, memory=memory), expected, rtol=0, atol=1e-5)
    assert (model(target, memory=model.encode(padded)) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_left_padding_of_the_target_changes_nothing(name: str) -> None:
    model = tiny(name).eval()
    memory, target = model.encode(_ids(1, 9)), _ids(1, 6, seed=1)
    padded = torch.cat((torch.full((1, 4), 39), target), dim=1)
    found = model(padded, memory=memory, mask=torch.tensor([[False] * 4 + [True] * 6]))
    torch.testing.assert_close(found[:, 4:], model(target, memory=memory), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_source_of_padding_alone_gives_numbers(name: str) -> None:
    model = tiny(name).eval()
    memory = model.encode(_ids(2, 5), documents=torch.tensor([[0] * 5, [-1] * 5]))
    assert torch.isfinite(model(_ids(2, 4), memory=memory)).all()


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1,) * 14, (6, 1, 1, 6), (3, 11)])
def test_cached_equals_uncached(name: str, cuts: tuple[int, ...]) -> None:
    model = tiny(name).eval()
    target = _ids(2, 14, seed=1)
    memory = model.encode(_ids(2, 9), mask=torch.tensor([[True] * 9, [True] * 5 + [False] * 4]))
    cache = model.new_cache(2, 14, memory)
    pieces, at = [], 0
    for size in cuts:
        pieces.append(model(target[:, at : at + size], cache=cache))
        cache.advance(size)
        at += size
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(target, memory=memory), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_cache_can_be_cut_and_reordered(name: str) -> None:
    model = tiny(name).eval()
    sources, target = _ids(2, 9), _ids(2, 8, seed=1)
    memory = model.encode(sources, mask=torch.tensor([[True] * 9, [False] * 3 + [True] * 6]))
    cache = model.new_cache(2, 12, memory)
    model(target, cache=cache)
    cache.advance(8)
    assert cache.truncate(5) == 5
    before = cache.n_bytes()
    rows = torch.tensor([1, 1, 1])
    cache.select(rows)
    assert cache.batch == 3 and cache.n_bytes() * 2 == before * 3
    found = model(target[1:, 5:].expand(3, -1), cache=cache)
    expected = model(target[rows], memory=memory.select(rows))[:, 5:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_future_is_not_seen_and_the_source_is(name: str) -> None:
    model = tiny(name).eval()
    source, target = _ids(1, 9), _ids(1, 10, seed=1)
    other = target.clone()
    other[0, 6:] = (other[0, 6:] + 1) % 40
    memory = model.encode(source)
    a, b = model(target, memory=memory), model(other, memory=memory)
    torch.testing.assert_close(a[:, :6], b[:, :6], rtol=0, atol=1e-6)
    assert (a[:, 6:] - b[:, 6:]).abs().max() > 1e-3
    last = source.clone()
    last[0, -1] = (last[0, -1] + 1) % 40
    changed = model.encode(last)
    assert (changed.states[:, 0] - memory.states[:, 0]).abs().max() > 1e-4  # both sides are seen
    assert (model(target, memory=changed)[:, 0] - a[:, 0]).abs().max() > 1e-4


@torch.no_grad()
def test_the_keys_of_the_source_are_computed_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls, compute = tiny(name).eval(), list[int](), CrossAttention.keys_values

    def counted(self: CrossAttention, states: Tensor) -> Tensor:
        calls.append(self.layer)
        return compute(self, states)

    monkeypatch.setattr(CrossAttention, "keys_values", counted)
    cache = model.new_cache(1, 8, model.encode(_ids(1, 9)))
    for place in range(8):
        model(_ids(1, 1, seed=place), cache=cache)
        cache.advance(1)
    assert calls == [0, 1]


def _gradients(model: EncoderDecoder) -> dict[str, Tensor]:
    documents = torch.tensor([[0] * 9, [0] * 6 + [-1] * 3])
    memory = model.encode(_ids(2, 9), documents=documents)
    model.logits(model(_ids(2, 7, seed=1), memory=memory)).float().square().mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("mode", ["blocks", "selective"])
def test_recomputed_activations_give_the_same_gradients(name: str, mode: str) -> None:
    plain, model = tiny(name), tiny(name)
    runs: list[str] = []
    checkpoint_activations(model, mode)  # type: ignore[arg-type]
    assert model.run_block is not None
    run: Callable[..., Tensor] = model.run_block

    def counted(block: torch.nn.Module, *inputs: object) -> Tensor:
        runs.append(type(block).__name__)
        return run(block, *inputs)

    model.run_block = counted
    expected, found = _gradients(plain), _gradients(model)
    assert len(runs) == 3  # the encoder's block as well
    assert set(expected) == set(found) == {name for name, p in plain.named_parameters() if p.requires_grad}
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-6)


def test_autocast_follows_float32(name: str) -> None:
    expected = _gradients(tiny(name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _gradients(tiny(name))
    for key, gradient in expected.items():
        if gradient.abs().max() < 1e-7:  # biases of keys, which softmax does not feel
            continue
        assert torch.cosine_similarity(found[key].flatten(), gradient.flatten(), dim=0) > 0.98, key


@torch.no_grad()
def test_more_rows_leave_the_old_tokens_as_they_were(name: str) -> None:
    for tied in (True, False):
        model = tiny(name, tied=tied).eval()
        grown = with_rows(model, 45).eval()
        assert isinstance(grown, EncoderDecoder)
        source, target = _ids(1, 9), _ids(1, 6, seed=1)
        a, b = (m.logits(m(target, memory=m.encode(source))) for m in (model, grown))
        torch.testing.assert_close(a, b[..., :40], rtol=0, atol=1e-5)


def test_initial_loss_is_that_of_guessing(name: str) -> None:
    """Fresh weights say little: the first loss is near ln V, which wrong scales in the residual stream are not."""
    model = build_model(published(name, vocab_size=500)).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(500, (4, 32), generator=torch.Generator().manual_seed(1))
    assert isinstance(model, EncoderDecoder)
    with torch.no_grad():
        logits = model.logits(model(ids, memory=model.encode(ids.flip(1))))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.roll(-1, 1).flatten())
    assert abs(float(loss) - math.log(500)) < 1


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("bart-base", 139_420_416 + 50_265), ("bart-large", 406_291_456 + 50_265),
        ("t5-small", 60_506_624), ("t5-base", 222_903_552), ("t5-large", 737_668_096),
        ("t5v1.1-small", 76_961_152), ("t5v1.1-base", 247_577_856), ("mt5-small", 300_176_768),
    ],
)  # fmt: skip
def test_published_sizes_have_the_released_number_of_parameters(size: str, parameters: int) -> None:
    assert n_parameters(SIZES[size]) == parameters


def test_matrices_count_once_and_tables_not() -> None:
    d, d_ff, v = 512, 2048, 32128
    encoder, decoder = 4 * d * d + 2 * d * d_ff, 8 * d * d + 2 * d * d_ff
    assert n_matmul_parameters(published("t5-small")) == 6 * (encoder + decoder) + v * d


def test_what_is_kept_fits_the_estimate(name: str) -> None:
    """The bytes that autograd keeps of one micro-batch are below the estimate, and not by much."""
    config = published(name, vocab_size=500).with_dropout(0.1)
    model = build_model(config).train()
    model.init_weights(torch.Generator().manual_seed(0))
    assert isinstance(model, EncoderDecoder)
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(500, (4, 96), generator=torch.Generator().manual_seed(0))
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model(ids, memory=model.encode(ids))
    assert hidden.requires_grad
    estimate = training_bytes(config, ids.numel(), low_precision=False, context_length=96)
    estimate -= training_bytes(config, 0, low_precision=False, context_length=96)
    assert 0.4 * estimate < sum(kept.values()) < estimate


def test_relative_buckets_by_hand() -> None:
    """32 buckets to distance 128: an encoder has 16 to a side, 8 of one distance each, then
    8 + ⌊ln(n/8)/ln(16) · 8⌋; a decoder has 32, 16 of one distance each, then 16 + ⌊ln(n/16)/ln(8) · 16⌋."""
    offsets = torch.tensor([0, -1, 1, -7, 7, -8, 11, -12, 16, -23, 64, -127, 128, 5000])
    # ln(11/8)/ln 16 · 8 = 0.92, ln(12/8) … = 1.17, ln 2 … = 2, ln(23/8) … = 3.05, ln 8 … = 6, ln(127/8) … = 7.98
    expected = [0, 1, 17, 7, 23, 8, 24, 9, 26, 11, 30, 15, 31, 31]
    found = relative_bucket(offsets, both_sides=True, buckets=32, distance=128)
    assert found.tolist() == expected
    offsets = torch.tensor([0, 3, -1, -15, -16, -18, -19, -32, -64, -127, -128, -9999])
    # ln(18/16)/ln 8 · 16 = 0.91, ln(19/16) … = 1.32, ln 2 … = 5.33, ln 4 … = 10.67, ln(127/16) … = 15.94
    expected = [0, 0, 1, 15, 16, 16, 17, 21, 26, 31, 31, 31]
    found = relative_bucket(offsets, both_sides=False, buckets=32, distance=128)
    assert found.tolist() == expected


def test_a_dense_mask_is_the_same_mask() -> None:
    documents = torch.tensor([[0] * 4 + [1] * 3, [0] * 7])
    for causal in (True, False):
        for given in (None, documents):
            kinds = {"dtype": torch.float32, "device": torch.device("cpu"), "causal": causal}
            blocks = attention_mask(7, 7, given, **kinds)
            dense = attention_mask(7, 7, given, **kinds, dense=True)
            if dense is None:
                assert not causal and given is None
            else:
                assert torch.equal(dense, blocks.whole(7))


def test_t5_has_no_last_position_and_says_what_is_missing() -> None:
    model = tiny("t5-mini").eval()
    long = _ids(1, 60)
    with torch.no_grad():
        assert torch.isfinite(model(long, memory=model.encode(long))).all()


def test_t5_initialisation_is_the_released_codes() -> None:
    model = build_model(published("t5-mini"))
    model.init_weights(torch.Generator().manual_seed(0))
    state = model.state_dict()
    expected = {
        "embed.weight": 1.0,
        "layers.0.attention.q.weight": (128 * 32) ** -0.5,
        "layers.0.cross.k.weight": 128**-0.5,
        "encoder.layers.1.attention.out.weight": (4 * 32) ** -0.5,
        "layers.2.mlp.up.weight": 128**-0.5,
        "encoder.layers.0.mlp.down.weight": 512**-0.5,
    }
    for key, std in expected.items():
        assert abs(float(state[key].std()) / std - 1) < 0.03, key


def test_sinusoids_by_hand() -> None:
    """Width 5: three sines of p, p/10000^(2/5) and p/10000^(4/5), then two cosines of the first two angles."""
    angles = [7.0, 7 / 39.81071705534973, 7 / 1584.893192461114]
    expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles[:2]]
    found = sinusoids(torch.tensor([[0, 7]]), 5)
    torch.testing.assert_close(found[0, 1], torch.tensor(expected))
    assert found[0, 0].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("side", ["source", "target"])
def test_beyond_barts_positions_is_an_error(side: str) -> None:
    model = tiny("bart-mini")
    memory = model.encode(_ids(1, 24))
    with pytest.raises(FitError, match=f"a {side} of 25 tokens"):
        model.encode(_ids(1, 25)) if side == "source" else model(_ids(1, 25), memory=memory)


def test_the_original_begins_with_rows_of_length_one() -> None:
    model = build_model(published("transformer-mini"))
    model.init_weights(torch.Generator().manual_seed(0))
    state = model.state_dict()
    assert abs(float(state["embed.weight"].norm(dim=1).mean()) - 1) < 0.02
    assert abs(float(state["layers.0.mlp.up.weight"].std()) / math.sqrt(2 / (128 + 512)) - 1) < 0.02
    assert not state["logits_bias.weight"].any()
