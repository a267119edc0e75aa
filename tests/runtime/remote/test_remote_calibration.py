"""Calibration of a bundle whose last stage runs on a server: the round trip is that exit's cost, and the result is kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.calibration.stored import load_calibration
from edgeexit.errors import InputError
from edgeexit.runtime import load_quietly
from tests.networks import images
from tests.support.command_line import run_edgeexit
from tests.support.v2_server import serve_stages

DELAY_S = 0.004


def test_the_round_trip_is_the_cost_of_the_exits_there(bundle_path: Path, tmp_path: Path) -> None:
    """Calibrated with the server, the last exit takes at least its delay; loading finds the result with the server, and not without."""
    np.savez(tmp_path / "data.npz", x=images(150))
    with load_quietly(bundle_path, mode="staged") as local, serve_stages(local.bundle) as server:
        server.delay_s = DELAY_S
        remote = f"3={server.url(3)}"
        done = run_edgeexit(
            *("calibrate", bundle_path, "--data", tmp_path / "data.npz", "--target", "offload<=30%"),
            *("--remote", remote, "--remote-timeout", "30", "--mode", "staged", "--seconds", "0.2", "--name", "up"),
        )
        assert done.returncode == 0, done.stderr
        with edgeexit.load(bundle_path, mode="staged", remote={3: server.url(3)}) as runner:
            name, thresholds = runner.calibration_name, runner.thresholds
            found = runner.batch(images(300, seed=1))
    result = load_calibration(bundle_path, "up")
    first, second, last = result.exits
    with load_quietly(bundle_path, mode="staged") as local:
        alone = local.calibration_name

    assert ("up", None) == (name, alone)
    assert result.key.endswith("-remote3")
    assert max(first.mean_s, second.mean_s) < DELAY_S < last.mean_s
    assert thresholds == pytest.approx(list(result.thresholds))
    assert sum(p.exit == 3 for p in found) / len(found) <= 0.32


def test_thresholds_of_the_network_in_one_place_are_used_and_said_to_be(bundle_path: Path) -> None:
    """Where only those are there: answers and exits hold, and a warning says that latencies do not."""
    x = images(200)
    with load_quietly(bundle_path, mode="staged") as local, serve_stages(local.bundle) as server:
        edgeexit.calibrate(local, x, target="rate1>=0.2", seconds=0.1, save_as="here", force=True)
        with pytest.warns(edgeexit.CalibrationWarning, match="--remote 3=URL"):
            runner = edgeexit.load(bundle_path, mode="staged", remote={3: server.url(3)})
    with runner:
        assert "here" == runner.calibration_name
        assert local.thresholds == runner.thresholds
        with pytest.raises(InputError, match="gives no answer"):  # the server has gone
            edgeexit.calibrate(runner, x, target="mean<=10s", seconds=0.1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--remote", "http://h/v2/models/m"), "write 3=http"),
        (("--remote", "3=http://h/v2/models/m", "--remote", "3=http://other/v2/models/m"), "twice"),
        (("--remote-wire", "int8"), "--remote 3=URL"),
    ],
)
def test_a_url_for_each_stage_there_is_asked_for(bundle_path: Path, words: tuple[str, ...], reason: str) -> None:
    """Anything else is refused with the form, before data are read."""
    done = run_edgeexit("calibrate", bundle_path, "--data", "x.npz", "--target", "mean<=1s", *words)

    assert (2, "") == (done.returncode, done.stdout)
    assert reason in done.stderr
