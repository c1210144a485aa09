"""Mistral 7B (Jiang et al. 2023)."""

from __future__ import annotations

from seodang.models.llama import Llama


class Mistral(Llama):
    """LLaMA whose layers are all local (sec. 2): what is n windows away is reached through n layers.

    Which layers are local, and how far they see, is the config's; from version 0.3 on none is.
    """
