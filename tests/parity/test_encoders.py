"""Encoders say what `transformers`' say, in float32, whoever saved and whoever loads."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ElectraForMaskedLM, ElectraForPreTraining, PreTrainedModel

from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.checkpoints.verify import verify
from seodang.errors import DataError, UsageError
from seodang.models.electra import Electra
from tests.parity import encoders
from tests.parity.encoders import CASES, inputs, our_results, ours, their_results, theirs
from tests.training.helpers import tiny

TOLERANCE = 1e-4


def difference(found: dict[str, Tensor], expected: dict[str, Tensor], real: Tensor | None = None) -> float:
    """The largest one; both must say something about the same things."""
    assert set(found) == set(expected) and found
    largest = 0.0
    for name, value in expected.items():
        apart = (found[name] - value).abs()
        assert value.abs().max() > 0.1  # the comparison is of real numbers
        if real is not None:
            apart = apart[real]
        largest = max(largest, float(apart.max()))
    return largest


@pytest.mark.parametrize("length", [20, 1])
@pytest.mark.parametrize("case", CASES)
def test_saved_by_transformers_loaded_by_us(case: str, length: int, tmp_path: Path) -> None:
    model = theirs(case)
    ids, segments = inputs(case, length=length)
    loaded = ours(model, tmp_path)
    expected = their_results(model, ids, segments=segments)
    assert difference(our_results(loaded, ids, segments=segments), expected) < TOLERANCE
    without = their_results(model, ids)
    assert difference(our_results(loaded, ids), without) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_saved_by_us_loaded_by_transformers(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    before = theirs(case)
    model = ours(before, tmp_path / "theirs")
    save_folder(tmp_path / "ours", model, None)
    kind: type[PreTrainedModel] = type(before)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        after, info = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    logging.getLogger("transformers").propagate = False
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert [record.message for record in caplog.records] == [] and list(recwarn) == []
    assert after.config.architectures == [kind.__name__]
    ids, segments = inputs(case)
    expected = their_results(before, ids, segments=segments)
    assert difference(their_results(after.eval(), ids, segments=segments), expected) < TOLERANCE
    again = load_folder(tmp_path / "ours")[0]
    assert again.config == model.config
    assert difference(our_results(again, ids, segments=segments), expected) < TOLERANCE  # type: ignore[arg-type]
    assert all(report.passed for report in verify(tmp_path / "ours"))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", CASES)
def test_padded_batches(case: str, side: str, tmp_path: Path) -> None:
    """The same texts, padded: theirs are told where a text begins, except RoBERTa's, which count from the padding."""
    model = theirs(case)
    loaded = ours(model, tmp_path)
    ids, _ = inputs(case)
    mask = torch.ones_like(ids, dtype=torch.bool)
    cut = (lambda n: slice(0, n)) if side == "left" else (lambda n: slice(20 - n, 20))
    mask[0, cut(7)] = False
    mask[1, cut(1)] = False
    ids = torch.where(mask, ids, model.config.pad_token_id)
    counted = (mask.long().cumsum(1) - 1).clamp(min=0)
    positions = None if "roberta" in case else counted
    expected = their_results(model, ids, mask=mask, positions=positions)
    expected = {name: value for name, value in expected.items() if name in ("logits", "hidden", "replaced")}
    found = {name: value for name, value in our_results(loaded, ids, mask=mask).items() if name in expected}
    assert difference(found, expected, mask) < TOLERANCE


def rewrite(folder: Path, change: dict[str, str]) -> None:
    """The folder's tensors under other names; those named "" are left out."""
    tensors = load_file(folder / "model.safetensors")
    renamed = {change.get(key, key): value for key, value in tensors.items()}
    save_file({key: value for key, value in renamed.items() if key}, folder / "model.safetensors")


def test_bert_as_it_was_first_published(tmp_path: Path) -> None:
    """gamma and beta, more heads than the class in config.json has, the tied matrix and its buffer written out."""
    model = theirs("bert")
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("BertForPreTraining", "BertForMaskedLM"))
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in tensors.items()
    }
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    old["bert.embeddings.position_ids"] = torch.arange(24)[None]
    assert any(key.endswith("gamma") for key in old)
    save_file(old, tmp_path / "model.safetensors")
    ids, segments = inputs("bert")
    found = our_results(load_folder(tmp_path)[0], ids, segments=segments)  # type: ignore[arg-type]
    assert difference(found, their_results(model, ids, segments=segments)) < TOLERANCE


def test_a_bare_encoder_without_prefix_or_class(tmp_path: Path) -> None:
    """config.json of some publications names no class at all: the weights say which heads there are."""
    model = theirs("bert bare")
    loaded = ours(model, tmp_path)
    assert loaded.config.heads == ("pooler",)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"BertModel"', ""))
    assert load_folder(tmp_path)[0].config.heads == ("pooler",)
    rewrite(tmp_path, {"pooler.dense.weight": "", "pooler.dense.bias": ""})
    bare = load_folder(tmp_path)[0]
    assert bare.config.heads == ()
    ids, _ = inputs("bert bare")
    hidden = bare(ids)
    assert (hidden - their_results(model, ids)["hidden"]).abs().max() < TOLERANCE
    for ask in (bare.logits, bare.pooled, bare.sentence_logits):  # type: ignore[operator]
        with pytest.raises(UsageError, match="has no"):
            ask(hidden)


