"""Rewrites emitted Verilog: the hex files of its memories become parameters of its modules.

Yosys writes one module a component, whose memories name their files:

    module \\unit.gains (enable, data, address, clk);     module \\unit.gains  #(
      …                                                     parameter GAINS_FILE = ""
      mxhw_rom #(                                         ) (enable, data, address, clk);
        .FILE("gains.hex"),                     becomes     …
      …                                                     mxhw_rom #(
    module unit(…);                                           .FILE(GAINS_FILE),
      …                                                     …
      \\unit.gains  gains (                                module unit #(
                                                            parameter GAINS_FILE = ""
                                                          ) (…);
                                                            …
                                                            \\unit.gains  #(
                                                              .GAINS_FILE(GAINS_FILE)
                                                            ) gains (

A file is one parameter of every module that has the memory, or contains one that has, so that an instance of the
outermost one says which file it is. There is no default: yosys opens the files of modules with default parameters, too,
whether they are used or not.
"""

import re

from mxhw.rtl_templates.checks import require

__all__ = ["file_parameter", "with_file_parameters"]

_HEADER = re.compile(r"^module (\\\S+ |\w+) ?\(", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\\\S+ |\w+) (\\\S+ |\w+) ?\($", re.MULTILINE)
_FILE = re.compile(r'\.FILE\("([^"]*)"\)')
_END = re.compile(r"(?<=endmodule\n)")


def file_parameter(file: str) -> str:
    """Return the parameter for a file: that for ``gains.hex`` is GAINS_FILE."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', file.removesuffix('.hex')).strip('_').upper()}_FILE"


def with_file_parameters(text: str) -> str:
    """Return ``text`` with a parameter for each file of its memories in every module that leads to them.

    Raises
    ------
    InputError
        If two files would have the same parameter.
    """
    parts = _END.split(text)
    modules = {found[1]: part for part in parts if (found := _HEADER.search(part))}
    files = {name: set(_FILE.findall(part)) for name, part in modules.items()}
    inner = {name: {m[1] for m in _INSTANCE.finditer(part) if m[1] in modules} for name, part in modules.items()}
    # Modules make a tree, so that a pass per level reaches the root.
    while True:
        grown = {name: found.union(*(files[module] for module in inner[name])) for name, found in files.items()}
        if grown == files:
            break
        files = grown
    every = set().union(*files.values())
    names = {file: file_parameter(file) for file in sorted(every)}
    require(len(set(names.values())) == len(names), "memory files", "different in letters and digits", sorted(names))
    return "".join(_rewritten(part, files, names) for part in parts)


def _rewritten(part: str, files: dict[str, set[str]], names: dict[str, str]) -> str:
    def header(found: re.Match[str]) -> str:
        own = sorted(files[found[1]])
        lines = ",\n".join(f'  parameter {names[file]} = ""' for file in own)
        return f"module {found[1]} #(\n{lines}\n) (" if own else found[0]

    def instance(found: re.Match[str]) -> str:
        own = sorted(files.get(found[1], ()))
        lines = ",\n".join(f"    .{names[file]}({names[file]})" for file in own)
        return f"  {found[1]} #(\n{lines}\n  ) {found[2].rstrip()} (" if own else found[0]

    part = _FILE.sub(lambda found: f".FILE({names[found[1]]})", part)
    return _INSTANCE.sub(instance, _HEADER.sub(header, part))
