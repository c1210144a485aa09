"""GGUF files out: what is written is what is read, by us, by transformers and by the `gguf` package itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from seodang.checkpoints.gguf import KINDS, GGUFFile, write_gguf
from seodang.checkpoints.gguf import architectures as tables
from seodang.checkpoints.gguf.architectures import ARCHITECTURES, architecture_of_family
from seodang.checkpoints.layouts import layout_of_family
from seodang.checkpoints.resolve import Loaded, load_model
from seodang.checkpoints.weights import assemble
from seodang.errors import DataError, DivergedError, SeodangError, UsageError
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from seodang.models.config import RoPE
from seodang.models.decoder import Decoder
from seodang.models.positions import rotary_frequencies
from seodang.text.chat import render
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import learn_merges, train_tokenizer
from tests.checkpoints.conftest import logits
from tests.checkpoints.files import BYTE_TOKENS, GGUF_NAMES, _pairs, tiny

ZERO_DROPOUT = {"embedding_dropout": 0.0, "attention_dropout": 0.0, "residual_dropout": 0.0, "init_std": 0.02}
FAMILIES = [entry.family for entry in ARCHITECTURES]
CORPUS = [
    "Once upon a time there was a school in the village, and the children of the village came to the school.",
    "옛날 어느 마을에 서당이 있었습니다. 아이들은 서당에서 글을 배우고 마을에서 놀았습니다.",
    "The teacher said: “read the book 12 times, then read it 345 times more!” 서당개 삼 년이면 풍월을 읊는다.",
] * 4
TEXTS = [
    "Once upon a time", " two  spaces and\ttabs\n\n\nnewlines ", "the school of the village", "", " ",
    "I'LL say it's 2024",
    "서당개 삼 년이면 풍월을 읊는다.", "옛날 어느 마을에 아이들이", "ㅋㅋㅋ 뷁", "한글과 English를 섞어 쓴 12,345원",
    "漢字 かな Привет", "🙂", "👩‍👩‍👧 가족 🇰🇷", "café naïve", "<|endoftext|> is text", "<s> </s> <unk>", "a" * 50,
    "x = f(y)[3] != 4\n    return", "\u3000끝\u00a0\u200b", "3.14159 ½ ² Ⅻ",
]  # fmt: skip
assert len(TEXTS) == 20


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    """One that we learn: GPT-2's words, text composed first, ChatML."""
    return train_tokenizer(iter(CORPUS), "bpe", 400)


def pieces_of(corpus: list[str]) -> Tokenizer:
    """SentencePiece's pieces and scores learned from texts, with byte fallback, as LLaMA's."""
    words = Counter("▁" + word for text in corpus for word in text.split())
    letters = sorted({letter for word in words for letter in word})
    entries, _ = learn_merges(words, list, letters, 300, 2)
    pieces = ["".join(entry) for entry in entries]
    tokens = ["<unk>", "<s>", "</s>", *BYTE_TOKENS, *pieces]
    return Tokenizer.from_sentencepiece(tokens, [-float(id) for id in range(len(tokens))], [2, 3, 3] + [6] * 256
                                        + [1] * len(pieces), chat_template="{{ messages[0].content }}")  # fmt: skip


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    return pieces_of(CORPUS)


def write(path: Path, model: Decoder, tokenizer: Tokenizer | None = None, kind: str = "f32", **options: Any) -> Loaded:
    write_gguf(path / "m.gguf", model, tokenizer, kind, **options)
    return load_model(path / "m.gguf")


def kinds_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path / "m.gguf").tensors}


def continuations(model: Decoder) -> list[list[int]]:
    return [one.tokens for one in generate(model, [[1, 2, 3], [40, 7]], Settings(max_new_tokens=12))]


# -- weights ------------------------------------------------------------------------------------------------------


