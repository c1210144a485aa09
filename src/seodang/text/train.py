"""Texts → vocabulary: byte-level BPE, BPE with word ends, WordPiece, unigram, words, characters.

Words are counted first, in bounded memory; the merges are learned from the counts by the `tokenizers` library.
Symbols are given to it in a fixed order, so that equal counts are decided the same way in every run (with its own
`end_of_word_suffix` and `continuing_subword_prefix` the order is that of a randomly seeded hash table).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

from seodang.errors import DataError, UsageError, suggest
from seodang.text.chat import chatml
from seodang.text.counts import Source, count_words, pruned, texts_of
from seodang.text.learn_unigram import learn_unigram
from seodang.text.styles import Kind, Style, StyleName, frame, style_of
from seodang.text.tokenizer import Tokenizer
from seodang.text.unigram import BYTES, unigram_backend, unigram_splitter

WORD_END = "</w>"

_BYTES_PER_COUNTED_WORD = 800  # a table entry takes about 230, and stays ours while merges are learned
_BYTES_PER_WORD, _BYTES_PER_SYMBOL = 100, 150  # what the library's trainer takes for a word and each symbol in it

_MOST_SYMBOLS = 1_000_000


def train_tokenizer(
    source: Source,
    kind: Kind | None = None,
    vocab_size: int = 8000,
    *,
    style: StyleName = "gpt",
    nfc: bool = True,
    lowercase: bool = False,
    min_count: int = 2,
    max_ram: int = 1_500_000_000,
    chat_template: str | None = None,
) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` entries (special tokens included) from texts, read once.

    source     texts (an iterator of str), or UTF-8 text files (Path, or an iterator of them)
    kind       bpe: byte-level, as GPT-2; bpe-word-end: characters with `</w>`, as GPT-1; wordpiece: as BERT;
               unigram: as T5, with byte fallback; word; char. None: what the style's families use
    style      special tokens, their roles and what stands around texts: see `seodang.text.styles`
    nfc        compose characters (Hangul syllables above all) before anything else, in training and in use
    min_count  pairs (for word and unigram: entries) that occur less often are not learned
    max_ram    bytes; when there are more distinct words than fit, the rarest are left out of the counts
    chat_template  for the style gpt, where ChatML is the default; other styles have none unless it is given
    Unigram vocabularies take NFC too, not SentencePiece's NFKC, which would turn ㅋㅠ into 큐 and ½ into 1⁄2.
    Raises UsageError for an unknown kind or style or too small a vocabulary, DataError when there is no text.
    """
    rules = style_of(style)
    kind = rules.kind if kind is None else kind
    if kind not in get_args(Kind):
        raise UsageError(f"unknown kind {kind!r} of vocabulary", "there is no such kind", suggest(kind, get_args(Kind)))
    special = rules.special(kind)
    room = vocab_size - len(special) - len(rules.last)
    need = {"bpe": 256, "unigram": 256 + 2}.get(kind, 2)
    if room < need:
        raise UsageError(
            f"a vocabulary of {vocab_size} is too small",
            f"{vocab_size - room} special tokens and {need} {'bytes' if kind == 'bpe' else 'symbols'} come first",
            f"ask for {vocab_size - room + need} or more with --vocab-size",
        )
    words = _words(source, kind, nfc=nfc, lowercase=lowercase, max_ram=max_ram)
    normalizer = _normalizer(nfc, lowercase)
    if kind == "unigram":
        learned = learn_unigram(words, room - len(BYTES), min_count, max_ram)
        backend = _unigram(learned, special, rules, normalizer)
    else:
        build = {"bpe": _bpe, "bpe-word-end": _word_end, "wordpiece": _wordpiece, "word": _word, "char": _char}[kind]
        backend = build(words, special, rules.unknown, room, min_count)
        if normalizer:
            from tokenizers import normalizers

            backend.normalizer = normalizers.Sequence(normalizer)
    frame(backend, style, kind, [*special, *rules.last])
    config = {role: name for role, name in rules.roles.items() if name is None or name in special}
    template = chatml() if style == "gpt" and chat_template is None else chat_template
    return Tokenizer(backend, config=config, chat_template=template)


