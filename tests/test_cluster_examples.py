"""The examples for clusters say what the command line, the config and each other understand; the batch script runs."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mxhw.flow import load_config
from mxhw.passes.search.place import place_of, split_password

NODES = 3


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the options of `mxhw search`, read as the command line reads them."""
    from mxhw.cli.app import app
    from mxhw.cli.search import search  # noqa: F401 - it registers the command

    command = typer.main.get_command(app).commands["search"]
    return command.make_context("search", list(arguments), resilient_parsing=False).params


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """Programs that stand for a cluster's: srun runs a task on each node, mxhw writes down how it is called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(
        folder / "srun",
        f'[[ $1 == --* ]] && shift\nfor ((i = 0; i < {NODES}; i++)); do SLURM_PROCID=$i "$@" || exit; done',
    )
    program(folder / "mxhw", f'printf "%s\\n" "$@" > {tmp_path}/call-$SLURM_PROCID')
    return folder


def submit(repository: Path, cluster: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(repository / "examples/search_slurm.sbatch"), "my search.toml"],
        env={"PATH": f"{cluster}:{os.environ['PATH']}", "SLURM_JOB_ID": "17", **environment},
        capture_output=True,
        text=True,
    )


def test_the_batch_script_runs_one_command_on_every_node(repository: Path, cluster: Path) -> None:
    url = "postgresql://mxhw@db.example.org/mxhw"
    done = submit(repository, cluster, MXHW_STORAGE=url)
    assert (done.returncode, done.stderr) == (0, "")
    calls = [(cluster.parent / f"call-{i}").read_text().splitlines() for i in range(NODES)]
    assert all(call[0] == "search" for call in calls)
    options = [parsed(call[1:]) for call in calls]
    assert {str(each.pop("out")) for each in options} == {f"build/search-17/node-{i}" for i in range(NODES)}
    assert all(each == options[0] for each in options)
    assert (options[0]["storage"], options[0]["trials"], options[0]["workers"]) == (url, 400, 4)
    assert options[0]["config"] == Path("my search.toml")


def test_the_batch_script_says_what_is_missing(repository: Path, cluster: Path) -> None:
    done = submit(repository, cluster)
    assert done.returncode != 0
    assert "MXHW_STORAGE: the address of the study" in done.stderr


def test_the_batch_script_asks_slurm_for_a_farewell(repository: Path) -> None:
    text = (repository / "examples/search_slurm.sbatch").read_text()
    asked = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.splitlines() if "#SBATCH" in line)
    assert asked["ntasks-per-node"] == "1"
    assert asked["signal"] == "TERM@60"  # to the tasks; with B: only the shell would hear of it
    assert int(asked["cpus-per-task"]) >= 4


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["x.toml", "--workerz", "4"])


def test_the_pods_of_the_kubernetes_example_fit_together(repository: Path, tmp_path: Path) -> None:
    parts = list(yaml.safe_load_all((repository / "examples/search_kubernetes.yaml").read_text()))
    by_kind = {part["kind"]: part for part in parts}
    assert len(by_kind) == len(parts)
    job, server = (by_kind[kind]["spec"]["template"]["spec"] for kind in ("Job", "StatefulSet"))
    (worker,), (database,) = job["containers"], server["containers"]
    assert worker["args"][0] == "search"
    options = parsed(worker["args"][1:])
    place = place_of(options["storage"])
    assert place.kind == "postgresql"
    assert split_password(options["storage"])[1] is None
    assert place.url.endswith(f"@{by_kind['Service']['metadata']['name']}/mxhw")
    assert by_kind["Service"]["spec"]["selector"] == by_kind["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    secrets = [
        {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
        for container in (worker, database)
    ]
    assert secrets[0]["PGPASSWORD"] == secrets[1]["POSTGRES_PASSWORD"]
    for pod, container in ((job, worker), (server, database)):
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    mounted = {each["mountPath"]: each["name"] for each in worker["volumeMounts"]}
    assert str(options["config"].parent) in mounted
    assert str(options["out"]) in mounted
    file = tmp_path / options["config"].name
    file.write_text(by_kind["ConfigMap"]["data"][file.name])
    assert load_config(file).search.trials == 400
    assert float(worker["resources"]["limits"]["cpu"]) >= options["workers"]
    assert by_kind["Job"]["spec"]["parallelism"] > 1
    assert "completions" not in by_kind["Job"]["spec"]
