"""llama.cpp reads our GGUF files: the same ids of texts, the same logits, the same greedy tokens. By hand: it wants
`pip install llama-cpp-python`, which needs a C++ compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seodang.checkpoints.gguf import write_gguf
from seodang.checkpoints.resolve import load_model
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from seodang.models.config import RoPE
from seodang.text.chat import render
from seodang.text.template import render_template
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer as train
from tests.checkpoints.files import tiny
from tests.checkpoints.test_gguf_write import CORPUS, FAMILIES, TEXTS, pieces_of

pytestmark = pytest.mark.slow

ROPES = {
    "llama3": RoPE(scaling="llama3", factor=4.0, original_context=16),
    "linear": RoPE(scaling="linear", factor=4.0),
    "yarn": RoPE(scaling="yarn", factor=4.0, original_context=6, attention_factor=1.2),
}


def opened(path: Path) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    options = {"n_ctx": 64, "logits_all": True, "swa_full": True, "type_k": 0, "type_v": 0, "verbose": False}
    return llama_cpp.Llama(str(path), n_threads=1, **options)


def check(path: Path, tolerance: float) -> None:
    """Both sides on one file: logits of fixed ids, then greedy tokens behind them."""
    loaded, theirs = load_model(path), opened(path)
    ids = [(7 * place) % loaded.model.config.vocab_size for place in range(10)]
    theirs.eval(ids)
    with torch.no_grad():
        ours = loaded.model.logits(loaded.model(torch.tensor([ids])))[0].numpy()
    assert np.abs(theirs.scores[: len(ids)] - ours).max() < tolerance
    tokens = [int(theirs.scores[len(ids) - 1].argmax())]
    while len(tokens) < 10:
        theirs.eval(tokens[-1:])
        tokens.append(int(theirs.scores[theirs.n_tokens - 1].argmax()))
    found = generate(loaded.model, [ids], Settings(max_new_tokens=10))[0].tokens  # type: ignore[arg-type]
    assert tokens == found


@pytest.mark.parametrize("family", FAMILIES)
def test_models(family: str, tmp_path: Path) -> None:
    """float32, so that nothing is rounded but GELU, which llama.cpp looks up in a table of float16."""
    tokenizer = train(iter(CORPUS), "bpe", 400)
    whole = {"window": None, "local_layers": ()} if family == "mistral" else {}  # it looks at no window of Mistral's
    layers = {"n_layers": 7, "local_layers": (0, 1, 2, 3, 4, 6)} if family == "gemma3" else {}
    model = tiny(family, vocab_size=tokenizer.vocab_size, **whole, **layers)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, "f32")
    check(tmp_path / "m.gguf", 0.05 if model.config.activation.startswith("gelu") else 5e-4)


@pytest.mark.parametrize("name", ROPES)
def test_rotary_scalings(name: str, tmp_path: Path) -> None:
    tokenizer = train(iter(CORPUS), "bpe", 400)
    write_gguf(tmp_path / "m.gguf", tiny("llama", vocab_size=tokenizer.vocab_size, rope=ROPES[name]), tokenizer, "f32")
    check(tmp_path / "m.gguf", 5e-4)


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_tokenizers(kind: str, tmp_path: Path) -> None:
    tokenizer: Tokenizer = train(iter(CORPUS), "bpe", 400) if kind == "bpe" else pieces_of(CORPUS)
    write_gguf(tmp_path / "m.gguf", tiny("llama", vocab_size=tokenizer.vocab_size), tokenizer, "f32")
    theirs = opened(tmp_path / "m.gguf")
    found = [theirs.tokenize(text.encode(), add_bos=False, special=False) for text in TEXTS]
    assert found == tokenizer.encode_batch(TEXTS)


def test_conversations(tmp_path: Path) -> None:
    """The template out of the file's metadata, filled in and encoded by llama.cpp: the ids that we train on."""
    tokenizer = train(iter(CORPUS), "bpe", 400)
    write_gguf(tmp_path / "m.gguf", tiny("llama", vocab_size=tokenizer.vocab_size), tokenizer, "f16")
    theirs = opened(tmp_path / "m.gguf")
    messages = [{"role": "user", "content": "서당이 뭐예요?"}, {"role": "assistant", "content": "A school, 300 years."}]
    template = theirs.metadata["tokenizer.chat_template"]
    text = render_template(template, messages, add_generation_prompt=True, special=tokenizer.special_tokens)
    found = theirs.tokenize(text.encode(), add_bos=False, special=True)
    assert found == render(tokenizer, messages, add_generation_prompt=True)
