"""One battery for every causal model: packed = alone, cached = uncached, padded = alone, causality, initialisation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from seodang.data.batch import Batch
from seodang.errors import FitError, UsageError
from seodang.models import attention, decoder
from seodang.models.cache import KVCache
from seodang.models.config import ModelConfig, RoPE
from seodang.models.cost import n_matmul_parameters, n_parameters, training_bytes, training_flops_per_token
from seodang.models.families import FAMILIES, build_model, with_rows
from seodang.models.sizes import NOTES, SIZES, published
from seodang.objectives.language import LanguageModelling
from tests.training.helpers import tiny

DECODERS = [
    "gpt1-mini", "gpt2-mini", "gpt3-mini", "neox-mini", "llama-mini", "mistral-mini", "qwen2-mini", "qwen3-mini",
    "gemma2-mini", "gemma3-mini",
]  # fmt: skip
NAMES = [*DECODERS, "rnn-mini", "lstm-mini", "gru-mini"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 40, shape, generator=torch.Generator().manual_seed(seed))


def test_every_family_is_in_the_battery() -> None:
    causal = {name for name, family in FAMILIES.items() if family.kind == "causal"}
    assert {SIZES[name].family for name in NAMES} == causal - {"textgenrnn"}  # test_textgenrnn.py


@torch.no_grad()
def test_packed_equals_alone(name: str) -> None:
    model = tiny(name).eval()
    first, second = _ids(1, 5, seed=1), _ids(1, 7, seed=2)
    packed = model(
        torch.cat((first, second), dim=1),
        positions=torch.tensor([[*range(5), *range(7)]]),
        documents=torch.tensor([[0] * 5 + [1] * 7]),
    )
    torch.testing.assert_close(packed[:, :5], model(first), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed[:, 5:], model(second), rtol=0, atol=1e-5)


def test_packed_gradients_equal_alone(name: str) -> None:
    first, second = _ids(1, 5, seed=1), _ids(1, 7, seed=2)
    objective = LanguageModelling()

    def shifted(ids: torch.Tensor) -> torch.Tensor:
        return torch.cat((ids[:, 1:], torch.full((1, 1), -100)), dim=1)

    alone, packed = tiny(name), tiny(name)
    for ids in (first, second):
        objective(alone, Batch(ids, shifted(ids))).total({"language": 10.0}).backward()
    batch = Batch(
        torch.cat((first, second), dim=1),
        torch.cat((shifted(first), shifted(second)), dim=1),
        documents=torch.tensor([[0] * 5 + [1] * 7]),
        positions=torch.tensor([[*range(5), *range(7)]]),
    )
    objective(packed, batch).total({"language": 10.0}).backward()
    for p, q in zip(alone.parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1,) * 14, (6, 1, 1, 6), (3, 11)])
def test_cached_equals_uncached(name: str, cuts: tuple[int, ...]) -> None:
    model = tiny(name).eval()
    ids = _ids(2, 14)
    whole = model(ids)
    cache = model.new_cache(2, 14)
    pieces, at = [], 0
    for size in cuts:
        pieces.append(model(ids[:, at : at + size], cache=cache))
        cache.advance(size)
        at += size
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_left_padding_changes_nothing(name: str) -> None:
    model = tiny(name).eval()
    ids = _ids(1, 9)
    padded = torch.cat((torch.full((1, 4), 39), ids), dim=1)
    mask = torch.tensor([[False] * 4 + [True] * 9])
    found = model(padded, mask=mask)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 4:], model(ids), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_future_is_not_seen(name: str) -> None:
    model = tiny(name).eval()
    ids = _ids(1, 10)
    other = ids.clone()
    other[0, 6:] = (other[0, 6:] + 1) % 40
    a, b = model(ids), model(other)
    torch.testing.assert_close(a[:, :6], b[:, :6], rtol=0, atol=1e-6)
    assert (a[:, 6:] - b[:, 6:]).abs().max() > 1e-3


@torch.no_grad()
def test_a_cache_can_be_cut_and_reordered(name: str) -> None:
    model = tiny(name).eval()
    ids = _ids(2, 8)
    cache = model.new_cache(2, 12)
    model(ids, cache=cache)
    cache.advance(8)
    if cache.truncate(5) < 5:  # a memory that cannot be taken back
        assert cache.length == 0
        model(ids[:, :5], cache=cache)
        cache.advance(5)
    cache.select(torch.tensor([1, 1]))
    found = model(ids[1:, 5:].expand(2, -1), cache=cache)
    expected = model(ids[1:])[:, 5:]
    torch.testing.assert_close(found, expected.expand(2, -1, -1), rtol=0, atol=1e-5)


def test_a_full_cache_says_so() -> None:
    model = tiny()
    cache = KVCache(model.config, batch=1, capacity=4)
    with pytest.raises(FitError, match="holds 4 tokens"):
        model(_ids(1, 5), cache=cache)


def test_beyond_the_learned_positions_is_an_error() -> None:
    with pytest.raises(FitError, match="learned positions"):
        tiny("gpt2-mini")(_ids(1, 17))


@torch.no_grad()
def test_rotary_positions_go_beyond_the_context() -> None:
    assert torch.isfinite(tiny("llama-mini").eval()(_ids(1, 40))).all()


@torch.no_grad()
def test_more_rows_leave_the_old_tokens_as_they_were(name: str) -> None:
    for tied in (True, False):
        model = tiny(name, tied=tied).eval()
        grown = with_rows(model, 43).eval()
        assert grown.config.vocab_size == 43 and (grown.head is None) == tied
        ids = _ids(1, 9)
        old, new = model.logits(model(ids)), grown.logits(grown(ids))
        torch.testing.assert_close(new[..., :40], old)
        torch.testing.assert_close(new[..., 40:], old.mean(dim=-1, keepdim=True).expand(-1, -1, 3), rtol=0, atol=1e-5)


def test_initialisation_is_the_papers() -> None:
    config = published("gpt2-mini", n_layers=8, d_model=256, n_heads=4, d_head=64, d_ff=1024)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    state = model.state_dict()
    assert state["embed.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert state["layers.3.attention.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    for part in ("attention.out", "mlp.down"):  # 1/√N with N = 2 · 8 residual sums
        assert state[f"layers.3.{part}.weight"].std().item() == pytest.approx(0.02 / 4, rel=0.02)
    assert not state["layers.0.mlp.up.bias"].any() and bool((state["norm.weight"] == 1).all())
    # an untrained model knows nothing: about ln V nats a token
    logits = model.logits(model(torch.randint(0, 8192, (2, 64))))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(0, 8192, (128,)))
    assert loss.item() == pytest.approx(math.log(8192), abs=0.3)


@pytest.mark.parametrize("family", DECODERS)
def test_with_zero_residual_only_the_embedding_speaks_at_first(family: str) -> None:
    """A token is predicted from its own embedding, whatever came before it, and every other weight is the usual one."""
    model, usual = (build_model(published(family, vocab_size=64, context_length=16)) for _ in range(2))
    model.init_weights(torch.Generator().manual_seed(0), zero_residual=True)
    usual.init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, :-1] = (ids[:, :-1] + 1) % 64
    last, last_changed = (model(rows)[:, -1] for rows in (ids, changed))
    torch.testing.assert_close(last, last_changed, rtol=0, atol=1e-6)
    assert (usual(ids)[:, -1] - usual(changed)[:, -1]).abs().max() > 1e-3
    for (name, p), q in zip(model.named_parameters(), usual.parameters(), strict=True):
        zero = name.endswith(("attention.out.weight", "mlp.down.weight"))
        assert not p.any() if zero else torch.equal(p, q)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("gpt1", 116_534_784),
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("llama-7b", 6_738_415_616),
        ("mistral-7b", 7_241_732_096),
        ("pythia-70m", 70_426_624),
        ("pythia-1.4b", 1_414_647_808),
        ("polyglot-ko-1.3b", 1_331_810_304),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-8b", 8_190_735_360),
        ("gemma2-2b", 2_614_341_888),
        ("gemma2-27b", 27_227_128_320),
        ("gemma3-270m", 268_098_176),
        ("gemma3-1b", 999_885_952),
        ("llama2-70b", 68_976_648_192),
        ("llama3.1-8b", 8_030_261_248),
        ("smollm2-135m", 134_515_008),
        ("tinyllama-1.1b", 1_100_048_384),
    ],
)
def test_published_sizes_have_the_released_number_of_parameters(size: str, parameters: int) -> None:
    assert n_parameters(SIZES[size]) == parameters


@pytest.mark.parametrize(
    ("size", "layers", "width", "heads", "d_head", "millions"),
    [
        ("small", 12, 768, 12, 64, 125),
        ("medium", 24, 1024, 16, 64, 356),
        ("large", 24, 1536, 16, 96, 760),
        ("xl", 24, 2048, 24, 128, None),
        ("2.7b", 32, 2560, 32, 80, 2_650),
        ("6.7b", 32, 4096, 32, 128, 6_660),
        ("13b", 40, 5140, 40, 128, None),
        ("175b", 96, 12288, 96, 128, 174_600),
    ],
)
def test_gpt3s_table(size: str, layers: int, width: int, heads: int, d_head: int, millions: int | None) -> None:
    """Table 2.1 as printed, and the counts of table D.1 to three digits where the row multiplies out."""
    config = SIZES[f"gpt3-{size}"]
    assert (config.n_layers, config.d_model, config.n_heads, config.d_head) == (layers, width, heads, d_head)
    assert (config.vocab_size, config.context_length, config.d_ff) == (50257, 2048, 4 * width)
    assert config.local_layers == tuple(range(1, layers, 2))
    assert (f"gpt3-{size}" in NOTES) == (heads * d_head != width) == (millions is None)
    if millions is not None:
        assert n_parameters(config) == pytest.approx(millions * 1e6, rel=2e-3)


def test_what_the_counts_of_gpt3s_odd_rows_fit() -> None:
    """Table D.1 counts 1,320M and 12,850M; the notes say of what."""
    xl, thirteen = SIZES["gpt3-xl"], SIZES["gpt3-13b"]
    assert [round(n_parameters(config) / 1e6) for config in (xl, thirteen)] == [1517, 12936]
    assert round(n_parameters(replace(xl, n_heads=16, n_kv_heads=16)) / 1e6) == 1316
    assert round(n_parameters(replace(thirteen, d_model=5120, d_ff=20480)) / 1e6) == 12853


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt3-mini", "mistral-mini", "gemma2-mini", "gemma3-mini"])
def test_a_local_layer_sees_its_window_and_keeps_no_more(name: str) -> None:
    """One layer with a window of 5: the token before it is not seen; the cache does not grow with the text."""
    local = SIZES[name].local_layers[0]
    model = tiny(name, n_layers=local + 1)
    model.layers = torch.nn.ModuleList(model.layers[local:])
    model.is_local = [True]
    model.layers[0].attention.layer = 0
    ids = _ids(1, 10)
    seen, changed = model.eval()(ids)[0, -1], []
    for place in range(9):
        other = ids.clone()
        other[0, place] = (other[0, place] + 1) % 40
        changed.append(not torch.equal(model(other)[0, -1], seen))
    assert changed == [False] * 5 + [True] * 4
    config = SIZES[name]
    sizes = [KVCache(config, 1, capacity).n_bytes() for capacity in (1000, 2000)]
    whole = 2 * config.n_kv_heads * config.d_head * 4 * 1000 * (config.n_layers - len(config.local_layers))
    assert sizes[1] - sizes[0] == whole  # only the other layers' grow


@torch.no_grad()
def test_soft_capped_scores_want_a_mask_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA packed documents give FlexAttention's block mask, which cannot be added to scores."""

    def on_cuda(n_new: int, n_all: int, documents: torch.Tensor, *rest: Any, dense: bool = False, **given: Any) -> Any:
        if not dense:
            return attention._flex_mask(documents)
        return attention.attention_mask(n_new, n_all, documents, *rest, dense=dense, **given)

    model, ids, documents = tiny("gemma2-mini").eval(), _ids(1, 12), torch.tensor([[0] * 5 + [1] * 7])
    expected = model(ids, documents=documents)
    monkeypatch.setattr(decoder, "attention_mask", on_cuda)
    torch.testing.assert_close(model(ids, documents=documents), expected)