def rounded(family: str, name: str, value: torch.Tensor, kind: str) -> tuple[str, torch.Tensor]:
    """The type in which a file of `kind` keeps a parameter, and the value that comes back."""
    if value.dim() == 1 or name == "positions.weight":  # Gemma's norms have 1 added in the file
        return "F32", value + 1 - 1 if family.startswith("gemma") else value
    if kind in ("f32", "f16", "bf16"):
        number = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[kind]
        return kind.upper(), value.to(number).float()
    block = "Q8_0" if name in ("embed.weight", "head.weight") else kind.upper()
    blocks = quantize(value.numpy(), GGMLQuantizationType[block])
    return block, torch.from_numpy(dequantize(blocks, GGMLQuantizationType[block]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip(family: str, kind: str, tmp_path: Path) -> None:
    """Exact rounding in floating-point types, the library's own blocks in the others, sizes and settings the same."""
    model = tiny(family, tied=family != "gptneox")
    loaded = write(tmp_path, model, kind=kind).model
    assert loaded.config == replace(model.config, **ZERO_DROPOUT)
    stored, theirs = kinds_in(tmp_path), architecture_of_family(family).theirs
    expected = {name: rounded(family, name, value, kind) for name, value in model.state_dict().items()}
    for name, (type_of, value) in expected.items():
        assert stored[theirs(name)] == type_of and torch.equal(loaded.state_dict()[name], value)
    same = assemble(model.config, ((name, value) for name, (_, value) in expected.items()), origin="here")
    assert torch.equal(logits(loaded), logits(same))
    assert continuations(loaded) == continuations(same)
    if kind == "f32":
        assert (logits(loaded) - logits(model)).abs().max() < 1e-4


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_an_output_matrix_of_its_own(family: str, tmp_path: Path) -> None:
    model = tiny(family, tied=False)
    loaded = write(tmp_path, model).model
    assert not loaded.config.tied and (logits(loaded) - logits(model)).abs().max() < 1e-4
    if family == "gptneox":
        return  # which always has one
    model.head.weight.data.copy_(model.embed.weight.data)  # type: ignore[union-attr]
    loaded = write(tmp_path, model).model
    assert loaded.config.tied and "output.weight" not in kinds_in(tmp_path)
    assert (logits(loaded) - logits(model)).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_names_and_rows_are_llama_cpps(family: str, tmp_path: Path) -> None:
    """Read without our reader: each tensor has its name and shape, query and key rows as its converter turns them."""
    model = tiny(family)
    write_gguf(tmp_path / "m.gguf", model, None, "f32")
    found = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    for name, value in model.state_dict().items():
        module, _, part = name.rpartition(".")
        layer, inner = (module.split(".")[1], ".".join(module.split(".")[2:])) if "layers." in module else ("", module)
        theirs = GGUF_NAMES[family][inner]
        expected = value.numpy()
        if theirs in ("attn_q", "attn_k"):
            expected = _pairs(expected, model.config.n_heads if theirs == "attn_q" else model.config.n_kv_heads)
        assert np.array_equal(found.pop(f"blk.{layer}.{theirs}.{part}" if layer else f"{theirs}.{part}"), expected)
    assert not found


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("mistral", "gptneox")])
def test_transformers_reads_the_same_model(family: str, tmp_path: Path) -> None:
    """Its own table of names and rows fills its own model. (It reads no Mistral or GPT-NeoX.)"""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = tiny(family)
    write_gguf(tmp_path / "m.gguf", model, None, "q8_0")
    layout = layout_of_family(family)
    settings = AutoConfig.for_model(layout.model_type, **layout.from_config(model.config))
    made = AutoModelForCausalLM.from_config(settings).eval()
    found = load_gguf_checkpoint(str(tmp_path / "m.gguf"), return_tensors=True, model_to_load=made)
    assert found["config"]["model_type"] == layout.model_type
    tensors = {key: torch.as_tensor(np.array(value)) for key, value in found["tensors"].items()}
    missing, unexpected = made.load_state_dict(tensors, strict=False)
    assert not unexpected and missing in ([], ["lm_head.weight"])
    made.tie_weights()
    with torch.no_grad():
        expected = made(torch.arange(12)[None]).logits
    assert (logits(load_model(tmp_path / "m.gguf").model) - expected).abs().max() < 1e-4


