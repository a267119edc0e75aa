"""What `edgeexit compile --backend auto` measured and chose on one device, as the manifest keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class BackendComparison:
    """Backends timed stage by stage, and the best mix of them against the best single one.

    Attributes:
        chosen: the backend that was kept; one name a stage, joined by `+`, where it is a mix.
        single: the fastest single backend.
        mix: the fastest backend of each stage; null where one backend is the fastest of all stages.
        ratio, ratio_low, ratio_high: time of the mix over that of `single`, mean over the exits, with its 95 % interval over processes;
            null where there is no mix.
        stages_s: by backend, the median time of each stage by itself, seconds; null for a stage that the backend cannot build.
        mean_s: by backend and mode (`onnxruntime staged`), the mean over the exits of the time to leave there, seconds.
        left_out: by backend, why it was not tried, or not kept.
        created: UTC, ISO 8601.
    """

    chosen: str
    single: str
    mix: str | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    stages_s: dict[str, tuple[float | None, ...]]
    mean_s: dict[str, float]
    left_out: dict[str, str] = field(default_factory=dict)
    created: str = ""
