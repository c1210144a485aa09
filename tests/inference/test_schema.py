"""Texts that keep to a schema: always whole and valid, in any vocabulary, alone or in a batch; what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from seodang.errors import UsageError
from seodang.inference.language_model import LanguageModel
from seodang.inference.schema import grammar_of
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.text.tokenizer import Tokenizer
from tests.inference.conftest import tiny, train

PROMPTS = ["the cat", "서당에서", "", "where is the"]
MOOD = {"enum": ["긍정", "부정", "중립"]}
PERSON = {
    "type": "object",
    "properties": {
        "이름": {"type": "string", "minLength": 1, "maxLength": 4},
        "age": {"type": "integer", "minimum": -3, "maximum": 130},
        "home": {
            "type": "object",
            "properties": {
                "city": {"enum": ["서울", "Busan"]},
                "rooms": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "rooms"],
            "additionalProperties": False,
        },
    },
    "required": ["이름", "age", "home"],
    "additionalProperties": False,
}
MARKS = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}


def is_mood(value) -> bool:
    return value in ("긍정", "부정", "중립")


def is_person(value) -> bool:
    return (
        set(value) == {"이름", "age", "home"} and 1 <= len(value["이름"]) <= 4 and isinstance(value["age"], int)
        and -3 <= value["age"] <= 130 and set(value["home"]) == {"city", "rooms"}
        and value["home"]["city"] in ("서울", "Busan") and value["home"]["rooms"] in range(1, 10)
    )  # fmt: skip


def is_marks(value) -> bool:
    return 2 <= len(value) <= 4 and all(mark in (True, False) for mark in value)


CASES = [(MOOD, is_mood), (PERSON, is_person), (MARKS, is_marks)]
WAYS = [{}, {"temperature": 1.0, "seed": 4}, {"temperature": 3.0, "top_k": 30}, {"dola": "low"}]


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, LanguageModel]:
    """Random models over three kinds of vocabularies."""
    folder = tmp_path_factory.mktemp("vocabularies")
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "\u2581\"", "cat", "긍정",
              "서", "\":", "true", "\u2581true", "{\""]  # fmt: skip
    characters = sorted({c for c in json.dumps([MOOD, PERSON, "abcxyz0123456789truefalse-"], ensure_ascii=False)})
    marks = [character + end for character in characters if character != " " for end in ("", "</w>")]
    vocabulary = {token: id for id, token in enumerate(["<unk>", *marks, "tr", "true</w>"])}
    tokenizers = {
        "bytes": train("bytes", folder / "bytes"),
        "pieces": Tokenizer.from_sentencepiece(pieces, [-float(n) for n in range(len(pieces))]),
        "word-end": word_end(vocabulary),
    }
    families = {"bytes": "gpt2", "pieces": "llama", "word-end": "gpt1"}
    return {
        kind: LanguageModel(tiny(families[kind], vocab_size=each.vocab_size, context_length=400), each)
        for kind, each in tokenizers.items()
    }


def word_end(vocabulary: dict[str, int]) -> Tokenizer:
    """A vocabulary as GPT-1's, whose `</w>` is a space."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    backend = Backend(models.BPE(vocabulary, [("t", "r")], unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return Tokenizer(backend)


@pytest.mark.parametrize("kind", ["bytes", "pieces", "word-end"])
@pytest.mark.parametrize("options", WAYS, ids=["greedy", "sampled", "hot", "dola"])
@pytest.mark.parametrize(("schema", "holds"), CASES, ids=["enum", "nested", "array"])
def test_every_text_is_valid(readers, kind, options, schema, holds):
    prompts = [prompt for prompt in PROMPTS if prompt or kind == "pieces"]
    for result in readers[kind].generate(prompts, schema=schema, max_new_tokens=200, **options):
        assert result.finish_reason == "stop"
        assert holds(json.loads(result.text)), result.text
        assert "�" not in result.text and result.text == json.dumps(json.loads(result.text), ensure_ascii=False)


@pytest.mark.parametrize("options", WAYS[:2], ids=["greedy", "sampled"])
def test_batch_size_changes_nothing_and_streams_are_the_same(lm, options):
    options = {**options, "schema": PERSON, "max_new_tokens": 120}
    one, three = (lm.generate(PROMPTS[:2] * 4, batch_size=size, **options) for size in (1, 3))
    assert one == three
    for prompt in PROMPTS[:2]:
        stream = lm.stream(prompt, **options)
        text = "".join(stream)
        assert text == stream.generation.text == lm.generate(prompt, **options).text
        assert is_person(json.loads(text))


def test_chances_differ_and_all_values_come(lm):
    found = {result.text for result in lm.generate(["the cat"] * 24, schema=MOOD, temperature=5.0)}
    assert {json.loads(text) for text in found} == {"긍정", "부정", "중립"}