def test_neox_begins_as_its_paper_says() -> None:
    """Black et al. 2022, sec. 2.1.3, by hand for a width of 128 and 4 layers: √(2/640) and 2/(4·√128)."""
    model = build_model(published("neox-mini"))
    model.init_weights(torch.Generator().manual_seed(0))
    state = model.state_dict()
    assert state["layers.0.mlp.up.weight"].std().item() == pytest.approx(0.0559, rel=0.02)
    assert state["layers.0.mlp.down.weight"].std().item() == pytest.approx(0.0442, rel=0.02)


def test_gemma_begins_with_factors_of_one() -> None:
    model = tiny("gemma3-mini")
    gains = {name: p for name, p in model.named_parameters() if name.endswith("norm.weight")}
    assert len(gains) == 2 * 6 + 1 and not any(p.any() for p in gains.values())
    x = torch.randn(3, 16)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model.norm(x), expected, rtol=1e-5, atol=1e-6)


def test_flops_by_hand() -> None:
    config = published("gpt2")
    matrices = 12 * (768 * 2304 + 768 * 768 + 2 * 768 * 3072) + 50257 * 768
    assert n_matmul_parameters(config) == matrices
    assert training_flops_per_token(config, 1024) == 6 * matrices + 12 * 12 * 768 * 1024
    # GPT-2 124M at T = 1024 is quoted as 0.855 to 0.860 GFLOP a token
    assert 0.854e9 < training_flops_per_token(config, 1024) < 0.861e9


