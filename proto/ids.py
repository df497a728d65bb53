"""Distinct integer and string types, so that a term is never passed for an index."""

from __future__ import annotations

from typing import NewType

Term = NewType("Term", int)
"""A RAFT term: starts at 0 (no election yet) and only grows."""

Index = NewType("Index", int)
"""A position in the RAFT log: the first entry has index 1."""

NodeId = NewType("NodeId", str)
"""The persisted identity of a control-plane node (a UUID in hex). Never an address."""

Version = NewType("Version", int)
"""The catalog's one counter: contiguous, one number for each update, starting at 1."""

Epoch = NewType("Epoch", int)
"""Grows when a backup is restored. A version means nothing outside its epoch."""
