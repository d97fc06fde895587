"""Real models: loading from a directory or the hub, the demo model, texts, and capture."""

from mxhw.models.capture import capture, capture_decoder
from mxhw.models.loading import DEMO, LoadedModel, load_model
from mxhw.models.skeleton import load_skeleton
from mxhw.models.streaming import StreamedModel, stream_model
from mxhw.models.texts import read_ids, windows
from mxhw.models.written import written_windows

__all__ = [
    "DEMO",
    "LoadedModel",
    "StreamedModel",
    "capture",
    "capture_decoder",
    "load_model",
    "load_skeleton",
    "read_ids",
    "stream_model",
    "windows",
    "written_windows",
]
