"""Round trips, special tokens, files in and out, the same ids as transformers."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.errors import DataError
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

ODD = [
    "".join(map(chr, range(0xAC00, 0xD7A4))),  # the 11,172 syllables
    "ㄱㄴㄷㅏㅑ ㅋㅋㅋ ㅠㅠ",
    "\u1100\u1100 \u1161 \u11a8",  # conjoining jamo that form no syllable
    "👩‍👩‍👧‍👦🇰🇷🙂 \U0001f3fd",
    " \t\n\r\n  \u3000\u00a0\u2028 end  ",
    "".join(map(chr, range(32))) + "\x7f\x85",
    "",
    " ",
    "<|endoftext|> <|im_end|><|im_start|>user",
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_round_trip_is_exact(learned: Tokenizer, text: str) -> None:
    ids = learned.encode(text)
    assert learned.decode(ids) == text
    assert b"".join(learned.token_bytes(id) for id in ids) == text.encode("utf-8")
    assert not learned.special_ids & set(ids)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_round_trip_of_any_text(learned: Tokenizer, text: str) -> None:
    assert learned.decode(learned.encode(text)) == unicodedata.normalize("NFC", text)


def test_without_nfc_even_decomposed_text_comes_back(lines: list[str]) -> None:
    tokenizer = train_tokenizer(lines, vocab_size=300, nfc=False)
    text = unicodedata.normalize("NFD", "각 나라 é")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_byte_of_every_syllable_and_emoji_streams(learned: Tokenizer) -> None:
    """A stream decodes token by token; bytes are never lost, whatever the token borders."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    text = ODD[0] + ODD[3]
    assert "".join(decoder.decode(learned.token_bytes(id)) for id in learned.encode(text)) == text


def test_special_tokens_stand_first_and_are_text_unless_allowed(learned: Tokenizer) -> None:
    assert [learned.token_of(id) for id in range(4)] == ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert (learned.eos_id, learned.pad_id, learned.bos_id, learned.unk_id) == (0, 1, None, None)
    assert (learned.end_of_text_id, learned.end_of_turn_id) == (0, 3)
    text = "a<|im_end|>b"
    plain, real = learned.encode(text), learned.encode(text, allow_special=True)
    assert 3 not in plain and real == [*learned.encode("a"), 3, *learned.encode("b")]
    assert learned.decode(plain) == learned.decode(real) == text
    assert learned.decode(real, skip_special=True) == "ab"
    assert learned.encode_batch([text, ""], allow_special=True) == [real, []]
    assert learned.encode_batch([text, ""]) == [plain, []]


def test_a_lone_surrogate_is_named(learned: Tokenizer) -> None:
    for call in (learned.encode, lambda text: learned.encode_batch(["fine", text])):
        with pytest.raises(DataError, match="surrogate"):
            call("ab\ud83d")


def test_nothing_is_cut_or_padded(learned: Tokenizer, tmp_path: Path) -> None:
    learned.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    whole = json.loads(file.read_text("utf-8"))
    whole["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(whole), "utf-8")
    text = "하늘 천 따 지 " * 50
    assert Tokenizer.load(tmp_path).encode(text) == learned.encode(text)


@pytest.mark.parametrize("kind", ["bpe", "bpe-word-end", "wordpiece", "unigram", "word", "char"])
def test_transformers_reads_the_folder(kind: str, lines: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = train_tokenizer(lines, kind=kind, vocab_size=400)  # type: ignore[arg-type]
    ours.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*lines[:5], *ODD[1:7], unicodedata.normalize("NFD", "한국")]:
        ids = ours.encode(text)
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == ours.decode(ids)
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.bos_token_id) == (0, 1, None)
    assert set(theirs.all_special_ids) == ours.special_ids
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint() == ours.fingerprint() and again.chat_template == ours.chat_template


def test_fingerprint_sees_template_and_vocabulary(lines: list[str]) -> None:
    one, same = (train_tokenizer(lines, vocab_size=300) for _ in range(2))
    other = train_tokenizer(lines, vocab_size=301)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    same.chat_template = "{{ messages[0].content }}"
    assert one.fingerprint() != same.fingerprint()


def test_gpt2_files(learned: Tokenizer, tmp_path: Path) -> None:
    """vocab.json + merges.txt under OpenAI's names; ids as the folder they came from (NFC text)."""
    learned.save(tmp_path / "whole")
    vocabulary = (tmp_path / "whole" / "vocab.json").read_text("utf-8")
    (tmp_path / "encoder.json").write_text(vocabulary, "utf-8")
    (tmp_path / "vocab.bpe").write_text((tmp_path / "whole" / "merges.txt").read_text("utf-8"), "utf-8")
    for source in (tmp_path, tmp_path / "encoder.json", tmp_path / "vocab.bpe"):
        tokenizer = Tokenizer.load(source)
        assert tokenizer.encode("하늘 천 low") == learned.encode("하늘 천 low")
        assert tokenizer.eos_id == tokenizer.bos_id == 0 and tokenizer.pad_id is None