def test_rows_without_whole_blocks_stay_float16(tmp_path: Path) -> None:
    model = tiny("llama", d_model=48, n_heads=4, d_head=16, d_ff=96)
    write(tmp_path, model, kind="q4_0")
    stored = kinds_in(tmp_path)
    assert stored["token_embd.weight"] == stored["blk.0.attn_q.weight"] == stored["blk.0.ffn_up.weight"] == "F16"
    assert stored["blk.0.attn_output.weight"] == stored["blk.1.ffn_down.weight"] == "Q4_0"


@pytest.mark.parametrize(
    "rope",
    [
        RoPE(theta=500000.0, scaling="llama3", factor=32.0, original_context=8192),
        RoPE(scaling="llama3", factor=4.0, original_context=16, low_freq_factor=2.0),
        RoPE(scaling="linear", factor=4.0),
        RoPE(scaling="yarn", factor=4.0, original_context=6),
        RoPE(scaling="yarn", factor=8.0, original_context=6, attention_factor=1.3, beta_fast=20.0, beta_slow=2.0),
        RoPE(scaling="yarn", factor=8.0, original_context=6, mscale=0.7, mscale_all_dim=0.4),
    ],
    ids=lambda rope: f"{rope.scaling}-{rope.factor}-{rope.mscale}",
)
def test_rotary_scalings(rope: RoPE, tmp_path: Path) -> None:
    model = tiny("llama", rope=rope)
    loaded = write(tmp_path, model).model
    ours, factor = rotary_frequencies(rope, 16, 24, 0)
    assert loaded.config.rope is not None
    theirs, their_factor = rotary_frequencies(loaded.config.rope, 16, 24, 0)
    assert torch.allclose(ours, theirs, rtol=1e-5) and their_factor == pytest.approx(factor, rel=1e-6)
    assert (logits(loaded) - logits(model)).abs().max() < 1e-3


def test_keys(tmp_path: Path, byte_level: Tokenizer) -> None:
    """All that llama.cpp asks of a LLaMA model, and the end of a turn beside the end of a text."""
    rope = RoPE(theta=777.0, scaling="linear", factor=2.0)
    model = tiny("llama", vocab_size=byte_level.vocab_size + 2, rope=rope)
    write(tmp_path, model, byte_level, "q4_0", name="Seodang's own")
    fields = GGUFReader(tmp_path / "m.gguf").fields
    found = {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}
    tokens, types = found.pop("tokenizer.ggml.tokens"), found.pop("tokenizer.ggml.token_type")
    assert len(tokens) == model.config.vocab_size and tokens[-1] == f"[PAD{len(tokens) - 1}]"
    assert types[:5] == [3, 3, 3, 3, 1] and types[-2:] == [5, 5]
    assert len(found.pop("tokenizer.ggml.merges")) == byte_level.vocab_size - 260
    assert found.pop("tokenizer.chat_template") == byte_level.chat_template
    assert found == {
        "general.architecture": "llama", "general.type": "model", "general.name": "Seodang's own",
        "general.file_type": 2, "general.quantization_version": 2,
        "llama.vocab_size": len(tokens), "llama.context_length": 24, "llama.embedding_length": 64,
        "llama.block_count": 2, "llama.feed_forward_length": 96, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.attention.key_length": 16, "llama.attention.value_length": 16,
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
        "llama.rope.freq_base": 777.0, "llama.rope.dimension_count": 16,
        "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "seodang.tokenizer.nfc": True,
        "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.padding_token_id": 1, "tokenizer.ggml.eot_token_id": 3,
    }  # fmt: skip
    assert load_model(tmp_path / "m.gguf").generation == {"eos_token_id": [3, 0], "pad_token_id": 1}


# -- tokenizers ---------------------------------------------------------------------------------------------------


def renamed(tokenizer: Tokenizer, pre: str) -> Tokenizer:
    """The same vocabulary behind another pre-tokenizer."""
    model = tokenizer.pipeline()["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    types = [3 if id in tokenizer.special_ids else 1 for id in range(len(tokens))]
    merges = [tuple(merge) for merge in model["merges"]]
    return Tokenizer.from_bpe(tokens, merges, types, pre=pre, bos_id=0, eos_id=3, add_bos=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "gpt-4o", "llama4", "tekken", "ours"])
