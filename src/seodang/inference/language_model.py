"""A model with its tokenizer and its settings: everything one does with a trained model is a method here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import torch
from torch import Tensor

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.sentence_transformers import EmbeddingSettings, read_embedding_settings
from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.task_settings import TaskSettings
from seodang.errors import DataError, FitError, UsageError, suggest
from seodang.inference import classify as classification
from seodang.inference import dialogue, embedding, scoring
from seodang.inference.beam import generate_beam
from seodang.inference.classify import Prediction
from seodang.inference.decode import Decoding, Generation
from seodang.inference.dialogue import Message
from seodang.inference.fill import Guess, refuse_masked
from seodang.inference.fill import fill as fill_blanks
from seodang.inference.inputs import id_rows
from seodang.inference.options import Options, ignored, merge
from seodang.inference.sampling import Settings
from seodang.inference.schema import Guide
from seodang.inference.scoring import Score
from seodang.inference.streaming import Stream, TextStream
from seodang.inference.suggest import Suggestion
from seodang.inference.suggest import suggest as search_suggestions
from seodang.models.base import Model
from seodang.models.encoder import Encoder
from seodang.models.encoder_decoder import EncoderDecoder
from seodang.text.tokenizer import Tokenizer
from seodang.training.machine import choose_device

Texts = list[str] | tuple[str, ...]


class LanguageModel:
    """A model, its tokenizer, and its generation_config; made by `load`.

    A decoder goes on with its prompts; to an encoder-decoder they are sources, which it answers.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer | None,
        generation: dict[str, Any] | None = None,
        source: object = None,
        embedding: EmbeddingSettings | None = None,
        fine_tuned: dict[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self._tokenizer = tokenizer
        self.generation_config = generation or {}
        self.source = source
        self.embedding = embedding or EmbeddingSettings()
        self.fine_tuned = fine_tuned

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises DataError when the model came without one."""
        if self._tokenizer is None:
            raise DataError(
                "the model has no tokenizer",
                "text cannot be turned into its tokens",
                "put the tokenizer.json that it was trained with into its folder",
            )
        return self._tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.output_weight.device

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together; of an encoder-decoder, those of the source."""
        return self.model.max_source_tokens if isinstance(self.model, EncoderDecoder) else self.model.max_tokens

    @property
    def ignored(self) -> list[str]:
        """Entries of the model's generation_config that would change a text elsewhere and do not here."""
        return ignored(self.generation_config, seq2seq=self.model.kind == "seq2seq")

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's ends of turn and text, and generation_config's list."""
        listed = self.generation_config.get("eos_token_id")
        ids = set(listed) if isinstance(listed, list | tuple) else {listed}
        if self._tokenizer is not None:
            ids |= {self._tokenizer.eos_id, self._tokenizer.end_of_turn_id, self._tokenizer.end_of_text_id}
        return frozenset(token for token in ids if isinstance(token, int))

    @property
    def start_id(self) -> int | None:
        """What stands before the first token of a text: bos if the tokenizer adds it, or else the end of the text
        before (as in training on many documents), or else bos or eos; None when there is none of them."""
        tokenizer = self.tokenizer
        order = (tokenizer.end_of_text_id, tokenizer.bos_id, tokenizer.eos_id)
        return tokenizer.bos_id if tokenizer.add_bos else next((token for token in order if token is not None), None)

    def prompt_ids(self, prompt: str) -> list[int]:
        """The ids of a prompt: with bos in front if the tokenizer adds one, never with two; of an encoder-decoder's
        source, with all that its tokenizer puts around a text.

        An empty prompt is the beginning of a text (see `start_id`). Raises DataError when there is no such token.
        """
        if isinstance(self.model, EncoderDecoder):
            return self.tokenizer.encode_pair(prompt)[0]
        ids = self.tokenizer.encode(prompt)
        if ids and not self.tokenizer.add_bos:
            return ids
        start = self.start_id
        if start is None:
            raise DataError(
                "the prompt is empty", "this model has no token that begins a text", "give it some text to continue"
            )
        return ids if ids[:1] == [start] else [start, *ids]

    def settings(self, **options: Unpack[Options]) -> Settings:
        """The settings that `options` amount to for this model. Raises UsageError for unknown or wrong ones, and for a
        masked model, which goes on with no text."""
        refuse_masked(self.model)
        return merge(options, self.generation_config, self.end_ids, seq2seq=self.model.kind == "seq2seq")

    def _text_stream(self, prompt: Sequence[int], settings: Settings) -> TextStream:
        """The text of what is generated: behind the prompt, or, of an encoder-decoder, from its own beginning."""
        before = () if self.model.kind == "seq2seq" else prompt
        return TextStream(self.tokenizer, stop=settings.stop, prompt=before, exact=settings.grammar is not None)

    def _decoding(self, prompts: Sequence[Sequence[int]], settings: Settings, **more: Any) -> Decoding:
        guide = None if settings.grammar is None else Guide(self.tokenizer, settings, len(prompts))
        return Decoding(self.model, prompts, settings, vocabulary=self.tokenizer.vocab_size, guide=guide, **more)

    @overload
    def generate(self, prompt: str, *, batch_size: int = 16, **options: Unpack[Options]) -> Generation: ...
    @overload
    def generate(
        self, prompt: Texts, *, batch_size: int = 16, **options: Unpack[Options]
    ) -> list[Generation]: ...
    def generate(
        self, prompt: str | Texts, *, batch_size: int = 16, **options: Unpack[Options]
    ) -> Generation | list[Generation]:
        """Continue a prompt, or each of several; `batch_size` of them go through the model together.

        Neither the batch size nor the neighbours change a text: row i draws from the stream (seed, i).
        Raises UsageError (settings), DataError (empty prompt without a start token), FitError (too long).
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        ids = [self.prompt_ids(text) for text in prompts]
        results = self.generate_ids(ids, self.settings(**options), batch_size=batch_size)
        return results[0] if isinstance(prompt, str) else results

    def generate_ids(
        self, prompts: Sequence[Sequence[int]], settings: Settings, *, batch_size: int = 16
    ) -> list[Generation]:
        """As `generate`, from ids."""
        if settings.num_beams > 1:
            return self._generate_beam(prompts, settings)
        results: dict[int, Generation] = {}
        order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))  # like lengths need little padding
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self._generate_batch([prompts[row] for row in rows], settings, rows)
            results |= dict(zip(rows, batch, strict=True))
        return [results[row] for row in range(len(prompts))]

    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], settings: Settings, rows: Sequence[int]
    ) -> list[Generation]:
        decoding = self._decoding(prompts, settings, streams=rows)
        texts = [self._text_stream(prompt, settings) for prompt in prompts]
        pieces: list[list[str]] = [[] for _ in prompts]
        while not decoding.done:
            for row, token in decoding.step():
                if token not in decoding.stop_ids:
                    pieces[row].append(texts[row].push(token))
                if texts[row].stopped:
                    decoding.stop(row)
        return [
            decoding.generation(row, "".join(pieces[row]) + texts[row].finish()) for row in range(len(prompts))
        ]

    def _generate_beam(self, prompts: Sequence[Sequence[int]], settings: Settings) -> list[Generation]:
        def text_of(prompt: Sequence[int], tokens: Sequence[int]) -> tuple[str, bool]:
            stream = self._text_stream(prompt, settings)
            shown = [stream.push(token) for token in tokens if token not in settings.stop_ids]
            return "".join(shown) + stream.finish(), stream.stopped

        results = []
        for prompt in prompts:

            def ends(tokens: list[int], prompt: Sequence[int] = prompt) -> bool:
                return bool(settings.stop) and text_of(prompt, tokens)[1]

            result = generate_beam(self.model, prompt, settings, vocabulary=self.tokenizer.vocab_size, ends=ends)
            result.text = text_of(prompt, result.tokens)[0]
            results.append(result)
        return results

    def stream(self, prompt: str, **options: Unpack[Options]) -> Stream:
        """The continuation of one prompt, piece by piece: never half a character nor part of a stop string."""
        return self._stream(self.prompt_ids(prompt), self.settings(**options))

    def _stream(
        self, prompt: list[int], settings: Settings, *, capacity: int = 0, after: Stream | None = None
    ) -> Stream:
        if settings.num_beams > 1:
            raise UsageError(
                f"num_beams = {settings.num_beams} while streaming",
                "beam search knows its text only at the end",
                "generate without streaming, or with one beam",
            )
        text = self._text_stream(prompt, settings)
        decoding = self._decoding([prompt], settings, capacity=capacity, after=after.decoding if after else None)
        return Stream(decoding, text)

    def chat(self, messages: Sequence[Message], **options: Unpack[Options]) -> Generation:
        """The assistant's answer to a conversation: [{"role": "user", "content": "…"}, …].

        Raises UsageError without a chat template, DataError for wrong messages, FitError when the conversation
        fills the context (`fit_messages` forgets its oldest turns).
        """
        settings = self.settings(**options)
        return self.generate_ids([dialogue.prompt_of(self.tokenizer, messages)], settings)[0]

    def stream_chat(
        self, messages: Sequence[Message], *, after: Stream | None = None, **options: Unpack[Options]
    ) -> Stream:
        """The answer to a conversation, piece by piece.

        after: the stream of the turn before, which is over; what both conversations begin with is not computed
        again.
        """
        settings = self.settings(**options)
        prompt = dialogue.prompt_of(self.tokenizer, messages)
        # room for the turns to come, without reserving a whole long context
        capacity = min(self.context_length, 2 * (len(prompt) + settings.max_new_tokens))
        return self._stream(prompt, settings, capacity=capacity, after=after)

    def require_template(self) -> None:
        """Raise UsageError when this model cannot hold conversations."""
        dialogue.require_template(self.tokenizer)

    def fit_messages(self, messages: Sequence[Message], max_new_tokens: int) -> tuple[list[Message], int]:
        """The conversation without its oldest turns, so that an answer of `max_new_tokens` fits (or half the
        context, when that is less), and how many messages were forgotten."""
        room = self.context_length - min(max_new_tokens, self.context_length // 2)
        kept, _, forgotten = dialogue.fit(self.tokenizer, messages, room)
        return kept, forgotten

    @overload
    def score(self, text: str, *, source: str | None = None, batch_size: int = 16) -> Score: ...
    @overload
    def score(self, text: Texts, *, source: str | Texts | None = None, batch_size: int = 16) -> list[Score]: ...
    def score(
        self, text: str | Texts, *, source: str | Texts | None = None, batch_size: int = 16
    ) -> Score | list[Score]:
        """log P of each token of a text, or of each of several texts, given those before it.

        Every token of the text is counted. The first one is predicted from `start_id`, which itself is not
        counted; when the tokenizer has no such token, the first one has no logprob and is not counted, nor are
        its bytes. A text longer than the context is read in windows (see `scoring.windows`).

        An encoder-decoder needs the `source` that the text answers, one for all or one for each; the special tokens
        that its tokenizer puts around the text are counted as well. Raises DataError for an empty text, UsageError
        where a source is missing or is one too many.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if (self.model.kind == "seq2seq") != (source is not None):
            raise UsageError(
                "a source for a decoder" if source is not None else "a text without a source",
                "only an encoder-decoder has one, and it gives a text no probability without it",
                "leave the source away" if source is not None else "say what the text answers: source=…, --source …",
            )
        if source is not None:
            sources = [source] * len(texts) if isinstance(source, str) else list(source)
            scores = self._score_answers(sources, texts, batch_size)
            return scores[0] if isinstance(text, str) else scores
        start = [] if self.start_id is None else [self.start_id]
        ids = self.tokenizer.encode_batch(texts)
        for row, tokens in enumerate(ids, start=1):
            if not tokens:
                raise DataError(f"text {row} is empty", "it has no tokens to score", "give it some text")
        found = scoring.token_logprobs(self.model, [start + tokens for tokens in ids], batch_size=batch_size)
        scores = [self._score(*row, first_counts=bool(start)) for row in zip(texts, ids, found, strict=True)]
        return scores[0] if isinstance(text, str) else scores

    def _score_answers(self, sources: list[str], texts: list[str], batch_size: int) -> list[Score]:
        if len(sources) != len(texts):
            raise UsageError(f"{len(sources)} sources for {len(texts)} texts", "each text answers one", "give as many")
        settings = merge({}, self.generation_config, self.end_ids, seq2seq=True)
        encoded = [self.tokenizer.encode_pair(text)[0] for text in texts]
        prompts = [self.prompt_ids(text) for text in sources]
        found = scoring.answer_logprobs(self.model, prompts, encoded, settings, batch_size=batch_size)
        return [self._score(*row, first_counts=True) for row in zip(texts, encoded, found, strict=True)]

    def _score(self, text: str, ids: list[int], logprobs: list[float], *, first_counts: bool) -> Score:
        n_bytes = len(text.encode("utf-8"))
        if not first_counts:
            n_bytes -= len(self.tokenizer.decode(ids[:1]).encode("utf-8"))
        padded: list[float | None] = [*logprobs] if first_counts else [None, *logprobs]
        return Score(text, [self.token_text(token) for token in ids], ids, padded, n_bytes)

    def token_text(self, token: int) -> str:
        """A token as people read it: its text, with bytes that are no whole character written as \\xNN."""
        if self.tokenizer.has_bytes and token not in self.tokenizer.special_ids:
            return self.tokenizer.token_bytes(token).decode("utf-8", errors="backslashreplace")
        return self.tokenizer.token_of(token)

    def suggest(self, prompt: str, n: int = 5, *, words: int = 1, max_new_tokens: int = 8) -> list[Suggestion]:
        """The `n` most probable continuations, as a search box shows them; see `inference.suggest`."""
        refuse_masked(self.model)
        ids = self.prompt_ids(prompt)
        return search_suggestions(
            self.model, self.tokenizer, ids, n, ends=self.end_ids, words=words, max_new_tokens=max_new_tokens,
            start_id=self.settings().start_id,
        )  # fmt: skip

    def fill(self, text: str, n: int = 5) -> list[list[Guess]]:
        """For each [MASK] of `text` the `n` most probable tokens; see `inference.fill`. Only masked models do that."""
        return fill_blanks(self.model, self.tokenizer, text, n, spell=self.token_text)

    def embed(
        self,
        texts: str | Texts,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        truncate: bool = False,
        batch_size: int = 16,
    ) -> Tensor:
        """One vector per text (N, D), float32 on the CPU, which does not depend on the text's neighbours.

        pooling: "mean" of the tokens' final hidden states, "cls" (the first one's), "pooler" (BERT's tanh on that),
        "last" or "max"; normalize: to the length 1. Where not given they are what the folder says (modules.json of
        sentence-transformers), or else the plain mean. An encoder reads a text with its special tokens. truncate: a
        text that is too long is cut off. Raises FitError for one that is not, UsageError for a pooling that the model
        does not have.
        """
        settings = embedding.chosen(self.model, self.embedding, pooling, normalize)
        limit = min(self.context_length, settings.max_tokens or self.context_length)
        ids = [self._whole(text) for text in ([texts] if isinstance(texts, str) else texts)]
        rows = [embedding.fitted(row, self.tokenizer, limit, truncate=truncate) for row in ids]
        return embedding.embed(self.model, rows, settings, batch_size=batch_size)

    def _whole(self, text: str) -> list[int]:
        """The ids of a text that is read as a whole."""
        return self.prompt_ids(text) if self.model.kind == "causal" else self.tokenizer.encode_pair(text)[0]

    @torch.no_grad()
    def logits(
        self,
        ids: Tensor | Sequence[int] | Sequence[Sequence[int]],
        decoder_ids: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Raw scores (B, T, V) of the token after each position, or, of a masked model, at it.

        ids: a tensor (B, T) or (T,), a list of ids, or lists of unequal length, which are padded on the right;
        what is computed behind the end of a row means nothing. mask (B, T): True for real tokens, for rows padded
        by the caller. dtype: of the result, the model's own by default. decoder_ids (B, U) belong to
        encoder-decoders, whose source is `ids` and whose result is (B, U, V). Raises UsageError for decoder_ids that a
        model does not have or lacks, FitError when T exceeds the context.
        """
        if (decoder_ids is not None) != (self.model.kind == "seq2seq"):
            raise UsageError(
                "no decoder_ids" if decoder_ids is None else "decoder_ids for a model without an encoder",
                "encoder-decoder models, and only these, have two inputs",
                "pass logits(ids, decoder_ids)" if decoder_ids is None else "pass ids",
            )
        rows, real = id_rows(ids, self.model.config.vocab_size, self.device)
        self._check_length(rows.shape[1])
        if mask is not None:
            mask = torch.as_tensor(mask, device=self.device).bool().view(rows.shape)
        if isinstance(self.model, EncoderDecoder) and decoder_ids is not None:
            targets, _ = id_rows(decoder_ids, self.model.config.vocab_size, self.device)
            hidden = self.model(targets, memory=self.model.encode(rows, mask=real if mask is None else mask))
            scores = self.model.logits(hidden)
        elif isinstance(self.model, Encoder):
            predictor = self.model.predictor
            scores = predictor.logits(predictor(rows, mask=real if mask is None else mask))
        else:
            scores = self.model.logits(self.model(rows, mask=mask))
        return scores if dtype is None else scores.to(dtype)

    def _check_length(self, length: int) -> None:
        if length > self.context_length:
            raise FitError(
                f"a text of {length} tokens",
                f"the model's context holds {self.context_length}",
                "shorten it, or use a model with a longer context",
            )

    @property
    def task(self) -> TaskSpec | None:
        """What the model was fine-tuned for; None for one without a class head."""
        return None if self.fine_tuned is None else TaskSettings.from_dict(self.fine_tuned).spec

    def classify(self, examples: Sequence[Labelled | str], *, batch_size: int = 32) -> list[Prediction]:
        """The classes, right answers or scores of texts or examples, by `classify.classify`."""
        whole = [Labelled((one,), None) if isinstance(one, str) else one for one in examples]
        return classification.classify(self, whole, batch_size=batch_size)

    def save(self, folder: Path | str) -> None:
        """Write the model as a whole Hugging Face folder with its tokenizer and generation settings."""
        task = self.fine_tuned
        save_folder(Path(folder), self.model, self._tokenizer, generation=self.generation_config, task=task)


def load(name_or_path: str | Path, *, device: str = "auto", dtype: torch.dtype | str | None = None) -> LanguageModel:
    """Load a model by name, folder, GGUF file or hub id, ready to generate.

    dtype: a torch dtype or its name; None and "auto" are float32. Raises UsageError for an unknown name, DataError
    for damaged files.
    """
    kind = as_dtype(dtype)
    loaded = load_model(str(name_or_path), dtype=kind, device=choose_device(device))
    place = loaded.source.path
    settings = read_embedding_settings(place) if place is not None else None
    return LanguageModel(loaded.model, loaded.tokenizer, loaded.generation, loaded.source, settings, loaded.task)


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A torch dtype from its name; None for "auto". Raises UsageError for another name."""
    if not isinstance(dtype, str):
        return dtype
    known = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise UsageError(f"unknown dtype {dtype!r}", "there is no such type", suggest(dtype, known))
    return known[dtype]
