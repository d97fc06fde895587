"""The main job as stages: what `mxhw codesign` and `mxhw search` run, usable from Python."""

from mxhw.flow.codesign import Codesign, codesign
from mxhw.flow.config import Config, load_config, write_config
from mxhw.flow.prepare import Prepared, prepare
from mxhw.flow.search import run_search

__all__ = ["Codesign", "Config", "Prepared", "codesign", "load_config", "prepare", "run_search", "write_config"]
