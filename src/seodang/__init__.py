"""Seodang raises a GPT from raw text to a service people talk to.

>>> import seodang
>>> model = seodang.load("smollm2")
>>> model.generate("The capital of France is", max_new_tokens=8).text
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["LanguageModel", "__version__", "load", "prompt"]

if TYPE_CHECKING:
    from seodang.inference.language_model import LanguageModel, load
    from seodang.prompting.prompt import prompt


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; nothing here may need it before it is asked for
    if name in ("load", "LanguageModel"):
        from seodang.inference import language_model

        return getattr(language_model, name)
    if name == "prompt":
        from seodang.prompting.prompt import prompt

        return prompt
    raise AttributeError(f"module 'seodang' has no attribute {name!r}")
