"""Real models: loading from a directory or the hub, the demo model, texts, and capture."""

from mxhw.models.capture import capture
from mxhw.models.loading import DEMO, LoadedModel, load_model
from mxhw.models.texts import read_ids, windows

__all__ = ["DEMO", "LoadedModel", "capture", "load_model", "read_ids", "windows"]
