"""Names of a user's model made safe before they become paths or Verilog."""

import re
from hashlib import sha256

from mxhw.errors import InputError

__all__ = ["folder_name"]

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def folder_name(node: str) -> str:
    """Return a folder name: the node's own name where it is plain, else a plain one made unique by a hash."""
    if not node:
        raise InputError("a node must have a name to be emitted, not ''")
    if _PLAIN.fullmatch(node):
        return node
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", node).lstrip("-")[:80]
    return f"{plain}-{sha256(node.encode()).hexdigest()[:8]}"
