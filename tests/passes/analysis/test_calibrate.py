"""Recorded statistics equal what is computed directly from captured tensors, and merge over windows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis import Calibrate, CalibrateConfig
from mxhw.passes.analysis.statistics import RunningStatistics


@pytest.fixture(scope="module")
def calibrated(tiny: Graph, windows: Tensor):
    return Calibrate(CalibrateConfig(windows=windows))(tiny)


def linear_inputs(model: nn.Module, windows: Tensor, name: str) -> Tensor:
    """Return what a linear layer of the eager model is given, caught by a hook."""
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        for window in windows:
            model(window[None])
    handle.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj", "lm_head"])
def test_inputs_match_a_hook_on_the_eager_model(calibrated, tiny_model, windows, name: str) -> None:
    x = linear_inputs(tiny_model, windows, name).double()
    seen = calibrated.graph.sites[f"{name}:input"].statistics
    assert seen["count"] == x.numel()
    assert seen["amax"] == x.abs().max()
    assert seen["mean"] == pytest.approx(float(x.mean()), abs=1e-12)
    assert seen["rms"] == pytest.approx(float(x.square().mean().sqrt()))
    centred = x - x.mean()
    assert seen["kurtosis"] == pytest.approx(float(centred.pow(4).mean() / centred.square().mean() ** 2))
    exact = torch.quantile(x.abs().flatten(), 0.999, interpolation="higher")
    assert seen["p99_9"] == pytest.approx(float(exact), rel=2**-7)
    assert seen["outlier_ratio"] == pytest.approx(seen["amax"] / seen["p99_9"])


def test_weights_are_counted_once_and_every_site_is_measured(calibrated, tiny: Graph, windows: Tensor) -> None:
    weight = tiny.weight("lm_head")
    seen = calibrated.graph.sites["lm_head:weight"].statistics
    assert seen["count"] == weight.numel()
    assert seen["rms"] == pytest.approx(float(weight.detach().double().square().mean().sqrt()))
    assert all(site.statistics for site in calibrated.graph.sites.values())
    probabilities = calibrated.graph.sites["model.layers.0.self_attn.pv:lhs"].statistics
    assert probabilities["mean"] == pytest.approx(1 / windows.shape[1], rel=1e-6)
    assert calibrated.report["sites"] == len(tiny.sites)


def test_given_graph_keeps_no_statistics(calibrated, tiny: Graph) -> None:
    assert all(not site.statistics for site in tiny.sites.values())


def test_statistics_merge_over_any_cut(windows: Tensor) -> None:
    x = torch.randn(1000) * torch.linspace(1e-6, 1e3, 1000)
    whole, parts = RunningStatistics(), RunningStatistics()
    whole.add(x)
    for piece in x.split([1, 333, 666]):
        parts.add(piece)
    assert parts.summary() == pytest.approx(whole.summary())


def test_other_data_gives_other_statistics(calibrated, tiny: Graph, windows: Tensor) -> None:
    other = Calibrate(CalibrateConfig(windows=windows[:1]))(tiny).graph.sites["lm_head:input"].statistics
    assert other["amax"] != calibrated.graph.sites["lm_head:input"].statistics["amax"] or other["count"] != 0
    assert other["rms"] != calibrated.graph.sites["lm_head:input"].statistics["rms"]


def test_a_value_that_is_not_finite_names_its_site(tiny_model: nn.Module, windows: Tensor) -> None:
    import copy

    from mxhw.models import capture

    broken = copy.deepcopy(tiny_model)
    with torch.no_grad():
        broken.model.layers[1].mlp.up_proj.weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"site 'model\.layers\.1\.mlp\.up_proj:weight' sees .* not finite"):
        Calibrate(CalibrateConfig(windows=windows))(capture(broken, sequence=16))


def test_windows_of_wrong_shape_are_refused(windows: Tensor) -> None:
    with pytest.raises(InputError, match=r"must be \[windows, tokens\], not \[16\]"):
        replace(CalibrateConfig(windows=windows), windows=windows[0])