def test_byte_level_tokenizers(pre: str, byte_level: Tokenizer, tmp_path: Path) -> None:
    tokenizer = byte_level if pre == "ours" else renamed(byte_level, pre)
    loaded = write(tmp_path, tiny("gpt2", vocab_size=tokenizer.vocab_size), tokenizer).tokenizer
    assert loaded is not None and loaded.vocab_size == tokenizer.vocab_size
    decomposed = ["각", "café"]
    assert loaded.encode_batch([*TEXTS, *decomposed]) == tokenizer.encode_batch([*TEXTS, *decomposed])
    assert all(loaded.decode(ids) == tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS))
    assert (loaded.add_bos, loaded.bos_id, loaded.eos_id) == (tokenizer.add_bos, tokenizer.bos_id, tokenizer.eos_id)


def test_sentencepiece_tokenizers(sentencepiece: Tokenizer, tmp_path: Path) -> None:
    model = tiny("llama", vocab_size=sentencepiece.vocab_size + 3)
    loaded = write(tmp_path, model, sentencepiece).tokenizer
    assert loaded is not None and loaded.vocab_size == sentencepiece.vocab_size
    assert loaded.encode_batch(TEXTS) == sentencepiece.encode_batch(TEXTS)
    assert all(loaded.decode(ids) == sentencepiece.decode(ids) for ids in sentencepiece.encode_batch(TEXTS))
    assert (loaded.bos_id, loaded.eos_id, loaded.unk_id, loaded.add_bos) == (1, 2, 0, True)


def _llama_of_transformers(backend: Backend) -> None:
    """Metaspace in place of a normalizer: it puts no second space before a text that begins with one."""
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)


def _gemma(backend: Backend) -> None:
    """No space before the text, and a split at spaces that no longer exist."""
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_tokens(["\n\n"])


@pytest.mark.parametrize("change", [_llama_of_transformers, _gemma])
def test_sentencepiece_as_hugging_face_writes_it(change: Any, sentencepiece: Tokenizer, tmp_path: Path) -> None:
    backend = Backend.from_str(sentencepiece._backend.to_str())
    change(backend)
    tokenizer = Tokenizer(backend, config=sentencepiece._config)
    loaded = write(tmp_path, tiny("llama", vocab_size=tokenizer.vocab_size), tokenizer).tokenizer
    texts = TEXTS if change is _gemma else [text for text in TEXTS if not text.startswith(" ")]
    assert loaded is not None and loaded.encode_batch(texts) == tokenizer.encode_batch(texts)
    assert GGUFFile(tmp_path / "m.gguf").metadata.value("tokenizer.ggml.add_space_prefix") == (change is not _gemma)


def test_transformers_reads_the_same_tokenizer(byte_level: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path, tiny("gpt2", vocab_size=byte_level.vocab_size), byte_level)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    texts = [text for text in TEXTS if "<" not in text]  # it takes spelled-out special tokens for the tokens
    assert [theirs(text)["input_ids"] for text in texts] == byte_level.encode_batch(texts)


def test_conversations_have_the_same_ids(byte_level: Tokenizer, tmp_path: Path) -> None:
    loaded = write(tmp_path, tiny("gpt2", vocab_size=byte_level.vocab_size), byte_level).tokenizer
    assert loaded is not None
    messages = [{"role": "user", "content": "서당이 뭐예요?"}, {"role": "assistant", "content": "A school.\n"}]
    assert render(loaded, messages) == render(byte_level, messages)


def test_an_empty_chat_template_is_none(byte_level: Tokenizer, tmp_path: Path) -> None:
    byte_level = Tokenizer(byte_level._backend, config=byte_level._config, chat_template="")
    loaded = write(tmp_path, tiny("gpt2", vocab_size=byte_level.vocab_size), byte_level).tokenizer
    assert loaded is not None and not loaded.chat_template


