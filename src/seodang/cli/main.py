"""`seodang VERB …`: the table of verbs, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import io
import os
import sys

import seodang
from seodang.errors import SeodangError, UsageError, suggest

VERBS: dict[str, str] = {
    "demo": "the whole ladder on embedded data: tokenizer, pre-training, instruction tuning, chat, report",
    "tokenizer": "train a tokenizer, trace its merges, compare vocabularies (train | trace | stats)",
    "vectors": "static word vectors: skip-gram, GloVe, fastText (train | neighbours | analogy)",
    "data": "look at data before training on it (check | show | split | stats)",
    "pretrain": "train a language model on text",
    "sft": "instruction-tune a model on questions and answers or dialogues",
    "finetune": "fine-tune a model on labelled examples: classes, pairs, choices, scores",
    "classify": "the class of a text, or the right one of several answers, by a fine-tuned model",
    "generate": "continue a prompt",
    "chat": "talk with a model in the terminal",
    "suggest": "the most probable continuations, as a search box shows them",
    "fill": "the most probable tokens in the blanks of a text (encoders)",
    "embed": "texts as vectors, and how alike they are",
    "score": "the probability of a text, token by token; perplexity and bits per byte",
    "evaluate": "a model on a task: scores with intervals, from the task's own files",
    "compare": "several models on the same prompts or rows, side by side, with a paired test of the difference",
    "export": "write a model as a GGUF file for llama.cpp, or as a Hugging Face folder",
    "verify": "check that a model folder is whole, finite and gives the logits it should",
    "study": "GPT-1's analyses as grids of runs (transfer | zeroshot | ablation)",
    "resume": "continue an interrupted run",
    "report": "a one-file HTML report of a run",
    "doctor": "what this machine has, and what is missing",
}


def usage() -> str:
    """The text of `seodang --help`."""
    lines = [
        f"Seodang {seodang.__version__}: raise a GPT from raw text to a conversation.",
        "",
        "usage: seodang VERB [options]        seodang VERB --help",
        "",
        *(f"  {verb:<10} {line}" for verb, line in VERBS.items()),
        "",
        "start here: seodang demo",
        "exit codes: 0 done, 1 failed, 2 usage, 3 bad data, 4 will not fit, 5 diverged, 130 interrupted",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code. User mistakes print three lines on stderr and no traceback."""
    for stream in (sys.stdout, sys.stderr):  # Windows gives pipes an encoding that Korean does not fit into
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            wished = os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding=None if wished else "utf-8", errors="backslashreplace" if wished else None)
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except SeodangError as error:
        speaks, code = True, error.exit_code
        if int(os.environ.get("WORLD_SIZE") or 1) > 1:
            from seodang.training.parallel import report_failure

            speaks, code = report_failure(f"error: {error}", code)
        if speaks:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our stdout went away, as `| head` does; nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(seodang.__version__)
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}", "there is no such command", suggest(verb, VERBS))
    return int(importlib.import_module(f"seodang.cli.{verb}").main(rest) or 0)


def settle_threads() -> None:
    """How torch's threads wait for one another. Only has an effect before torch is imported."""
    # they spin, 300,000 turns by default, which stops them dead where another program uses a core; a thousand turns
    # are as fast on a quiet machine and three times as fast on a busy one
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def entry() -> None:
    """Entry point of the `seodang` command."""
    settle_threads()
    raise SystemExit(main())
