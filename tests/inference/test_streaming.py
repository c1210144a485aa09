"""A stream shows whole characters only, nothing of a stop string, and joins to exactly the decoded text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.inference.language_model import LanguageModel
from seodang.inference.streaming import BROKEN, TextStream, overlap
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer
from tests.inference.conftest import TEXTS, train

SYLLABLES = "".join(chr(code) for code in range(0xAC00, 0xD7A4))
EMOJI = "😀👩‍👩‍👧‍👦🇰🇷🏳️‍🌈🧑🏽‍🚀𝔘𐍈"


def pieces_of(tokenizer, ids, **options):
    stream = TextStream(tokenizer, **options)
    return [*(stream.push(token) for token in ids), stream.finish()]


@pytest.fixture(scope="session")
def single_bytes(tmp_path_factory):
    """A vocabulary without merges: each byte of a character comes alone, so every cut within it happens."""
    return train("bytes", tmp_path_factory.mktemp("bytes"), vocab_size=260)


def test_every_syllable_and_emoji_byte_by_byte(single_bytes):
    text = SYLLABLES + EMOJI
    assert len(SYLLABLES) == 11172
    ids = single_bytes.encode(text)
    assert len(ids) == len(text.encode())
    pieces = pieces_of(single_bytes, ids)
    assert "".join(pieces) == text
    assert not any(BROKEN in piece for piece in pieces)
    assert sum(map(bool, pieces)) == len(text)  # and each comes as soon as its last byte


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(4, 319), max_size=30))
def test_any_ids_join_to_what_decodes(tokenizer, ids):
    """Also those that are no UTF-8; only the bytes of an unfinished last character are left out."""
    decoded = tokenizer.decode(ids)
    joined = "".join(pieces_of(tokenizer, ids))
    assert decoded.startswith(joined)
    assert set(decoded[len(joined) :]) <= {BROKEN}


@pytest.mark.parametrize("kind", ["word-end", "wordpiece"])
def test_tokenizers_that_join_words(kind, tmp_path):
    tokenizer = train(kind, tmp_path)
    for text in TEXTS[:4]:
        ids = tokenizer.encode(text)
        pieces = pieces_of(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids, skip_special=True)
        assert sum(map(bool, pieces)) > 5
        for cut in range(1, len(ids)):  # what follows a prompt, its space included
            rest = "".join(pieces_of(tokenizer, ids[cut:], prompt=ids[:cut]))
            whole = tokenizer.decode(ids, skip_special=True)
            assert tokenizer.decode(ids[:cut], skip_special=True) + rest == whole


def test_special_tokens_are_not_shown(tokenizer):
    ids = [*tokenizer.encode("the cat"), tokenizer.end_of_turn_id, *tokenizer.encode(" sat")]
    assert "".join(pieces_of(tokenizer, ids)) == "the cat sat"


def test_half_a_character_at_the_end_is_dropped(single_bytes):
    ids = single_bytes.encode("가나")[:-1]
    assert "".join(pieces_of(single_bytes, ids)) == "가"


@settings(max_examples=100, deadline=None)
@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=3), min_size=1, max_size=2))
def test_stop_strings(single_bytes, text, stops):
    """Nothing after the first complete stop string is shown, and no piece ever shows part of one."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    stream = TextStream(single_bytes, stop=stops)
    shown = ""
    for token in single_bytes.encode(text):
        shown += stream.push(token)
        assert expected.startswith(shown)
    assert stream.stopped == bool(ends)
    assert shown + stream.finish() == expected


def test_a_stop_string_split_over_tokens(single_bytes):
    pieces = pieces_of(single_bytes, single_bytes.encode("one\nUser: two"), stop=["\nUser:"])
    assert "".join(pieces) == "one"
    assert "\n" not in "".join(pieces)


def test_what_only_resembles_a_stop_string_comes_late(single_bytes):
    stream = TextStream(single_bytes, stop=["END"])
    shown = [stream.push(token) for token in single_bytes.encode("EN EN")]
    assert shown == ["", "", "EN ", "", ""]
    assert stream.finish() == "EN"
    assert not stream.stopped


def test_overlap():
    assert overlap("abc", "bcd") == 2
    assert overlap("abc", "abc") == 0  # that is the whole of it
    assert overlap("aab", "ab!") == 2
    assert overlap("", "x") == 0


def test_sentencepiece_with_bytes_and_bos(models):
    """The space that begins a text is dropped, one after a prompt is kept, bytes wait for their character."""
    words = ["▁", "▁the", "▁cat", "a", "b"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    tokenizer = Tokenizer.from_sentencepiece(tokens, [0.0] * 259 + [-1.0, -2.0, -3.0, -4.0, -5.0])
    the, cat = tokenizer.id_of("▁the"), tokenizer.id_of("▁cat")
    korean = [3 + byte for byte in "각😀".encode()]
    for prompt in ([1], []):
        pieces = pieces_of(tokenizer, [the, cat, *korean], prompt=prompt)
        assert pieces == ["the", " cat", "", "", "각", "", "", "", "😀", ""]
        assert "".join(pieces) == tokenizer.decode([*prompt, the, cat, *korean], skip_special=True)
    assert pieces_of(tokenizer, [cat], prompt=[1, the]) == [" cat", ""]
    lm = LanguageModel(models["llama"], tokenizer)
    assert lm.prompt_ids("")[:2] == [1]  # bos, once, also where there is text
    assert lm.prompt_ids("ab").count(1) == 1 and lm.prompt_ids("ab")[0] == 1


KOREAN = "서당에서 아이들이 하늘 천 따 지, 글을 배운다. Hello, 세계! don't 각낙닥 42"


@pytest.mark.parametrize("style", ["t5", "marian", "albert", "bert", "gpt"])
@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe-word-end"])
@pytest.mark.parametrize("n_prompt", [0, 3])
def test_every_style_streams_what_it_decodes(kind, style, n_prompt):
    """Word starts, ## pieces and ▁; characters without a piece as bytes; special tokens shown to nobody."""
    tokenizer = train_tokenizer([KOREAN] * 5, kind, 500, style=style)
    emoji = " 🙂👩‍👩‍👧 龍똠방각하" if kind == "unigram" else ""
    special = sorted(tokenizer.special_ids - {tokenizer.unk_id})
    ids = tokenizer.encode(KOREAN + emoji)
    ids = [*ids[:5], *special[:12], *ids[5:], special[0]]
    prompt, rest = ids[:n_prompt], ids[n_prompt:]
    pieces = pieces_of(tokenizer, rest, prompt=prompt)
    whole = tokenizer.decode(ids, skip_special=True)
    assert tokenizer.decode(prompt, skip_special=True) + "".join(pieces) == whole
    assert not any("\ufffd" in piece for piece in pieces)
    if kind == "unigram":
        assert whole == KOREAN + emoji
    else:  # words and punctuation with a space between them
        assert "서당에서 아이들이 하늘 천 따 지 , 글을 배운다 ." in whole and "#" not in whole and "</w>" not in whole


def test_all_syllables_stream_from_a_unigram_vocabulary():
    tokenizer = train_tokenizer([KOREAN] * 5, "unigram", 500, style="t5")
    text = "".join(map(chr, range(0xAC00, 0xD7A4)))
    pieces = pieces_of(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text and not any("\ufffd" in piece for piece in pieces)
