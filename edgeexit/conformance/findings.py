"""What a report from another machine says is wrong there, in plain words, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexit.backends.self_check import SelfCheck
from edgeexit.conformance.field_report import FieldReport
from edgeexit.conformance.report import ConformanceReport
from edgeexit.hardware.checks import MachineCheck
from edgeexit.util.units import format_ratio
from edgeexit.util.units import seconds as as_time

_MEANINGS = {
    "it opens": "engines cannot be built or loaded",
    "it compiles and runs": "a network cannot be compiled there",
    "logits are the model's": "the backend computes other values than the network",
    "scores are the criterion's": "the criterion at the end of a stage computes other values",
    "decisions are the reference's": "inputs leave at other exits",
    "accuracy is the model's": "answers are wrong more often than the network's own",
    "thresholds hold at their ends": "a comparison with a threshold is wrong",
    "nothing is left over from the input before": "an answer depends on the input before it: work is read before it is done",
    "clones are apart": "two runners share a buffer",
    "batches give the same answers": "several inputs at once leave elsewhere than one by one",
    "the backbone is the last exit": "the network run straight gives other values",
    "stages share one scratch memory": "a stage overwrites what another one made",
}
_SLOWEST_TAX = 1.2
_CUDA_13 = 13


def explain_field_report(report: FieldReport) -> list[MachineCheck]:
    """Findings, faults first; one that is `ok` where there are none."""
    found = [*_explain_checks(report), *_explain_versions(report)]
    if report.conformance is None:
        found.append(_explain_missing_suite(report))
    else:
        found += [*_explain_failures(report.conformance), *_explain_deciders(report.conformance)]
        found += _explain_times(report.conformance)
    order = {"fail": 0, "warn": 1, "ok": 2}
    found.sort(key=lambda finding: order[finding.status])
    return found or [MachineCheck("everything", "ok", "no fault is found in this report")]


def _explain_checks(report: FieldReport) -> Iterator[MachineCheck]:
    yield from (check for check in report.checks if check.status != "ok")


def _explain_versions(report: FieldReport) -> Iterator[MachineCheck]:
    """Versions that do not go together."""
    bindings = report.packages.get("cuda-bindings", "")
    release = report.facts.get("l4t", "")
    if bindings.startswith(f"{_CUDA_13}.") and release.lstrip("R").startswith("36"):
        fix = 'pip install "cuda-python<13" there'
        yield MachineCheck("CUDA packages", "warn", f"cuda-bindings {bindings} with JetPack 6, whose CUDA is 12.6", fix)
    runtimes = [name for name in report.packages if name.startswith("onnxruntime")]
    if len(runtimes) > 1:
        fix = "uninstall all of them, then install the one that is wanted: they write into one folder"
        yield MachineCheck("ONNX Runtime", "warn", f"installed twice: {', '.join(runtimes)}", fix)


def _explain_missing_suite(report: FieldReport) -> MachineCheck:
    blocked = [check.name for check in report.checks if check.status == "fail"]
    why = f"because of: {', '.join(blocked)}" if blocked else "for a reason that the report does not hold"
    return MachineCheck(
        "conformance", "fail", f"{report.backend} did not run there, {why}", "mend that, and run doctor again"
    )


def _explain_failures(suite: ConformanceReport) -> Iterator[MachineCheck]:
    """Each check that failed, once, with the networks where it did."""
    failed: dict[str, list[tuple[str, SelfCheck]]] = {}
    for result in suite.results:
        for check in result.checks:
            if check.passed is False:
                where = " ".join(filter(None, (result.network, result.mode)))
                failed.setdefault(check.name, []).append((where, check))
    networks = len({result.network for result in suite.results})
    for name, cases in failed.items():
        meaning = _MEANINGS.get(name, "a check of the backend itself failed")
        places = list(dict.fromkeys(where for where, _ in cases))
        shown = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
        everywhere = len({where.split()[0] for where in places}) == networks and networks > 1
        fix = (
            "every network is concerned: look at the versions and the driver first"
            if everywhere
            else "only these are concerned: look at what they have and the others do not; please report it with this file"
        )
        yield MachineCheck(name, "fail", f"{meaning} ({shown}): {cases[0][1].detail}", fix)


def _explain_deciders(suite: ConformanceReport) -> Iterator[MachineCheck]:
    """Ways to decide that cannot be had; the answers are the same, the latency is not."""
    reasons: dict[str, str] = {}
    for result in suite.results:
        for check in result.checks:
            if check.name.startswith("decides") and check.passed is None:
                reasons.setdefault(check.name, check.detail)
    for name, detail in reasons.items():
        fix = "answers are the same without it; only time is lost between stages"
        yield MachineCheck(name, "warn", detail, fix)


def _explain_times(suite: ConformanceReport) -> Iterator[MachineCheck]:
    """Networks whose stages take much longer than the network run straight."""
    for result in suite.results:
        for check in result.checks:
            backbone = check.values.get("backbone_s")
            last = max((name for name in check.values if name.startswith("staged_")), default=None)
            if check.name != "times" or not backbone or last is None:
                continue
            ratio = check.values[last] / backbone
            if ratio > _SLOWEST_TAX:
                text = f"{result.network} to its last exit takes {as_time(check.values[last])}, run straight {as_time(backbone)}"
                fix = "small networks lose most; compile chooses between staged and fused by measurement"
                yield MachineCheck("times", "warn", f"{text}: {format_ratio(ratio)} times as long", fix)
