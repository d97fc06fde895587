"""Graphs on disk: a folder with graph.json (structure and records) and weights.safetensors (parameters).

A graph without weights is stored with the shapes and types of its parameters; its weights.safetensors holds only the
few buffers that are real.

Nothing is pickled. graph.json carries the SHA-256 of the weights it belongs to, so that a folder whose two files do
not match, because writing was interrupted or a file was replaced, is found at load.
"""

import hashlib
import json
import operator
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from mxhw.errors import InputError
from mxhw.ir.cache_layers import cached_layers
from mxhw.ir.decode import DecodeGraph
from mxhw.ir.describe import INFO
from mxhw.ir.encoding import decode_graph, encode_graph
from mxhw.ir.graph import Graph, Signature
from mxhw.ir.metadata import NodeInfo

__all__ = ["load_graph", "save_graph"]

VERSION = 1
_MARK = "mxhw_graph"
_CACHE = "cache"  # key of what a graph for decoding keeps per layer
_GRAPH_FILE = "graph.json"
_WEIGHTS_FILE = "weights.safetensors"
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)
}  # of weights that are absent
_SHA256 = re.compile(r"[0-9a-f]{64}")


def save_graph(graph: Graph, folder: Path) -> None:
    """Write `graph` into `folder`, each file whole or not at all; graph.json comes last.

    Raises
    ------
    InputError
        If the graph holds an operator that cannot be stored, or the folder cannot be written.
    """
    from safetensors.torch import save_file

    bodies = {
        str(node.target): graph.module.get_submodule(str(node.target))
        for node in graph.module.graph.find_nodes(op="call_module")
    }
    tensors, attributes = _attributes(graph.module, bodies)
    content: dict[str, Any] = {
        _MARK: VERSION,
        "signature": asdict(graph.signature),
        "attributes": attributes,
        "nodes": encode_graph(graph.module.graph),
        "bodies": {name: encode_graph(_body_graph(name, body)) for name, body in bodies.items()},
        "records": {node.name: node.meta[INFO].to_json() for node in graph.module.graph.nodes if INFO in node.meta},
    }
    if isinstance(graph, DecodeGraph):
        content[_CACHE] = [layer.to_json() for layer in graph.layers]
    weights = folder / f".{_WEIGHTS_FILE}.{os.getpid()}"
    structure = folder / f".{_GRAPH_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, weights)
        content["weights_sha256"] = _sha256(weights)
        structure.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(weights, folder / _WEIGHTS_FILE)
        os.replace(structure, folder / _GRAPH_FILE)
    except OSError as error:
        raise InputError(f"graph cannot be written to {folder}: {error.strerror or error}") from None
    finally:
        weights.unlink(missing_ok=True)
        structure.unlink(missing_ok=True)


def load_graph(folder: Path) -> Graph:
    """Read what :func:`save_graph` wrote.

    Raises
    ------
    InputError
        If a file is missing, cut short, does not belong to the other one, or holds anything malformed or not allowed.
    """
    where = str(folder / _GRAPH_FILE)
    content = _read(folder / _GRAPH_FILE)
    tensors = _read_weights(folder / _WEIGHTS_FILE, content.get("weights_sha256"), where)
    graph, nodes = decode_graph(content.get("nodes"), where)
    attributes = _object(content, "attributes", where)
    tensors |= _without_data(attributes, where)
    root: dict[str, Any] = _build_attributes(attributes, tensors, where)
    for name, body in _object(content, "bodies", where).items():
        root[name] = fx.GraphModule({}, _checked_body(decode_graph(body, f"{where}: body {name!r:.60}")[0], where))
    for node in graph.nodes:
        if node.op in ("get_attr", "call_module"):
            wanted = Tensor if node.op == "get_attr" else nn.Module
            if not isinstance(root.get(str(node.target)), wanted):
                raise InputError(f"{where}: node {node.name!r} uses {node.target!r}, which is not stored")
    if _CACHE not in content and len(graph.find_nodes(op="placeholder")) != 1:
        raise InputError(f"{where}: the graph must have one input")
    _attach_records(_object(content, "records", where), nodes, where)
    signature = _signature(_object(content, "signature", where), where)
    try:
        graph.lint()
        module = fx.GraphModule(root, graph, class_name="CapturedModel")
        if _CACHE in content:
            return DecodeGraph(module, signature, cached_layers(content[_CACHE], graph))
        return Graph(module, signature)
    except (RuntimeError, KeyError, ValueError, AttributeError, SyntaxError) as error:
        raise InputError(f"{where} describes no valid graph: {error}") from None