def test_gpt1_files_as_transformers_reads_them(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    symbols = ["<unk>", *"lowernst!'", *(letter + "</w>" for letter in "lowernst!'")]
    merges = [("e", "s"), ("es", "t</w>"), ("l", "o"), ("lo", "w</w>"), ("lo", "w")]
    # "model" is a word of GPT-1's, and the key by which a tokenizer.json is known
    vocabulary = {token: id for id, token in enumerate([*symbols, *map("".join, merges), "model"])}
    for name in ("encoder_bpe_40000.json", "vocab.json"):
        (tmp_path / name).write_text(json.dumps(vocabulary))
    for name in ("vocab_40000.bpe", "merges.txt"):
        (tmp_path / name).write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    theirs = transformers.OpenAIGPTTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path / "encoder_bpe_40000.json")
    for text in ("Lowest, LOW lower!", "  newest\n\nÉ 강", "l'ow", ""):
        assert ours.encode(text) == theirs(text)["input_ids"]
    assert [ours.token_of(id) for id in ours.encode("lowest")] == ["low", "est</w>"]
    assert ours.decode(ours.encode("lowest low")) == "lowest low"
    assert ours.token_bytes(ours.id_of("est</w>") or 0) == b"est "


def test_wordpiece_file_as_transformers_reads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "low", "##est", "##er", "하", "##늘", "!", ",", "[", "]"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    for text in ("Lowest, LÖWER!", "하늘", "zzz low"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.encode("[MASK]") == [12, 1, 13]
    assert (ours.unk_id, ours.pad_id) == (1, 0) and ours.special_ids == {0, 1, 2, 3, 4}


def test_templates_of_older_folders(learned: Tokenizer, tmp_path: Path) -> None:
    learned.save(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    for stored in ("{{ 1 }}", [{"name": "tool", "template": "x"}, {"name": "default", "template": "{{ 1 }}"}]):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": stored}), "utf-8")
        assert Tokenizer.load(tmp_path).chat_template == "{{ 1 }}"


# -- tables, as GGUF stores them ----------------------------------------------------------------------------------


def _tables(tokenizer: Tokenizer) -> tuple[list[str], list[str], list[int]]:
    tokens = [tokenizer.token_of(id) for id in range(tokenizer.vocab_size)]
    merges = [" ".join(pair) for pair in json.loads(tokenizer._backend.to_str())["model"]["merges"]]
    return tokens, merges, [3 if id in tokenizer.special_ids else 1 for id in range(len(tokens))]


def test_from_bpe_gives_the_same_ids(learned: Tokenizer, tmp_path: Path) -> None:
    tokens, merges, types = _tables(learned)
    again = Tokenizer.from_bpe(tokens, merges, types, pre="gpt-2", eos_id=0, pad_id=1, chat_template="x")
    for text in ODD:
        assert again.encode(text) == learned.encode(text)
    assert again.special_ids == {0, 1, 2, 3} and (again.eos_id, again.pad_id, again.bos_id) == (0, 1, None)
    assert not again.add_bos
    again.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint() == again.fingerprint()


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "in 2024, I'll  go\n\n!", ["in", " 2024", ",", " I", "'ll", " ", " go", "\n", "\n", "!"]),
        ("default", "a 12", ["a", " 12"]),
        ("smollm", "in 2024", ["in", " ", "2", "0", "2", "4"]),
        ("llama-bpe", "x=12345\n\n I'LL", ["x", "=", "123", "45", "\n\n", " I", "'LL"]),
        ("qwen2", "x=123\n I'll", ["x", "=", "1", "2", "3", "\n", " I", "'ll"]),
        ("gpt-4o", "HelloWorld don't 1234", ["Hello", "World", " don't", " ", "123", "4"]),
        ("tekken", "helloWorld 12", ["hello", "World", " ", "1", "2"]),
    ],
)
def test_pre_tokenizers_split_as_named(learned: Tokenizer, pre: str, text: str, pieces: list[str]) -> None:
    tokens, merges, types = _tables(learned)
    splitter = Tokenizer.from_bpe(tokens, merges, types, pre=pre)._backend.pre_tokenizer
    starts = [text[a:b] for _, (a, b) in splitter.pre_tokenize_str(text)]
    assert starts == pieces


def test_tables_that_do_not_fit_are_named(learned: Tokenizer) -> None:
    tokens, merges, types = _tables(learned)
    with pytest.raises(DataError, match="unknown pre-tokenizer 'smolm'.*\n.*\n.*smollm"):
        Tokenizer.from_bpe(tokens, merges, types, pre="smolm")
    with pytest.raises(DataError, match="merge 1 "):
        Tokenizer.from_bpe(tokens, ["zz zz"], types)
    with pytest.raises(DataError, match="occurs twice"):
        Tokenizer.from_bpe([*tokens, tokens[5]], merges, [*types, 1])
    with pytest.raises(DataError, match="do not fit together"):
        Tokenizer.from_sentencepiece(["<unk>", "<s>", "</s>", "a"], [0.0])