def test_words_that_are_never_cut(byte_level: Tokenizer, tmp_path: Path) -> None:
    backend = Backend.from_str(byte_level._backend.to_str())
    backend.add_tokens(["서당개", "school of"])
    tokenizer = Tokenizer(backend, config=byte_level._config)
    loaded = write(tmp_path, tiny("gpt2", vocab_size=tokenizer.vocab_size), tokenizer).tokenizer
    assert loaded is not None and loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
    assert len(loaded.encode("서당개")) == 1


def _lower(tokenizer: Tokenizer) -> Tokenizer:
    backend = Backend.from_str(tokenizer._backend.to_str())
    backend.normalizer = normalizers.Lowercase()
    return Tokenizer(backend)


def _prefixed(tokenizer: Tokenizer) -> Tokenizer:
    backend = Backend.from_str(tokenizer._backend.to_str())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return Tokenizer(backend)


def _other_words(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import Regex

    backend = Backend.from_str(tokenizer._backend.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("가+"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return Tokenizer(backend)


def _greedy_spaces(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import AddedToken

    backend = Backend.from_str(tokenizer._backend.to_str())
    backend.add_tokens([AddedToken("<mask>", lstrip=True)])
    return Tokenizer(backend)


def _no_merges(tokenizer: Tokenizer) -> Tokenizer:
    return train_tokenizer(iter(CORPUS), "bpe", 260)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_no_merges, "no merges"),
        (_lower, "Lowercase"),
        (_prefixed, "a space before every text"),
        (_other_words, "by a rule that llama.cpp has no name for"),
        (_greedy_spaces, "encodes 'a<mask>b <mask> c"),
    ],
)
def test_tokenizers_that_gguf_cannot_express(change: Any, why: str, byte_level: Tokenizer, tmp_path: Path) -> None:
    tokenizer = change(byte_level)
    with pytest.raises(DataError, match="cannot be written into a GGUF file") as caught:
        write_gguf(tmp_path / "m.gguf", tiny("gpt2", vocab_size=tokenizer.vocab_size), tokenizer)
    assert why in caught.value.why and caught.value.fix
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "why"), [("bpe-word-end", "'</w>'"), ("wordpiece", "a WordPiece vocabulary"), ("word", "a WordLevel")]
)
def test_other_kinds_of_vocabulary(kind: Any, why: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(iter(CORPUS), kind, 400)
    with pytest.raises(DataError) as caught:
        write_gguf(tmp_path / "m.gguf", tiny("gpt2", vocab_size=tokenizer.vocab_size), tokenizer)
    assert why in caught.value.why


def test_merges_that_are_not_sentencepieces(sentencepiece: Tokenizer, tmp_path: Path) -> None:
    """A BPE with byte fallback that knows one way to make a piece where SentencePiece knows several."""
    import json

    pipeline = sentencepiece.pipeline()
    pipeline["model"]["merges"] = pipeline["model"]["merges"][::2]
    tokenizer = Tokenizer(Backend.from_str(json.dumps(pipeline)))
    with pytest.raises(DataError) as caught:
        write_gguf(tmp_path / "m.gguf", tiny("llama", vocab_size=tokenizer.vocab_size), tokenizer)
    assert "merges are not those" in caught.value.why


def test_too_many_tokens(byte_level: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not fit the model"):
        write_gguf(tmp_path / "m.gguf", tiny("gpt2"), byte_level)


# -- what cannot be written, and what goes wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (lambda: tiny("mistral", local_layers=(1,)), "local_layers = (1,)"),
        (lambda: tiny("qwen2", attention_bias=False), "no biases on queries"),
        (lambda: tiny("qwen3", attention_bias=True), "biases on queries"),
        (lambda: tiny("qwen2", rope=RoPE(scaling="llama3", factor=8.0, original_context=16)), "rotary bands"),
        (lambda: tiny("gemma2", tied=False), "an output matrix of its own"),
        (lambda: tiny("gemma2", logit_softcap=None), "no caps"),
        (lambda: tiny("gemma2", query_scale=0.5), "query_scale = 0.5"),
        (lambda: tiny("gemma3", local_layers=(0,)), "local_layers = (0,)"),
        (lambda: tiny("gemma3", logit_softcap=30.0), "logit_softcap = 30.0"),
        (lambda: tiny("llama", query_scale=0.5), "query_scale = 0.5"),
        (lambda: tiny("gptneox", activation="gelu_tanh"), "activation 'gelu_tanh'"),
        (lambda: tiny("gptneox", tied=True), "a tied output matrix"),
        (lambda: tiny("gpt1"), "family 'gpt1'"),
        (lambda: tiny("gpt2", activation="gelu"), "activation 'gelu'"),
        (lambda: tiny("llama", activation="gelu_tanh"), "activation 'gelu_tanh'"),
        (lambda: tiny("gpt2", mlp_bias=False), "mlp_bias = False"),
        (lambda: tiny("llama", rope=RoPE(scaling="dynamic", factor=2.0)), "dynamic rotary scaling"),
        (lambda: tiny("llama", rope=RoPE(scaling="yarn", factor=2.0, truncate=False)), "truncate = False"),
    ],
)
def test_models_that_gguf_cannot_state(model: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_gguf(tmp_path / "m.gguf", model(), None)
    assert what in caught.value.what and caught.value.why and caught.value.fix
    assert not list(tmp_path.iterdir())


def test_unknown_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown type 'q4_k'") as caught:
        write_gguf(tmp_path / "m.gguf", tiny("gpt2"), None, "q4_k")
    assert "q4_0" in caught.value.fix


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    model = tiny("llama")
    model.layers[1].mlp.up.weight.data[3, 4] = 1e5
    with pytest.raises(UsageError, match=r"layers.1.mlp.up.weight holds 1e\+05"):
        write_gguf(tmp_path / "m.gguf", model, None, "f16")
    assert torch.equal(logits(write(tmp_path, model).model), logits(model))
    before = (tmp_path / "m.gguf").read_bytes()
    model.norm.weight.data[0] = float("nan")
    with pytest.raises(DivergedError, match=r"norm.weight"):
        write_gguf(tmp_path / "m.gguf", model, None, "bf16")
    assert (tmp_path / "m.gguf").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_holds_something_else_is_not_kept(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "pairs_from_halves", lambda value, heads: value)
    with pytest.raises(SeodangError, match=r"layers.0.attention.q.weight read back is not what was written"):
        write_gguf(tmp_path / "m.gguf", tiny("llama"), None, kind)
    assert not list(tmp_path.iterdir())


def test_blocks_of_tiny_numbers(tmp_path: Path) -> None:
    """Steps below float16's smallest number become 0, which is no fault of the file's."""
    model = tiny("llama")
    model.layers[0].mlp.up.weight.data.mul_(1e-9)
    model.layers[0].mlp.down.weight.data.mul_(1e-6)
    for kind in ("q8_0", "q4_0"):
        loaded = write(tmp_path, model, kind=kind).model
        assert loaded.layers[0].mlp.up.weight.abs().max() == 0


def test_dropout_is_not_part_of_a_file(tmp_path: Path) -> None:
    model = tiny("gpt2", residual_dropout=0.1, init_std=0.5)
    assert write(tmp_path, model).model.config == replace(model.config, residual_dropout=0.0, init_std=0.02)


def test_what_llama_cpp_computes_otherwise_is_said(tmp_path: Path) -> None:
    def note(family: str, **changes: Any) -> str:
        return write_gguf(tmp_path / "m.gguf", tiny(family, **changes), None).note

    assert note("llama") == note("gemma3") == note("mistral", window=None, local_layers=()) == ""
    assert "more than 6 tokens" in note("mistral") and "GELU" in note("gptneox")


def test_a_window_as_wide_as_the_context_is_none(tmp_path: Path) -> None:
    model = tiny("mistral", window=24)
    loaded = write(tmp_path, model).model
    assert loaded.config.family == "llama" and torch.equal(logits(loaded), logits(model))


def test_without_a_tokenizer(tmp_path: Path) -> None:
    assert write(tmp_path, tiny("gpt2")).tokenizer is None
    assert GGUFFile(tmp_path / "m.gguf").metadata.value("tokenizer.ggml.model") == "none"