def _words(source: Source, kind: Kind, *, nfc: bool, lowercase: bool, max_ram: int) -> Counter[str]:
    """Pre-tokens and their counts."""
    texts = texts_of(source)
    if kind == "unigram":  # whose texts begin with a space
        texts = (text if text[:1].isspace() else " " + text for text in texts)
    counts = count_words(
        texts, max_words=max(1000, max_ram // _BYTES_PER_COUNTED_WORD), nfc=nfc, lowercase=lowercase
    )
    if not counts:
        raise DataError("there is no text to learn from", "the data is empty", "name files that hold text")
    if kind == "char":
        return counts
    split = unigram_splitter() if kind == "unigram" else _pre_tokenizer(kind).pre_tokenize_str
    words: Counter[str] = Counter()
    while counts:  # emptied as we go: only one of the two tables is ever full
        text, count = counts.popitem()
        for piece, _ in split(text):
            words[piece] += count
    if kind == "word":
        return words
    return pruned(words, max_ram * 5 // 8, lambda word: _BYTES_PER_WORD + _BYTES_PER_SYMBOL * len(word))


def _normalizer(nfc: bool, lowercase: bool) -> list[Any]:
    from tokenizers import normalizers

    return [normalizers.NFC()] * nfc + [normalizers.Lowercase()] * lowercase


def _pre_tokenizer(kind: Kind) -> Any:
    from tokenizers import Regex, pre_tokenizers

    if kind == "bpe":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "char":
        return pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return pre_tokenizers.BertPreTokenizer()


def _bpe(words: Counter[str], special: list[str], unknown: str, room: int, min_count: int) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries, merges = learn_merges(words, list, alphabet, room, min_count)
    names = ["".join(entry) for entry in entries]
    pairs = [("".join(left), "".join(right)) for left, right in merges]
    backend = Backend(models.BPE(vocab=_numbered([*special, *names]), merges=pairs))
    backend.pre_tokenizer = _pre_tokenizer("bpe")
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_end(words: Counter[str], special: list[str], unknown: str, room: int, min_count: int) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    alphabet = both_forms(words, lambda character: character + WORD_END, room)
    entries, merges = learn_merges(words, word_end_symbols, alphabet, room, min_count)
    names = ["".join(entry) for entry in entries]
    pairs = [("".join(left), "".join(right)) for left, right in merges]
    model = models.BPE(
        vocab=_numbered([*special, *names]), merges=pairs, unk_token=unknown, end_of_word_suffix=WORD_END
    )
    backend = Backend(model)
    backend.pre_tokenizer = _pre_tokenizer("bpe-word-end")
    backend.decoder = decoders.BPEDecoder(suffix=WORD_END)
    return backend


def _wordpiece(words: Counter[str], special: list[str], unknown: str, room: int, min_count: int) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    alphabet = both_forms(words, lambda character: "##" + character, room)
    entries, _ = learn_merges(words, _wordpiece_symbols, alphabet, room, min_count)
    names = [entry[0] + "".join(symbol.removeprefix("##") for symbol in entry[1:]) for entry in entries]
    model = models.WordPiece(_numbered([*special, *names]), unk_token=unknown, max_input_chars_per_word=100)
    backend = Backend(model)
    backend.pre_tokenizer = _pre_tokenizer("wordpiece")
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return backend


def _unigram(learned: list[tuple[str, float]], special: list[str], rules: Style, normalizer: list[Any]) -> Any:
    """Special tokens, bytes, and pieces by falling probability."""
    taken = {*special, *rules.last, *BYTES}
    learned = [(piece, score) for piece, score in learned if piece not in taken]
    # never found in text, see `guard`; the least score keeps the penalty of what is unknown where it would be
    least = min((score for _, score in learned), default=0.0)
    pieces = [*((name, least) for name in (*special, *BYTES)), *learned]
    return unigram_backend(pieces, special.index(rules.unknown), special, normalizers=normalizer)


def _word(words: Counter[str], special: list[str], unknown: str, room: int, min_count: int) -> Any:
    return _word_level(_most_frequent(words, room, min_count), special, unknown, "word")


def _char(words: Counter[str], special: list[str], unknown: str, room: int, min_count: int) -> Any:
    from tokenizers import decoders

    backend = _word_level(sorted(_most_frequent(_characters(words), room, 1)), special, unknown, "char")
    backend.decoder = decoders.Fuse()
    return backend


def _word_level(entries: Iterable[str], special: list[str], unknown: str, kind: Kind) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    backend = Backend(models.WordLevel(_numbered([*special, *entries]), unk_token=unknown))
    backend.pre_tokenizer = _pre_tokenizer(kind)
    return backend


def _most_frequent(counts: Counter[str], room: int, min_count: int) -> list[str]:
    """Highest count first; of equal ones the lower code points."""
    ranked = sorted(((-count, entry) for entry, count in counts.items() if count >= min_count))
    return [entry for _, entry in ranked[:room]]


def _characters(words: Counter[str]) -> Counter[str]:
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    return characters


def _numbered(entries: Iterable[str]) -> dict[str, int]:
    """Entry → id. An entry that text happens to share with a special token is that token."""
    return {entry: id for id, entry in enumerate(dict.fromkeys(entries))}


def word_end_symbols(word: str) -> list[str]:
    """GPT-1's symbols: characters, the last one marked with `</w>`."""
    return [*word[:-1], word[-1] + WORD_END]


def _wordpiece_symbols(word: str) -> list[str]:
    return [word[0], *("##" + character for character in word[1:])]


def both_forms(words: Counter[str], mark: Callable[[str], str], room: int) -> list[str]:
    """The most frequent characters, plain and marked, in at most three quarters of `room`; each form by code point.

    Both forms of each, as in GPT-1's and BERT's vocabularies: a character seen only inside words may yet end one.
    """
    characters = sorted(_most_frequent(_characters(words), max(1, room * 3 // 8), 1))
    return [*characters, *map(mark, characters)]


def learn_merges(
    words: Counter[str], cut: Callable[[str], list[str]], alphabet: Sequence[str], room: int, min_count: int
) -> tuple[list[tuple[str, ...]], list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    """BPE by the library's trainer: entries (each the symbols it is made of) and merges, first learned first.

    Each symbol travels to the library as one character, so any symbols in any order can be learned. The pair with the
    highest count is joined; of equal counts the pair whose left (then right) entry is older. Symbols that are not in
    `alphabet` are left out of their words. `words` is emptied.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    if len(alphabet) > min(room, _MOST_SYMBOLS):
        raise UsageError("the vocabulary is too small", f"{len(alphabet)} symbols come first", "ask for more entries")
    code = {symbol: _character(index) for index, symbol in enumerate(alphabet)}

    def repeated() -> Iterator[str]:
        while words:
            word, count = words.popitem()
            coded = "".join(code[symbol] for symbol in cut(word) if symbol in code)
            while coded and count > 0:
                yield " ".join([coded] * min(count, 10_000))
                count -= 10_000

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=room, min_frequency=min_count, initial_alphabet=list(code.values()), show_progress=False
    )
    backend.train_from_iterator(repeated(), trainer)
    return _decoded(backend, alphabet)


def _character(index: int) -> str:
    """The character that stands for symbol `index`: in code point order, never a space, never a surrogate."""
    point = index + 0x21
    return chr(point if point < 0xD800 else point + 0x800)


def _decoded(
    backend: Any, alphabet: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    import json

    symbol_of = {_character(index): symbol for index, symbol in enumerate(alphabet)}

    def symbols(text: str) -> tuple[str, ...]:
        return tuple(symbol_of[character] for character in text)

    model = json.loads(backend.to_str())["model"]
    entries = [symbols(text) for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return entries, [(symbols(left), symbols(right)) for left, right in merges]