def _attributes(
    module: fx.GraphModule, bodies: Mapping[str, nn.Module]
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Return the tensors to store, each once, and how every attribute is made of them."""
    tensors: dict[str, Tensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    stored: dict[tuple[Any, ...], str] = {}
    for target in dict.fromkeys(str(node.target) for node in module.graph.find_nodes(op="get_attr")):
        tensor = operator.attrgetter(target)(module)
        transposed = tensor.dim() in (2, 3) and not tensor.is_contiguous() and tensor.mT.is_contiguous()
        plain = tensor.detach().mT if transposed else tensor.detach()
        key: tuple[Any, ...] = (
            (plain.data_ptr(), plain.shape, plain.stride(), plain.dtype) if plain.numel() else (target,)
        )
        if tensor.is_meta:
            key = (id(tensor),)  # no data, hence no address: tied weights are one object
        if key not in stored:
            stored[key] = target
            if not tensor.is_meta:
                tensors[target] = plain.contiguous().clone() if not plain.is_contiguous() else plain
        attributes[target] = {
            "tensor": stored[key],
            "transposed": transposed,
            "parameter": isinstance(tensor, nn.Parameter),
        }
        if tensor.is_meta:
            attributes[target] |= {"shape": list(plain.shape), "dtype": str(plain.dtype).removeprefix("torch.")}
    return _unshared(tensors), attributes


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that are different views of one storage: safetensors refuses to write those."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() > tensor.nbytes
        result[name] = tensor.clone() if shared else tensor
        seen.add(storage.data_ptr())
    return result


def _without_data(attributes: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """Return the tensors of a graph without weights, on the meta device: their shape and type stand in graph.json."""
    made = {}
    for target, entry in attributes.items():
        if isinstance(entry, dict) and "shape" in entry and entry.get("tensor") == target:
            shape, dtype = entry["shape"], _DTYPES.get(str(entry.get("dtype")))
            if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or dtype is None:
                raise InputError(f"{where}: attribute {target!r:.80} has no valid shape and dtype: {entry!r:.120}")
            made[target] = torch.empty(shape, dtype=dtype, device="meta")
    return made


def _build_attributes(data: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    made: dict[tuple[str, bool, bool], Tensor] = {}
    attributes = {}
    for target, entry in data.items():
        if not isinstance(entry, dict) or entry.get("tensor") not in tensors:
            raise InputError(f"{where}: attribute {target!r:.80} names a tensor that {_WEIGHTS_FILE} lacks")
        key = (entry["tensor"], entry.get("transposed") is True, entry.get("parameter") is True)
        if key not in made:
            tensor = tensors[key[0]].mT if key[1] else tensors[key[0]]
            made[key] = nn.Parameter(tensor, requires_grad=tensor.is_floating_point()) if key[2] else tensor
        attributes[target] = made[key]
    return attributes


def _body_graph(name: str, body: nn.Module) -> fx.Graph:
    if not isinstance(body, fx.GraphModule):
        raise InputError(
            f"submodule {name!r} of class {type(body).__name__} is no part of the dialect; it cannot be stored"
        )
    return body.graph


def _checked_body(graph: fx.Graph, where: str) -> fx.Graph:
    if any(node.op in ("get_attr", "call_module") for node in graph.nodes):
        raise InputError(f"{where}: a body may use neither parameters nor other bodies of its own")
    return graph


def _attach_records(records: Mapping[str, Any], nodes: Mapping[str, fx.Node], where: str) -> None:
    seen: set[str] = set()
    for name, record in records.items():
        if name not in nodes:
            raise InputError(f"{where}: record for {name!r:.80}, which is no node")
        try:
            info = NodeInfo.from_json(record)
        except InputError as error:
            raise InputError(f"{where}: record of node {name!r}: {error}") from None
        if info.name in seen or any(site.node != info.name for site in info.sites):
            raise InputError(f"{where}: record of node {name!r} has a name or sites that belong to another node")
        seen.add(info.name)
        nodes[name].meta[INFO] = info


def _signature(data: Mapping[str, Any], where: str) -> Signature:
    types = {"model": str, "kind": str, "batch": int, "sequence": int, "dynamic": bool}
    optional = {"vocabulary": int, "context": int, "features": list, "dtype": str}
    known = {field.name for field in fields(Signature)}
    fits = set(data) <= known and all(type(data.get(key)) is kind for key, kind in types.items())
    fits = fits and all(data.get(key) is None or type(data[key]) is kind for key, kind in optional.items())
    features = data.get("features")
    fits = fits and all(size is None or type(size) is int for size in features or ())
    if not fits or data["kind"] not in ("tokens", "features"):
        raise InputError(f"{where}: signature is malformed: {dict(data)!r:.120}")
    return Signature(**{**data, "features": None if features is None else tuple(features)})


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"graph file {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"graph file {file} is not JSON, or cut short: {error}") from None
    if not isinstance(content, dict) or content.get(_MARK) != VERSION:
        raise InputError(f'graph file {file} is no graph of version {VERSION}: it must hold "{_MARK}": {VERSION}')
    return content


def _read_weights(file: Path, sha256: object, where: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise InputError(f"{where}: weights_sha256 must be 64 hexadecimal digits")
    if not file.is_file():
        raise InputError(f"weight file {file} is missing")
    if (found := _sha256(file)) != sha256:
        raise InputError(
            f"weight file {file} is cut short or not the one saved: SHA-256 {found[:12]}, not {sha256[:12]}"
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"weight file {file} cannot be read: {error}") from None


def _object(content: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be an object, not {value!r:.60}")
    return value


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