def _pieces() -> tuple[list[str], list[float]]:
    words = ["\u2581a", "\u2581b", "ab", "ba", "aa", "\u2581ab", "aba", "\u2581aba", "bb", "abab", "\u2581\u2581"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, "\u2581", "a", "b"]
    ranked = {token: -float(rank) for rank, token in enumerate(words)}
    return tokens, [ranked.get(token, 0.0 if token.startswith("<") else -100.0) for token in tokens]


def _sentencepiece(text: str, tokens: list[str], scores: list[float]) -> list[int]:
    """llama2.c's run.c, encode(): characters or bytes, then always the best-scoring pair, leftmost of equals."""
    ids = {token: id for id, token in enumerate(tokens)}
    symbols: list[int] = []
    for character in ("\u2581" + text.replace(" ", "\u2581")) if text else "":
        plain = ids.get(character)
        symbols += [plain] if plain is not None else [3 + byte for byte in character.encode("utf-8")]
    while True:
        pairs = zip(symbols, symbols[1:], strict=False)
        joined = [(ids.get(tokens[a] + tokens[b]), at) for at, (a, b) in enumerate(pairs)]
        known = [(scores[id], -at, id) for id, at in joined if id is not None]
        if not known:
            return symbols
        _, at, id = max(known)
        symbols[-at : -at + 2] = [id]


def test_from_sentencepiece_equals_the_published_algorithm(tmp_path: Path) -> None:
    tokens, scores = _pieces()
    tokenizer = Tokenizer.from_sentencepiece(tokens, scores)
    generator = random.Random(0)
    texts = ["".join(generator.choice("aabb  x강") for _ in range(generator.randrange(12))) for _ in range(300)]
    for text in [*texts, "<s> <0x0A> a", "a\nb"]:
        ids = tokenizer.encode(text)
        assert ids == _sentencepiece(text, tokens, scores), text
        assert tokenizer.decode(ids) == text
        assert b"".join(map(tokenizer.token_bytes, ids)) == (b" " + text.encode() if text else b"")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (1, 2, 0, None)
    assert tokenizer.add_bos and tokenizer.has_bytes and tokenizer.special_ids == {0, 1, 2}
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint() and again.add_bos


def test_sentencepiece_segments_get_one_space_prefix() -> None:
    tokens, scores = _pieces()
    tokenizer = Tokenizer.from_sentencepiece(tokens, scores)
    spelled = [[tokenizer.token_of(id) for id in ids] for ids in tokenizer.encode_segments([("a", True), ("b", False)])]
    assert spelled == [["\u2581a"], ["b"]]
    after = tokenizer.encode("<s>a", allow_special=True)
    assert [tokenizer.token_of(id) for id in after] == ["<s>", "\u2581a"]
    bare = Tokenizer.from_sentencepiece(tokens, scores, add_space_prefix=False)
    assert [bare.token_of(id) for id in bare.encode("ab")] == ["ab"] and bare.decode(bare.encode(" a")) == " a"


def test_transformers_reads_a_sentencepiece_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = Tokenizer.from_sentencepiece(*_pieces())
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("ab aba", "강 a\n", " a"):
        assert theirs(text)["input_ids"] == [1, *tokenizer.encode(text)]
        assert theirs.decode(tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text))


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "none", "does not exist"),
        ({"readme.md": "x"}, "", "is not a tokenizer"),
        ({"tokenizer.json": '{\n"model": '}, "", "tokenizer.json:2 is damaged"),
        ({"tokenizer.json": '{"model": {}}'}, "", "tokenizer.json is damaged"),
        ({"tokenizer.json": "[]"}, "", "holds no JSON object"),
        ({"vocab.json": '{"a": 0}'}, "", "only half of a tokenizer"),
        ({"merges.txt": "a b"}, "merges.txt", "only half of a tokenizer"),
        ({"vocab.json": '{"a": "x"}', "merges.txt": ""}, "", "is not a vocabulary"),
        ({"vocab.json": '{"a": 0, "b": 1}', "merges.txt": "#version: 0.2\na b"}, "", "merges.txt:2 does not fit"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\na b c"}, "", "merges.txt:2 is no merge"),
        ({"vocab.txt": "a\nb\n"}, "", "not a WordPiece vocabulary"),
        ({"vocab.txt": b"a\n\xff\xfe"}, "", "vocab.txt:2 is not UTF-8"),
    ],
)
def test_bad_files_are_named(files: dict[str, str | bytes], name: str, message: str, tmp_path: Path) -> None:
    for file, content in files.items():
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path / name)
    assert message in str(caught.value) and caught.value.fix