def test_regex_and_choices(lm):
    for result in lm.generate(PROMPTS[:2], regex=r"[가-힣]{2,3} \d{4}", temperature=2.0):
        assert re.fullmatch(r"[가-힣]{2,3} \d{4}", result.text) and result.finish_reason == "stop"
    choices = ["good", "not good", 'so "so"\n', "보통"]
    texts = {result.text for result in lm.generate(["the"] * 40, choices=choices, temperature=5.0)}
    assert texts == set(choices)


def test_a_text_may_end_where_it_could_go_on(lm):
    """"a" is whole, and so is "aa": the model ends it with its own end token, or the limit does."""
    end = lm.tokenizer.end_of_text_id
    results = lm.generate(["the"] * 30, regex="a{1,40}", temperature=8.0, max_new_tokens=60)
    assert {result.finish_reason for result in results} == {"stop"}
    assert all(set(result.text) == {"a"} for result in results) and any(end in result.tokens for result in results)
    cut = lm.generate(["the"] * 30, regex="a+", temperature=8.0, max_new_tokens=2)
    assert all(result.finish_reason == "stop" for result in cut)  # any number of a's is whole


def test_a_cut_text_says_so(lm):
    result = lm.generate("the cat", schema=PERSON, max_new_tokens=6)
    assert result.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.text)


def test_exactly_as_long_as_the_limit(lm):
    whole = lm.generate("the", schema=MARKS, max_new_tokens=100)
    again = lm.generate("the", schema=MARKS, max_new_tokens=len(whole.tokens))
    assert (again.text, again.finish_reason) == (whole.text, "stop")


def test_rules_and_the_schema_hold_together(lm):
    banned = lm.tokenizer.id_of("t")
    assert banned is not None
    model = LanguageModel(lm.model, lm.tokenizer, {"suppress_tokens": [banned]})
    for result in model.generate(["the"] * 5, schema=MARKS, temperature=2.0, max_new_tokens=60):
        assert banned not in result.tokens and is_marks(json.loads(result.text))
    with pytest.raises(UsageError, match="nothing can follow") as caught:
        lm.generate("the", regex="(ab){9}", no_repeat_ngram_size=2, max_new_tokens=60)
    assert "no-repeat-ngram-size" in caught.value.fix


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ({"schema": {"enum": []}}, "nothing satisfies the schema"),
        ({"schema": {"type": "integer", "minimum": 5, "maximum": 3}}, "nothing satisfies the schema"),
        ({"schema": {"allOf": [{"type": "string"}, {"type": "integer"}]}}, "nothing satisfies the schema"),
        ({"schema": {"type": "strin"}}, "the schema is wrong"),
        ({"schema": {"not": {"type": "string"}}}, "the schema asks for what cannot be enforced"),
        ({"schema": False}, "the schema is false"),
        ({"schema": "{"}, "the schema is not JSON: line 1"),
        ({"schema": "[]"}, r"the schema is \[\]"),
        ({"regex": "["}, "the regex is wrong"),
        ({"regex": "a(?=b)"}, "the regex asks for what cannot be enforced"),
        ({"choices": []}, "choices"),
        ({"choices": ["a", ""]}, "choices"),
        ({"choices": "good"}, "choices"),
        ({"regex": "a", "choices": ["a"]}, "regex and choices at once"),
    ],
)
def test_what_is_refused(lm, option, what):
    with pytest.raises(UsageError, match=what) as caught:
        lm.settings(**option)
    assert caught.value.why and caught.value.fix and "\n" not in caught.value.why


def test_settings_that_do_not_go_with_it(lm):
    for more in ({"num_beams": 2}, {"stop": "}"}):
        with pytest.raises(UsageError, match="a schema, a regex or choices"):
            lm.generate("the", schema=MOOD, **more)


def test_what_the_vocabulary_cannot_spell(readers, tmp_path):
    with pytest.raises(UsageError, match="can follow|be begun") as caught:
        readers["word-end"].generate("the", choices=["漢字"])
    assert "vocabulary" in caught.value.why
    with pytest.raises(UsageError, match="can follow|be begun"):
        readers["bytes"].generate("the", regex=r"[^\s\S]")
    words = train("wordpiece", tmp_path)
    with pytest.raises(UsageError, match="with this vocabulary"):
        LanguageModel(tiny("gpt2", vocab_size=words.vocab_size), words).generate("the", schema=MOOD)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(UsageError, match="need the package llguidance") as caught:
        grammar_of({"type": "string"})
    assert "pip install" in caught.value.fix
    assert grammar_of() is None


def test_an_encoder_decoder_keeps_to_it_too(tmp_path):
    tokenizer = train("bytes", tmp_path)
    config = replace(published("transformer-mini"), vocab_size=tokenizer.vocab_size, start_id=0, pad_id=1)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    for result in LanguageModel(model, tokenizer).generate(PROMPTS[:2], schema=MARKS, max_new_tokens=60):
        assert result.finish_reason == "stop" and is_marks(json.loads(result.text))
