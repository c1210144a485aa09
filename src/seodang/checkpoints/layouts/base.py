"""What a family's layout states: the names, orientation and config of its Hugging Face form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from seodang.errors import DataError, UsageError
from seodang.models.config import Activation, ModelConfig

_LAYER = re.compile(r"^((?:\w+\.)*layers)\.(\d+)\.")

ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Their names of activations → ours."""
OLDER_NAMES: Mapping[Activation, str] = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
"""Ours → the names that their older configs write."""

Change = Callable[[str, Tensor, ModelConfig], Tensor]
"""(our name, value, config) → the value as the other side keeps it."""


def _same(name: str, value: Tensor, config: ModelConfig) -> Tensor:
    return value


@dataclass(frozen=True)
class Layout:
    """The two-way table between our parameters and one `model_type` of Hugging Face."""

    model_type: str
    family: str
    architecture: str
    """The class in `architectures` of config.json."""
    prefix: str
    """What the names of the bare model get in front when it sits under a head."""
    modules: Mapping[str, str]
    """Our module → theirs, without prefix; a layer's module is named from within its layer, or, where the layers of an
    encoder and a decoder differ, with the list in front: "encoder.layers.mlp.up". A parameter that has no module of its
    own is named whole."""
    layers: str | Mapping[str, str]
    """Where their layers live, as "h.{}"; of several lists, by our name of the list."""
    to_config: Callable[[dict[str, Any]], ModelConfig]
    """config.json → ModelConfig. Raises DataError for what is not supported."""
    from_config: Callable[[ModelConfig], dict[str, Any]]
    """ModelConfig → config.json. Raises UsageError for what their model cannot express."""
    transposed: frozenset[str] = frozenset()
    """Our modules whose weight they keep as (in, out)."""
    ignored: tuple[re.Pattern[str], ...] = ()
    """Buffers that older publications carry and that are not weights."""
    classifier: Mapping[str, str] = field(default_factory=lambda: {"classifier": "score"})
    """Our modules of a class head → theirs, which never get the prefix."""
    class_architecture: str = ""
    """Their class with a class head, where its name does not follow from `architecture`."""
    choice_architecture: str = ""
    """Their class that scores each answer of a choice with the same head; "" where that head is another one."""
    class_dropout: str = ""
    """The key in config.json of the dropout before the class head; "" where they have none."""
    unprefixed: tuple[str, ...] = ("lm_head",)
    """Beginnings of their names that never get the prefix."""
    copies: Mapping[str, str] = field(default_factory=lambda: {"lm_head.weight": "embed.weight"})
    """Their names, with prefix, that may be stored a second time → our parameter, which they must equal."""
    doubles: Mapping[str, str] = field(default_factory=dict)
    """Their names that are written besides, as their classes ask for them → our parameter."""
    older: Mapping[str, str] = field(default_factory=dict)
    """Endings of their names as older publications wrote them → as they are now."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Our name of a head that a folder may lack → the beginning of their names in it, with prefix."""
    inner: Mapping[str, str] = field(default_factory=dict)
    """Beginning of our names of a model within the model → the sub-folder that is a whole folder of it, with "/"."""
    inner_configs: Callable[[ModelConfig], Mapping[str, ModelConfig]] = lambda config: {}
    """The config of the model in each sub-folder that a model of this config has."""
    share_of: Callable[[Path, ModelConfig], float] | None = None
    """`generator_share` as a folder that another program may have put together shows it."""
    untied: Mapping[str, Any] = field(default_factory=dict)
    """Fields of this layout that are others where the output matrix is not the embedding."""
    incoming: Change = _same
    """Their value, turned already, → ours, of the same shape: reordered rows, a scale that they fold in."""
    outgoing: Change = _same
    """The inverse of `incoming`."""
    matches: Callable[[dict[str, Any]], bool] = lambda config: True
    """Whether a config.json of this `model_type` is of this family, where several share the type."""

    def of(self, config: ModelConfig) -> Layout:
        """This layout as it is for a model of `config`."""
        layout = self if config.tied else replace(self, **self.untied)
        absent = tuple(set(self.inner.values()) - set(self.inner_configs(config)))
        doubles = {key: name for key, name in layout.doubles.items() if not key.startswith(absent)}
        return replace(layout, doubles=doubles)

    def heads_in(self, keys: Iterable[str]) -> set[str]:
        """The heads of which at least a part is among the `keys` of a published file."""
        known = {self.canonical(key) or "" for key in keys}
        return {head for head, start in self.heads.items() if any(key.startswith(start) for key in known)}

    def theirs(self, name: str) -> str:
        """Their name, with prefix, of our parameter `name`; of one in a sub-folder with the sub-folder in front."""
        for start, folder in self.inner.items():
            if name.startswith(start):
                return folder + self.theirs(name.removeprefix(start))
        layer = _LAYER.match(name)
        stem = "" if layer is None else self._place(layer[1]).format(layer[2]) + "."
        inner = name if layer is None else name[layer.end() :]
        found = stem + self._module(inner, layer[1] + "." if layer else "")
        return found if found.startswith(self._bare) else self.prefix + found

    @property
    def _bare(self) -> tuple[str, ...]:
        return (*self.unprefixed, *(f"{theirs}." for theirs in self.classifier.values()))

    def _place(self, layers: str) -> str:
        return self.layers if isinstance(self.layers, str) else self.layers[layers]

    def _module(self, inner: str, layers: str) -> str:
        module, _, kind = inner.rpartition(".")
        for name in (layers + inner, inner):
            if name in self.modules:
                return self.modules[name]
        theirs = self.modules.get(layers + module) or self.modules.get(module) or self.classifier[module]
        return f"{theirs}.{kind}"

    def is_transposed(self, name: str) -> bool:
        """Whether they keep our parameter `name` as (in, out)."""
        module, _, kind = name.rpartition(".")
        return kind == "weight" and _LAYER.sub("", module) in self.transposed

    def to_theirs(self, name: str, value: Tensor, config: ModelConfig) -> Tensor:
        """Our parameter as they keep it."""
        value = self.outgoing(name, value, config)
        return value.t() if self.is_transposed(name) else value

    def to_ours(self, name: str, value: Tensor, config: ModelConfig) -> Tensor:
        """What they keep, as our parameter `name`."""
        return self.incoming(name, value.t() if self.is_transposed(name) else value, config)

    def canonical(self, key: str) -> str | None:
        """A key of a published file with its prefix put on if it was left out; None for an ignored buffer."""
        for folder in self.inner.values():
            if key.startswith(folder):
                inner = self.canonical(key.removeprefix(folder))
                return None if inner is None else folder + inner
        if any(pattern.search(key) for pattern in self.ignored):
            return None
        for old, new in self.older.items():
            if key.endswith(old):
                key = key.removesuffix(old) + new
        if key.startswith((self.prefix, *self._bare)):
            return key
        return self.prefix + key


