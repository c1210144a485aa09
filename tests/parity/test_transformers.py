"""Logits equal `transformers`' in float32, whoever saved and whoever loads."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from seodang.checkpoints.huggingface import load_folder, save_folder
from tests.parity.models import CASES, CONTEXT, our_logits, ours, random_ids, their_logits, theirs

TOLERANCE = 1e-4


@pytest.mark.parametrize("case", CASES)
def test_saved_by_transformers_loaded_by_us(case: str, tmp_path: Path) -> None:
    model = theirs(case)
    loaded = ours(model, tmp_path)
    for ids in (random_ids(2, 1), random_ids()):
        assert (our_logits(loaded, ids) - their_logits(model, ids)).abs().max() < TOLERANCE
    assert their_logits(model, ids).abs().max() > 0.5  # the comparison is of real numbers


@pytest.mark.parametrize("case", CASES)
def test_saved_by_us_loaded_by_transformers(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    before = theirs(case)
    model = ours(before, tmp_path / "theirs")
    save_folder(tmp_path / "ours", model, None)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        after, info = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    logging.getLogger("transformers").propagate = False
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert [record.message for record in caplog.records] == [] and list(recwarn) == []
    assert type(after) is type(before) and after.dtype == torch.float32
    ids = random_ids()
    assert (their_logits(after.eval(), ids) - our_logits(model, ids)).abs().max() < TOLERANCE
    assert (their_logits(after.eval(), ids) - their_logits(before, ids)).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", ["gpt1", "gpt2", "gpt2 untied", "llama grouped", "llama tied"])
def test_shards_both_ways(case: str, tmp_path: Path) -> None:
    before = theirs(case)
    model = ours(before, tmp_path / "theirs", max_shard_size="8KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    save_folder(tmp_path / "ours", model, None, max_shard_bytes=8_000)
    shards = list((tmp_path / "ours").glob("*.safetensors"))
    assert len(shards) > 2 and not (tmp_path / "ours" / "model.safetensors").exists()
    after, info = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = random_ids()
    assert torch.equal(their_logits(after.eval(), ids), their_logits(before, ids))
    assert torch.equal(our_logits(load_folder(tmp_path / "ours")[0], ids), our_logits(model, ids))


@pytest.mark.parametrize(
    "case", ["gpt1", "gpt2", "gpt3", "llama grouped", "llama llama3", "qwen2 upper layers local", "qwen3",
             "gptneox", "mistral", "gemma2", "gemma3"]
)
def test_padded_batches(case: str, tmp_path: Path) -> None:
    model = theirs(case)
    ids, mask = random_ids(), torch.ones(3, 20, dtype=torch.long)
    mask[0, :7] = 0  # padded left
    mask[1, :1] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    expected = their_logits(model, ids, attention_mask=mask, position_ids=positions)
    found = our_logits(ours(model, tmp_path), ids, mask=mask.bool())
    real = mask.bool()
    assert (found - expected)[real].abs().max() < TOLERANCE


@pytest.mark.parametrize("case", ["llama dynamic", "llama longrope", "llama yarn"])
def test_beyond_the_trained_context(case: str, tmp_path: Path) -> None:
    """Scalings that look at the text's length meet longer and shorter ones, each in a fresh model."""
    for length in (CONTEXT + 9, 12):
        model = theirs(case)
        ids = random_ids(2, length)
        loaded = ours(model, tmp_path / str(length))
        assert (our_logits(loaded, ids) - their_logits(model, ids)).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "scaling",
    [
        {"type": "linear", "factor": 2.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 16},
        {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
    ],
)  # fmt: skip
def test_config_as_transformers_4_wrote_it(scaling: dict[str, object], tmp_path: Path) -> None:
    """`rope_theta` and `rope_scaling` at the top level, `torch_dtype`, no `rope_parameters`."""
    theirs("llama tied").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"], config["dtype"]
    config |= {"rope_theta": 300.0, "rope_scaling": scaling, "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = random_ids()
    assert (our_logits(load_folder(tmp_path)[0], ids) - their_logits(model, ids)).abs().max() < TOLERANCE


def test_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    model = ours(theirs("gpt2"), tmp_path / "theirs")
    save_folder(tmp_path / "ours", model, None, dtype=torch.bfloat16)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto")
    assert after.dtype == torch.bfloat16
    loaded = load_folder(tmp_path / "ours", dtype=torch.bfloat16)[0]
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.bfloat16())
