"""Whether the machine is fit for work now: power, charge and heat, as psutil reads them, against what was asked for.

Owns the readings and the comparison. What a machine has no sensor for holds it up in nothing: without a battery it is
on mains, and without a thermometer it is cool. Memory is a matter of the model, and who waits one of the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import psutil

_PROCESSOR = ("coretemp", "k10temp", "cpu_thermal", "cpu-thermal", "soc_thermal", "zenpower", "acpitz")
"""Sensors near the processor. Only where none of them is there does any other sensor count."""
_PLAUSIBLE = (-50.0, 150.0)


@dataclass(frozen=True, slots=True)
class Readings:
    """`charge` in percent, `temperature` in degrees Celsius; None where there is no sensor."""

    on_battery: bool = False
    charge: float | None = None
    temperature: float | None = None


class Rule(Protocol):
    """What config.toml and agent files may ask for."""

    @property
    def on(self) -> Literal["any", "mains", "battery"]: ...

    @property
    def battery_above(self) -> int | None: ...

    @property
    def temperature_below(self) -> float | None: ...


def read() -> Readings:
    """What the sensors say now. Takes about a millisecond."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Readings(
        on_battery=battery is not None and battery.power_plugged is False,
        charge=None if battery is None else float(battery.percent),
        temperature=_temperature(),
    )


def obstacle(readings: Readings, *rules: Rule) -> str | None:
    """Why no run is worked now, in words; None where all rules hold."""
    for rule in rules:
        is_on = "battery" if readings.on_battery else "mains"
        if rule.on not in ("any", is_on):
            return f"on {is_on} power, and power.on is {rule.on}"
        if rule.battery_above is not None and readings.charge is not None and readings.charge <= rule.battery_above:
            return f"the battery is at {readings.charge:.0f} %, not above {rule.battery_above} %"
        limit = rule.temperature_below
        if limit is not None and readings.temperature is not None and readings.temperature >= limit:
            return f"it is {readings.temperature:.0f} °C warm, not below {limit:g} °C"
    return None


def _temperature() -> float | None:
    """The warmest sensor of the processor, else the warmest of all."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    near = [name for name in _PROCESSOR if name in sensors]
    low, high = _PLAUSIBLE
    read = (one.current for name in near or sensors for one in sensors[name])
    return max((degrees for degrees in read if low < degrees < high), default=None)