@pytest.mark.parametrize(
    ("case", "lost", "said"),
    [
        ("bert", "cls.predictions.bias", "cls.predictions.bias"),
        ("bert", "cls.seq_relationship.weight", "cls.seq_relationship.weight"),
        ("bert", "bert.pooler.dense.bias", "bert.pooler.dense.bias"),
        ("bert masked only", "cls.predictions.transform.dense.weight", "transform.dense.weight"),
        ("roberta", "lm_head.dense.bias", "lm_head.dense.bias"),
        ("roberta bare", "embeddings.token_type_embeddings.weight", "token_type_embeddings.weight"),
    ],
)
def test_a_head_in_part_is_refused(case: str, lost: str, said: str, tmp_path: Path) -> None:
    theirs(case).save_pretrained(tmp_path)
    rewrite(tmp_path, {lost: ""})
    with pytest.raises(DataError, match=f"missing: .*{said}"):
        load_folder(tmp_path)


def test_a_class_whose_head_is_gone_or_unknown_is_refused(tmp_path: Path) -> None:
    model = theirs("bert masked only")
    model.save_pretrained(tmp_path)
    heads = {key: "" for key in load_file(tmp_path / "model.safetensors") if key.startswith("cls.")}
    rewrite(tmp_path, heads)
    with pytest.raises(DataError, match="missing: cls.predictions"):
        load_folder(tmp_path)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "classifier.weight": torch.zeros(2, 24)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="unexpected: classifier.weight"):
        load_folder(tmp_path)


def test_groups_of_albert_are_refused(tmp_path: Path) -> None:
    theirs("albert").save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"num_hidden_groups": 1', '"num_hidden_groups": 3'))
    with pytest.raises(DataError, match="num_hidden_groups = 3"):
        load_folder(tmp_path)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_electra_in_one_folder_loads_as_two_models_of_transformers(
    share: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny("electra-mini", d_embed=10, generator_share=share).eval()
    assert isinstance(model, Electra) and model.generator is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_folder(tmp_path, model, None)
    ids = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(2))
    segments = torch.tensor([[0] * 6 + [1] * 6] * 2)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        finder, first = ElectraForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
        filler, second = ElectraForMaskedLM.from_pretrained(tmp_path / "generator", output_loading_info=True)
    logging.getLogger("transformers").propagate = False
    assert [record.message for record in caplog.records] == []
    for info in (first, second):
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    found = our_results(model, ids, segments=segments)
    assert difference(found, their_results(finder.eval(), ids, segments=segments)) < TOLERANCE
    filled = our_results(model.generator, ids, segments=segments)
    assert difference(filled, their_results(filler.eval(), ids, segments=segments)) < TOLERANCE

    again = load_folder(tmp_path)[0]
    assert isinstance(again, Electra) and again.generator is not None and again.config == model.config
    assert difference(our_results(again, ids), our_results(model, ids)) == 0
    assert difference(our_results(again.generator, ids), our_results(model.generator, ids)) == 0
    assert again.generator.embed is again.embed
    assert all(report.passed for report in verify(tmp_path))
    alone = load_folder(tmp_path / "generator")[0]
    assert difference(our_results(alone, ids), our_results(model.generator, ids)) == 0  # type: ignore[arg-type]


def test_electra_saved_again_among_other_files_and_taken_apart(tmp_path: Path) -> None:
    model = tiny("electra-mini").eval()
    assert isinstance(model, Electra)
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("{}")
    for _ in range(2):
        save_folder(run, model, None)
    assert (run / "metrics.jsonl").exists() and all(report.passed for report in verify(run))
    ids = torch.arange(8)[None]
    # transformers keeps our key of config.json when it saves the discriminator by itself
    ElectraForPreTraining.from_pretrained(run).save_pretrained(tmp_path / "alone")
    alone = load_folder(tmp_path / "alone")[0]
    assert isinstance(alone, Electra) and alone.generator is None
    assert torch.equal(alone.replaced_logits(alone(ids)), model.replaced_logits(model(ids)))
    tensors = load_file(run / "generator" / "model.safetensors")
    tensors["electra.embeddings.word_embeddings.weight"] += 1
    save_file(tensors, run / "generator" / "model.safetensors")
    with pytest.raises(DataError, match="two different copies"):
        load_folder(run)
    (run / "generator" / "model.safetensors").unlink()
    with pytest.raises(DataError, match="no weights"):
        load_folder(run)


def test_a_published_discriminator_and_its_generator_put_together(tmp_path: Path) -> None:
    """Two folders of transformers with one embedding, of which neither knows our key."""
    sizes = {"hidden_size": 24, "num_attention_heads": 1, "intermediate_size": 40}
    small = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 32}
    torch.manual_seed(0)
    finder, filler = encoders.electra(**sizes), encoders.electra(ElectraForMaskedLM, **small)
    filler.electra.embeddings.load_state_dict(finder.electra.embeddings.state_dict())
    finder.save_pretrained(tmp_path)
    filler.save_pretrained(tmp_path / "generator")
    model = load_folder(tmp_path)[0]
    assert isinstance(model, Electra) and model.generator is not None
    assert model.config.generator_share == 8 / 24
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        theirs_filled, theirs_found = filler.eval()(ids).logits, finder.eval()(ids).logits
        assert (model.replaced_logits(model(ids)) - theirs_found).abs().max() < TOLERANCE
        assert (model.generator.logits(model.generator(ids)) - theirs_filled).abs().max() < TOLERANCE
    save_folder(tmp_path / "again", model, None)
    assert load_folder(tmp_path / "again")[0].config == model.config

    encoders.electra(ElectraForMaskedLM, **{**small, "num_attention_heads": 2}).save_pretrained(tmp_path / "generator")
    with pytest.raises(DataError, match="another generator: n_heads"):
        load_folder(tmp_path)
