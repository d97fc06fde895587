"""Rewrites emitted Verilog: the next value of a register is assigned in the register's own clocked process.

Yosys writes a combinational process for every next value and a clocked one that takes it over:

    always @(posedge clk)                      always @(posedge clk) begin
      sum <= \\$1 ;                               if (enable) begin
    always @* begin                                sum <= \\$2 ;
      \\$1  = sum;                      becomes     end
      if (enable) begin \\$1  = \\$2 ; end         if (rst) begin
      if (rst) begin \\$1  = 4'h0; end               sum <= 4'h0;
    end                                          end
                                               end

That is what one would write, and simulators are quicker with it: an event-driven one as well as Verilator evaluates the
combinational process again whenever an input such as the reset may have changed, and the clocked one at the edge only.
What does not have exactly this shape is left as it is.
"""

import re
from collections import Counter

__all__ = ["with_clocked_next_values"]

_TAKEN_OVER = re.compile(r"  always @\(posedge clk\)\n    (\\\S+ |\w+) <= (\\\$\d+ );\n")
_PROCESS = re.compile(r"  always @\* begin\n((?:    .*\n)+?)  end\n")
_TIME_ZERO = re.compile(r"    if \((\\\$auto\$verilog_backend\S+ )\) begin end\n")
_ASSIGNMENT = re.compile(r"^( +)(\\\S+ |\w+)(\[[\d:]+\])? ?= (?=.*;$)", re.MULTILINE)
_DECLARATION = re.compile(r"  reg (?:\[\d+:0\] )?(\\\S+ ) ?(?:= 0)?;\n")
_MODULE = re.compile(r"(?<=endmodule\n)")
_ESCAPED = re.compile(r"\\\S+ ")


def with_clocked_next_values(text: str) -> str:
    """Return ``text`` with every next value that has the shape above assigned in its register's process."""
    return "".join(_module(part) for part in _MODULE.split(text))


def _module(text: str) -> str:
    registers = {value: register for register, value in _TAKEN_OVER.findall(text)}
    uses = Counter(_ESCAPED.findall(text))
    moved: set[str] = set()

    def clocked(process: re.Match[str]) -> str:
        body = _TIME_ZERO.sub("", process[1])
        targets = Counter(assignment[2] for assignment in _ASSIGNMENT.finditer(body))
        first = _ASSIGNMENT.match(body)
        value = next(iter(targets), None)
        # Declared, taken over, assigned here, and nothing else.
        if value not in registers or len(targets) > 1 or uses[value] != targets[value] + 2 or not first or first[3]:
            return process[0]
        register = registers[value]
        moved.add(value)
        hold = f"    {value} = {register};\n"
        body = body.removeprefix(hold)
        body = _ASSIGNMENT.sub(lambda a: f"{a[1]}{register}{a[3] or ''} <= ", body)
        return f"  always @(posedge clk) begin\n{body}  end\n"

    text = _PROCESS.sub(clocked, text)
    text = _TAKEN_OVER.sub(lambda found: "" if found[2] in moved else found[0], text)
    uses = Counter(_ESCAPED.findall(text))
    return _DECLARATION.sub(lambda found: "" if _unused(found[1], moved, uses) else found[0], text)


def _unused(name: str, moved: set[str], uses: Counter[str]) -> bool:
    return name in moved or (name.startswith(r"\$auto$verilog_backend") and uses[name] == 1)
