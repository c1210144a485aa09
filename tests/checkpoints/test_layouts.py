from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.checkpoints.layouts import LAYOUTS, layout_of_config, layout_of_family
from seodang.checkpoints.layouts.base import Layout
from seodang.checkpoints.weights import expected_shapes
from seodang.errors import DataError, UsageError
from seodang.models.base import Model
from seodang.models.config import ModelConfig, RoPE
from seodang.models.sizes import NOTES, SIZES
from tests.checkpoints.conftest import logits
from tests.checkpoints.files import DECODERS, tiny

"""Those whose older publications differ."""


def rewrite(folder: Path, change: Any, metadata: dict[str, str] | None = None) -> None:
    """Change a folder's tensors as another publisher might have written them."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata=metadata)


def reconfigure(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize("name", [name for name in SIZES if name not in NOTES])
def test_every_published_size_survives_its_config_json(name: str) -> None:
    config = SIZES[name]
    layout = layout_of_family(config.family)
    plain = json.loads(json.dumps(layout.from_config(config)))
    assert layout.to_config(plain) == config


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.model_type)
def test_names_are_one_to_one(layout: Layout) -> None:
    config = next(config for config in SIZES.values() if config.family == layout.family)
    names = list(expected_shapes(config))
    assert len({layout.theirs(name) for name in names}) == len(names)


def test_known_names() -> None:
    gpt1, gpt2, llama = (layout_of_config({"model_type": kind}) for kind in ("openai-gpt", "gpt2", "llama"))
    assert gpt1.theirs("positions.weight") == "transformer.positions_embed.weight"
    assert gpt2.theirs("layers.11.attention.qkv.bias") == "transformer.h.11.attn.c_attn.bias"
    assert gpt2.theirs("norm.weight") == "transformer.ln_f.weight"
    assert llama.theirs("layers.3.mlp_norm.weight") == "model.layers.3.post_attention_layernorm.weight"
    assert llama.theirs("head.weight") == "lm_head.weight"
    assert gpt2.is_transposed("layers.0.mlp.up.weight") and not gpt2.is_transposed("layers.0.mlp.up.bias")
    assert not gpt2.is_transposed("embed.weight") and not llama.is_transposed("layers.0.mlp.up.weight")


@pytest.mark.parametrize("family", DECODERS)
def test_bare_names_and_old_buffers_load(family: str, tmp_path: Path) -> None:
    """gpt2 on the hub has no `transformer.` and has causal masks; old LLaMA files have rotary tables."""
    model = tiny(family)
    save_folder(tmp_path, model, None)
    layout = layout_of_family(family)

    def strip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bare = {name.removeprefix(layout.prefix): tensor for name, tensor in tensors.items()}
        if family == "gptneox":
            names = (f"layers.0.attention.{name}" for name in ("bias", "masked_bias", "rotary_emb.inv_freq"))
            return bare | {name: torch.ones(8) for name in names}
        if model.config.rope:
            return bare | {"layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
        if "embeddings.word_embeddings.weight" in bare:
            return bare | {"embeddings.position_ids": torch.arange(24)[None]}
        inner = "attn.attention" if family == "gpt3" else "attn"
        return bare | {f"h.0.{inner}.bias": torch.ones(1, 1, 24, 24), f"h.1.{inner}.masked_bias": torch.tensor(-1e4)}

    rewrite(tmp_path, strip)
    assert torch.equal(logits(load_folder(tmp_path)[0]), logits(model))


@pytest.mark.parametrize("family", ["gpt1", "gpt2", "llama", "rnn", "lstm", "gru"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_gives_back_what_was_saved(family: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(family, tied=tied)
    save_folder(tmp_path, model, None)
    loaded, _, _ = load_folder(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(logits(loaded), logits(model))


def test_a_tied_head_stored_twice(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()})
    assert torch.equal(logits(load_folder(tmp_path)[0]), logits(gpt2))
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1})
    with pytest.raises(DataError, match="two different copies of transformer.wte.weight"):
        load_folder(tmp_path)


def test_missing_and_unexpected_names_are_told(gpt2: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, gpt2, None)

    def lose(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["transformer.h.0.extra.weight"] = tensors.pop("transformer.h.1.ln_2.bias")
        return tensors

    rewrite(tmp_path, lose)
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert "missing: transformer.h.1.ln_2.bias" in str(caught.value)
    assert "unexpected: transformer.h.0.extra.weight" in str(caught.value)


def test_a_wrong_shape_is_told(llama: Model, tmp_path: Path) -> None:
    save_folder(tmp_path, llama, None)
    reconfigure(tmp_path, intermediate_size=95)
    with pytest.raises(DataError, match=r"mlp.*proj.weight has the shape \[.*96.*\]"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("gpt2", {"model_type": "mamba"}, "supported"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"activation_function": "swiglu"}, "activation_function = 'swiglu'"),
        ("gpt2", {"n_layer": "two"}, "n_layer"),
        ("gpt2", {"n_head": 5}, "n_heads = 5|does not describe"),
        ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}}, "rope_type = 'spiral'"),
        ("llama", {"rope_scaling": {"rope_type": "linear"}}, "without a factor"),
        ("llama", {"partial_rotary_factor": 0.5}, "part of each head"),
        ("gpt3", {"attention_types": [[["global"], 3]]}, "the attention of 3 layers"),
        ("gpt3", {"attention_types": [[["global", "sparse"], 1]]}, "attention_types = 'sparse'"),
        ("qwen2", {"layer_types": ["full_attention", "chunked_attention"]}, "layer_types = 'chunked_attention'"),
        ("qwen3", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("gptneox", {"hidden_act": "swiglu"}, "hidden_act = 'swiglu'"),
        ("mistral", {"partial_rotary_factor": 0.5}, "part of each head"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma2", {"hidden_activation": "swiglu"}, "hidden_activation = 'swiglu'"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3", {"model_type": "gemma3"}, "of type gemma3_text"),
        ("llama", {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "fit"),
    ],
)
def test_what_is_not_supported_is_named(
    family: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_folder(tmp_path, tiny(family), None)
    reconfigure(tmp_path, **values)
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert any(part in str(caught.value) for part in message.split("|"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("gpt1", {"d_ff": 70}),
        ("gpt1", {"activation": "gelu"}),
        ("gpt2", {"n_kv_heads": 2}),
        ("gpt2", {"d_head": 8}),
        ("gpt2", {"attention_bias": False}),
        ("gpt2", {"rope": RoPE()}),
        ("gpt2", {"window": 4, "local_layers": (1,)}),
        ("gpt3", {"d_head": 8}),
        ("gpt3", {"query_scale": 1.0}),
        ("llama", {"rope": None}),
        ("llama", {"window": 4, "local_layers": (1,)}),
        ("llama", {"rope": RoPE(share=0.5)}),
        ("qwen2", {"attention_bias": False}),
        ("qwen2", {"logit_softcap": 30.0}),
        ("qwen3", {"mlp_bias": True}),
        ("gptneox", {"n_kv_heads": 2}),
        ("gptneox", {"mlp_bias": False}),
        ("mistral", {"local_layers": (1,)}),
        ("mistral", {"attention_bias": True}),
        ("gemma2", {"query_scale": 0.3}),
        ("gemma2", {"rope_local": RoPE(theta=5.0)}),
        ("gemma3", {"attention_softcap": 50.0}),
        ("gemma3", {"rope_local": RoPE(scaling="linear", factor=2.0)}),
        ("llama", {"rope": RoPE(scaling="dynamic", factor=2.0, original_context=7)}),
    ],
)
def test_what_hugging_face_cannot_express_is_not_saved(family: str, values: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(family, **values)
    with pytest.raises(UsageError, match="has no"):
        save_folder(tmp_path / "model", model, None)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["gpt3-xl", "gpt3-13b"])
def test_rows_that_do_not_multiply_out_have_no_form(name: str) -> None:
    assert name in NOTES
    with pytest.raises(UsageError, match="d_head = 128 has no 'gpt_neo' form"):
        layout_of_family("gpt3").from_config(SIZES[name])


def test_the_scale_of_gpt_neos_queries_is_rounded_once(tmp_path: Path) -> None:
    """By a d_head that is no power of 4: what is folded in and taken out again is the weight to its last digit."""
    model = tiny("gpt3", n_heads=2, n_kv_heads=2)
    save_folder(tmp_path, model, None)
    found, wanted = load_folder(tmp_path)[0].state_dict(), model.state_dict()
    for name, value in wanted.items():
        limit = 2**-22 if name.endswith("attention.q.weight") else 0
        assert ((found[name] - value).abs() <= limit * value.abs()).all()
    stored = load_file(tmp_path / "model.safetensors")["transformer.h.0.attn.attention.q_proj.weight"]
    torch.testing.assert_close(stored * 32**0.5, wanted["layers.0.attention.q.weight"], rtol=1e-6, atol=0)


def test_unknown_family() -> None:
    with pytest.raises(UsageError, match="gpt1, gpt2, gpt3, gptneox"):
        raise_for = ModelConfig(family="ngram", vocab_size=8, context_length=8, d_model=8, n_layers=1, n_heads=1)
        layout_of_family(raise_for.family)
