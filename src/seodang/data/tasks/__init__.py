"""Labelled tasks as they lie on disk: published layouts, and any table with its columns."""

from seodang.data.tasks.columns import Columns
from seodang.data.tasks.read import read_task

__all__ = ["Columns", "read_task"]