def setting(config: dict[str, Any], key: str, kind: type = int) -> Any:
    """A required value of config.json. Raises DataError naming the key when it is absent or of another type."""
    value = config.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(
            f"config.json has {key} = {value!r}",
            f"a {kind.__name__} is needed",
            "copy the model's config.json again from where it came",
        )
    return value


def choice(config: dict[str, Any], key: str, table: Mapping[str, Any], default: str) -> Any:
    """`table[config[key]]`. Raises DataError listing what is supported."""
    value = config.get(key) or default
    if value not in table:
        raise DataError(
            f"config.json has {key} = {value!r}",
            "this package does not implement it",
            "supported: " + ", ".join(table),
        )
    return table[value]


def refuse(config: dict[str, Any], **features: Any) -> None:
    """Raise DataError when config.json switches on a feature: its value is neither absent nor the given one."""
    for key, neutral in features.items():
        if config.get(key, neutral) not in (neutral, None):
            raise DataError(
                f"config.json has {key} = {config[key]!r}",
                "this package does not implement it",
                f"use a model with {key} = {neutral!r}",
            )


def cannot_express(model_type: str, setting: str, why: str) -> UsageError:
    """The error for a model that has no Hugging Face form."""
    return UsageError(
        f"a model with {setting} has no {model_type!r} form", why, "train with other sizes, or another family"
    )


def check_unset(config: ModelConfig, model_type: str, *names: str) -> None:
    """Raise UsageError where one of these settings, which the form has no key for, is not as it is by default."""
    for name in names:
        if getattr(config, name) != ModelConfig.__dataclass_fields__[name].default:
            raise cannot_express(model_type, f"{name} = {getattr(config, name)!r}", "it has no key for that")