def test_memory_counts_the_states_of_the_optimiser() -> None:
    config = published("gpt2")
    with_adamw = training_bytes(config, 1024, low_precision=True)
    assert with_adamw - training_bytes(config, 1024, low_precision=True, state_bytes=1000) == 8 * 124_439_808 - 1000


@pytest.mark.parametrize("name", ["llama-mini", "gpt3-mini", "qwen3-mini", "gemma2-mini", "gemma3-mini"])
def test_memory_counts_what_the_layers_keep(name: str) -> None:
    """What autograd holds of two rows is not more than is planned, and most of it."""
    config = published(name, context_length=256, vocab_size=512)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(_ids(2, 256))
    planned, less = (
        training_bytes(config, tokens, low_precision=False, context_length=256) for tokens in (512, 256)
    )
    planned = 2 * (planned - less - 256 * config.vocab_size * 4)
    assert 0.55 * planned < sum(storage.nbytes() for storage in kept.values()) < planned


def test_config_refuses_what_cannot_be() -> None:
    sizes = {"family": "llama", "vocab_size": 10, "context_length": 8, "d_model": 12, "n_layers": 1}
    with pytest.raises(UsageError, match="n_heads = 5"):
        ModelConfig(**sizes, n_heads=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="n_kv_heads"):
        ModelConfig(**sizes, n_heads=4, n_kv_heads=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="d_head"):
        ModelConfig(**sizes, n_heads=4, rope=RoPE())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'd_model'"):
        ModelConfig.from_dict({**sizes, "n_heads": 4, "d_modle": 12})


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        published("gpt2-midium")
    assert "gpt2-medium" in caught.value.fix


def test_config_survives_json() -> None:
    for config in SIZES.values():
        assert ModelConfig.from_dict(config.to_dict()) == config
