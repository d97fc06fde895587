"""Descriptions for FPGA tools load again, name files that exist, and lead the tools to every file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mxhw.sim
from mxhw import errors
from mxhw.errors import InputError, MissingToolError
from mxhw.passes.emit.flow import FlowTarget, write, write_flow
from mxhw.passes.emit.flow.interface import axi_streams
from mxhw.passes.emit.flow.projects import require_edalize
from mxhw.rtl_templates.axi import AxiTop
from mxhw.sim import lint
from mxhw.sim.cocotb_engine import bench_environment
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.synthesis import YosysError
from mxhw.synthesis.yosys import run_yosys
from tests.passes.emit.flow.behind_axi import run_behind_axi
from tests.rtl_templates.axi.simulate import need
from tests.sim.dataflow_toy import write_dataflow_toy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = write_dataflow_toy(tmp_path_factory.mktemp("flow") / "toy", hash="1234567890abcdef" * 4, version="0.1.0")
    shutil.copy(Path(mxhw.sim.__file__).with_name("dataflow_bench.py"), place / "bench.py")
    written = write_flow(place, bus=32)
    if written.note:
        pytest.skip(written.note)
    return place


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_every_named_file_exists(folder: Path) -> None:
    edam = yaml.safe_load((folder / "toy.eda.yml").read_text())
    assert edam["toplevel"] == "toy"
    kinds = {file["name"]: file["file_type"] for file in edam["files"]}
    assert all((folder / name).is_file() for name in kinds)
    assert kinds["images/norm.hex"] == "mem"
    assert lines(folder / "files.f") == [name for name, kind in kinds.items() if kind == "verilogSource"]
    assert "create_clock -name aclk -period 10.000 [get_ports aclk]" in lines(folder / "toy.xdc")
    assert (folder / "toy.sdc").read_text() == (folder / "toy.xdc").read_text()
    core = (folder / "toy.core").read_text()
    assert core.startswith("CAPI=2:\n")
    described = yaml.safe_load(core)
    for fileset in described["filesets"].values():
        for file in fileset["files"]:
            assert (folder / (file if isinstance(file, str) else next(iter(file)))).is_file()
    assert set(described["targets"]) == {"default", "sim", "synth", "ecp5"}
    assert "0x00C" in (folder / "REGISTERS.txt").read_text()


def test_the_same_design_gives_the_same_bytes_and_no_paths_of_this_machine(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "toy"
    shutil.copytree(folder, other)
    for path in other.glob("projects/*/*"):
        path.unlink()
    written = write_flow(other, bus=32)
    assert len(written.files) == len(set(written.files)) >= 16
    for file in written.files:
        assert (other / file).read_bytes() == (folder / file).read_bytes()
        text = (other / file).read_text()
        assert str(Path.home()) not in text
        assert str(tmp_path) not in text
        assert str(folder) not in text


def test_the_top_is_clean(folder: Path) -> None:
    assert lint([folder / file for file in lines(folder / "files.f")], "toy") == ""


def test_streams_without_a_constant_length_have_no_beats(folder: Path) -> None:
    beats = {stream.name: stream.beats for stream in axi_streams(DataflowDesign.load(folder))}
    assert beats == {"x": 4, "positions": 1, "layers_0_add": 4, "layers_0_scores": None}


def test_the_design_is_exact_behind_axi(folder: Path, tmp_path: Path) -> None:
    need("icarus")
    names = ["streams_are_exact_under_pauses", "identity_and_shapes_are_those_of_the_design"]
    assert run_behind_axi(folder, tmp_path, names, bus=32) == dict.fromkeys(names, "")


STUBS = """
proc unknown {args} { puts $args }
proc yosys {args} {}
"""


@pytest.mark.slow
def test_the_yosys_project_reads_the_whole_design(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyosys", reason="needs pyosys: pip install 'mxhw[synth]'")
    if shutil.which("tclsh") is None:
        pytest.skip("needs tclsh")
    shutil.copytree(folder, tmp_path / "toy")
    project = tmp_path / "toy" / "projects" / "ecp5"
    (project / "run.tcl").write_text(STUBS + (project / "edalize_yosys_template.tcl").read_text())
    said = subprocess.run(["tclsh", "run.tcl"], cwd=project, capture_output=True, text=True, check=True).stdout
    commands = [line.replace("{", "").replace("}", "") for line in said.splitlines()]
    assert any(line.startswith("synth_ecp5") for line in commands)
    # Up to where the hierarchy is known and the memories' files have been read.
    commands = [line.replace("synth_ecp5", "synth_ecp5 -run begin:flatten") for line in commands]
    commands = [line for line in commands if not line.startswith("write_json")]
    subprocess.run(["make", "pre_build"], cwd=project, capture_output=True, check=True)
    run_yosys(commands, project)
    (project / "images" / "norm.hex").unlink()
    with pytest.raises(YosysError, match=r"norm\.hex"):
        run_yosys(commands, project)
    makefile = (project / "Makefile").read_text()
    assert "--85k --package CABGA756 --speed 6 --freq 100 --lpf-allow-unconstrained" in makefile


VIVADO = """
proc unknown {args} { puts $args }
proc get_runs {name} { return $name }
proc read_verilog {file} { if {![file isfile $file]} { error "no $file" } }
proc read_mem {file} { if {![file isfile $file]} { error "no $file" } }
proc read_xdc {file} { if {![file isfile $file]} { error "no $file" } }
"""


def test_the_vivado_project_finds_files_and_brings_the_images(folder: Path, tmp_path: Path) -> None:
    if shutil.which("tclsh") is None:
        pytest.skip("needs tclsh")
    shutil.copytree(folder, tmp_path / "toy")
    project = tmp_path / "toy" / "projects" / "vivado"
    (project / "run.tcl").write_text(VIVADO + "source toy.tcl\n")
    said = subprocess.run(["tclsh", "run.tcl"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert "set_property part xczu7ev-ffvc1156-2-e" in said
    hook = next(line for line in said.splitlines() if "STEPS.SYNTH_DESIGN.TCL.PRE" in line).split()[2]
    # As Vivado does: the hook runs where synthesis runs.
    place = project / "toy.runs" / "synth_1"
    place.mkdir(parents=True)
    subprocess.run(["tclsh", hook], cwd=place, check=True)
    assert (place / "images" / "norm.hex").read_text() == (folder / "images" / "norm.hex").read_text()


def fusesoc(folder: Path, target: str, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("fusesoc", reason="needs fusesoc: pip install 'mxhw[flow]'")
    program = Path(sys.executable).with_name("fusesoc")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(work), "XDG_CACHE_HOME": str(work), "HOME": str(work)}
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    environment["GPI_USERS"] = bench_environment("", work, "")["GPI_USERS"]
    command = [str(program), "--cores-root", str(folder), "run", f"--target={target}", f"--work-root={work / target}"]
    return subprocess.run(
        [*command, *options, "mxhw:designs:toy"], cwd=work, env=environment, capture_output=True, text=True, check=False
    )


def test_fusesoc_sets_up_vivado_and_ecp5(folder: Path, tmp_path: Path) -> None:
    for target, made in (("synth", "mxhw_designs_toy_0.1.0.tcl"), ("ecp5", "edalize_yosys_procs.tcl")):
        done = fusesoc(folder, target, tmp_path, "--setup")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / target / "images" / "norm.hex").is_file()
        script = (tmp_path / target / made).read_text()
        assert "toy_core.v" in script
    assert "xczu7ev" in (tmp_path / "synth" / "mxhw_designs_toy_0.1.0.tcl").read_text()


@pytest.mark.slow
def test_fusesoc_runs_the_bench(folder: Path, tmp_path: Path) -> None:
    need("icarus")
    done = fusesoc(folder, "sim", tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "PASS=1 FAIL=0" in said, said
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    *most, last = lines(other / "beats" / "add.hex")
    (other / "beats" / "add.hex").write_text("\n".join([*most, f"{int(last, 16) ^ 1:x}"]))
    done = fusesoc(other, "sim", tmp_path / "other")
    assert "PASS=0 FAIL=1" in done.stdout + done.stderr


def test_without_edalize_a_line_says_how_to_get_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "toy")
    monkeypatch.setattr(write, "find_spec", lambda name: None)
    monkeypatch.setattr(write, "design_top", lambda design, bus: AxiTop("", "", ()))
    written = write_flow(tmp_path / "toy", bus=32)
    assert "pip install 'mxhw[flow]'" in written.note
    assert not any("projects" in file for file in written.files)
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"edalize.*pip install 'mxhw\[flow\]'"):
        require_edalize()


def test_bad_targets_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part must be a device"):
        FlowTarget(part="a b; exec rm")
    with pytest.raises(InputError, match="clock_mhz must be from 1 to 1000, not 0"):
        FlowTarget(clock_mhz=0)
    with pytest.raises(InputError, match=r"design\.json"):
        write_flow(tmp_path)
    with pytest.raises(InputError, match="hash of design toy must be 64 hex digits, not 'abc'"):
        write_flow(tmp_path, DataflowDesign.load(folder).model_copy(update={"hash": "abc"}))
    assert not list(tmp_path.iterdir())
