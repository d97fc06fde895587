"""Emission of whole language models: designs that take requests and give logits and tokens."""

from mxhw.passes.emit.language.emit import HostFiles, emit_language
from mxhw.passes.emit.language.plan import plan_language
from mxhw.passes.emit.language.port import with_shares
from mxhw.passes.emit.language.timing import LanguageCycles, language_cycles
from mxhw.passes.emit.language.tokens import PassTokens, pass_tokens
from mxhw.passes.emit.language.values import PassRecorded

__all__ = [
    "HostFiles",
    "LanguageCycles",
    "PassRecorded",
    "PassTokens",
    "emit_language",
    "language_cycles",
    "pass_tokens",
    "plan_language",
    "with_shares",
]
