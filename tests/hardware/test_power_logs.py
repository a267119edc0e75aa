"""Logs of external power meters in the forms in which they come."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.hardware.power.external import CsvRecorder
from edgeexit.hardware.power.logs import parse_time, read_log

PATH = Path("log.csv")
NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc).timestamp()


def read(text: str) -> list[tuple[float, float]]:
    return [(r.time_s, r.values[0]) for r in read_log(text, PATH)]


@pytest.mark.parametrize(
    "text",
    [
        "time_s,power_w\n0,1.5\n1,2\n",
        "time_s;power_w\n0,0;1,5\n1,0;2,0\n",
        "time_s\tpower_w\n0\t1.5\n1\t2\n",
        "# INA219 on the 5 V rail\ntime_s,power_w\n0,1.5\n\n# restarted\n1,2\n",
        "# time_s power_w\n0.0 1.5\n1.0 2.0\n",
        'Time (s),Power (mW)\n0,"1500,0"\n1,2000\n',
        "time [ms];Volts;Amps\n0;5;0,3\n1000;5;0,4\n",
        "time_us,Watts,note\n0,1.5,a\n1000000,2,b\n",
    ],
)
def test_a_table_is_read_whatever_its_separator_and_units(text: str) -> None:
    """1.5 W at 0 s, 2 W at 1 s."""
    assert [pytest.approx((0.0, 1.5)), pytest.approx((1.0, 2.0))] == read(text)


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-28T12:00:00.25Z",
        "2026-11-28 13:00:00.250+01:00",
        "2026/11/28T12:00:00,25Z",
        "2026-11-28T06:30:00.25-0530",
    ],
)
def test_dates_are_seconds_since_1970(written: str) -> None:
    """ISO 8601 with its variants; a zone counts."""
    assert NOON + 0.25 == pytest.approx(parse_time(written), abs=1e-6)


def test_a_date_without_a_zone_is_local_time() -> None:
    """As meters on the same desk write it; month first with PTDaemon and tegrastats."""
    local = datetime(2026, 11, 28, 12, 0, 1).timestamp()

    assert local == parse_time("2026-11-28 12:00:01") == parse_time("11-28-2026 12:00:01")


@given(st.sampled_from([1.0, 1e3, 1e6, 1e9]), st.integers(1_000_000_000, 4_000_000_000))
def test_numbers_since_1970_are_seconds_milli_micro_or_nanoseconds_by_their_size(per_second: float, at: int) -> None:
    """None of them is taken for another."""
    assert at == pytest.approx(read(f"timestamp,power_w\n{int(at * per_second)},1\n")[0][0], rel=1e-9)


def test_powers_that_are_no_finite_numbers_are_missing() -> None:
    """An energy of infinity would spoil the sum."""
    values = [value for _, value in read("time_s,power_w\n0,nan\n1,2\n2,inf\n")]

    assert [True, False, True] == np.isnan(values).tolist()


@pytest.mark.parametrize("time", ["nan", "inf", "yesterday", "2026-13-01T00:00:00Z", ""])
def test_a_time_that_is_none_names_its_line(time: str) -> None:
    """With what is understood."""
    with pytest.raises(InputError, match="line 2"):
        read(f"time_s,power_w\n{time},1\n")


def test_ptdaemon_is_read_as_it_writes() -> None:
    """Keys and values in turn; -1 is no reading."""
    found = read(
        "Time,11-28-2026 12:00:00.500,Watts,5.250000,Volts,230.1,Amps,0.03,PF,0.9,Mark,notset\n"
        "Time,11-28-2026 12:00:01.500,Watts,-1.000000,Volts,230.1,Amps,0.03,PF,0.9,Mark,notset\n"
    )

    assert 5.25 == found[0][1]
    assert np.isnan(found[1][1])
    assert 1.0 == pytest.approx(found[1][0] - found[0][0])


LINE = "11-28-2026 12:00:0{} RAM 2448/7620MB (lfb 1x4MB) CPU [5%@729] VDD_IN {}mW/4000mW VDD_CPU_GPU_CV 800mW/800mW VDD_SOC 1mW/1mW"


def test_tegrastats_gives_the_boards_total_and_spreads_the_lines_of_a_second() -> None:
    """Its dates are whole seconds."""
    found = read("\n".join([LINE.format(0, 5000), LINE.format(0, 6000), LINE.format(1, 4500)]) + "\n")

    assert [5.0, 6.0, 4.5] == [value for _, value in found]
    assert [0.0, 0.5, 1.0] == pytest.approx([time - found[0][0] for time, _ in found])


def test_the_total_of_an_agx_orin_is_the_sum_of_its_rails() -> None:
    """As its device profile says; the memory's rail lies inside another."""
    line = "11-28-2026 12:00:00 RAM 1/2MB VDD_GPU_SOC 2800mW/2mW VDD_CPU_CV 800mW/8mW VIN_SYS_5V0 3400mW/3mW VDDQ_VDD2_1V8AO 500mW/5mW\n"

    assert 7.0 == pytest.approx(read(line)[0][1])


@pytest.mark.parametrize(
    "line",
    ["RAM 1/2MB VDD_IN 4000mW/4000mW", "11-28-2026 12:00:00 RAM 1/2MB VDD_UNKNOWN 4mW/4mW", "RAM 1/2MB POM_5V_IN 1/1"],
)
def test_tegrastats_without_dates_or_a_known_total_names_the_remedy(line: str) -> None:
    """Older releases write no dates."""
    with pytest.raises(InputError, match="log a table with time_s and power_w"):
        read(line + "\n")


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing yet\n", "a;b\n1;2\n", "time_s,power_w\n1\n", "Time,x,Watts,y\n"]
)
def test_what_is_no_log_is_one_clear_error(text: str) -> None:
    """Never a traceback."""
    with pytest.raises(InputError, match=r"log\.csv"):
        read(text)


@given(st.text(alphabet="0123456789,;.\t\n#:-TZtimepowr_s wmWRAM/", max_size=120))
def test_any_text_is_read_or_a_clear_error(text: str) -> None:
    """Half-written and foreign files."""
    with suppress(InputError):
        assert all(np.isfinite(time) for time, _ in read("time_s,power_w\n" + text))


def test_a_header_alone_is_enough_to_start(tmp_path: Path) -> None:
    """Meters write rows later."""
    path = tmp_path / "log.csv"
    path.write_bytes("\ufefftime_s;power_w\r\n".encode())

    CsvRecorder(path).start()
