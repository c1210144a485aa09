"""What a family's layout states: the names, orientation and config of its Hugging Face form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seodang.errors import DataError, UsageError
from seodang.models.config import ModelConfig

_LAYER = re.compile(r"^layers\.(\d+)\.")


@dataclass(frozen=True)
class Layout:
    """The two-way table between our parameters and one `model_type` of Hugging Face."""

    model_type: str
    family: str
    architecture: str
    """The class in `architectures` of config.json."""
    prefix: str
    """What the names of the bare model get in front when it sits under a language-model head."""
    modules: Mapping[str, str]
    """Our module → theirs, without prefix; a layer's module is named from within its layer."""
    layers: str
    """Where their layers live, as "h.{}"."""
    transposed: frozenset[str]
    """Our modules whose weight they keep as (in, out)."""
    ignored: tuple[re.Pattern[str], ...]
    """Buffers that older publications carry and that are not weights."""
    to_config: Callable[[dict[str, Any]], ModelConfig]
    """config.json → ModelConfig. Raises DataError for what is not supported."""
    from_config: Callable[[ModelConfig], dict[str, Any]]
    """ModelConfig → config.json. Raises UsageError for what their model cannot express."""

    def theirs(self, name: str) -> str:
        """Their name, with prefix, of our parameter `name`."""
        module, _, kind = name.rpartition(".")
        layer = _LAYER.match(module)
        if layer:
            inner = f"{self.layers.format(layer[1])}.{self.modules[module[layer.end() :]]}"
        else:
            inner = self.modules[module]
        return f"{inner}.{kind}" if inner == "lm_head" else f"{self.prefix}{inner}.{kind}"

    def is_transposed(self, name: str) -> bool:
        """Whether they keep our parameter `name` as (in, out)."""
        module, _, kind = name.rpartition(".")
        return kind == "weight" and _LAYER.sub("", module) in self.transposed

    def canonical(self, key: str) -> str | None:
        """A key of a published file with its prefix put on if it was left out; None for an ignored buffer."""
        if any(pattern.search(key) for pattern in self.ignored):
            return None
        if key.startswith((self.prefix, "lm_head.")):
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
