"""Prints how this machine is as JSON: from /proc and /sys on Linux, from sysctl and vm_stat on macOS.

What cannot be told is left out. The functions that read a text take it as their argument.
"""

import json
import os
import re
import subprocess
import sys
import time

SAMPLE_SECONDS = 0.2


def main() -> int:
    try:
        found = on_macos() if sys.platform == "darwin" else on_linux()
    except (OSError, LookupError, ValueError) as error:
        print(f"this machine does not say how it is: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


def on_linux() -> dict:
    memory = memory_of(read("/proc/meminfo"))
    before = read("/proc/stat")
    time.sleep(SAMPLE_SECONDS)
    found = {
        **load(os.cpu_count() or 1, float(read("/proc/loadavg").split()[0])),
        "processor_percent": busy_percent(before, read("/proc/stat")),
        "memory_total_mb": memory["MemTotal"] // 1000,
        "memory_available_mb": memory["MemAvailable"] // 1000,
        "swap_used_mb": (memory["SwapTotal"] - memory["SwapFree"]) // 1000,
        "uptime_hours": round(float(read("/proc/uptime").split()[0]) / 3600, 1),
    }
    temperatures = [int(text) / 1000 for text in each("/sys/class/thermal", "thermal_zone", "temp")]
    if temperatures:
        found["temperature_c"] = round(max(temperatures), 1)
    batteries = each("/sys/class/power_supply", "BAT", "capacity")
    if batteries:
        found["battery_percent"] = int(batteries[0])
        found["battery_charging"] = "Discharging" not in each("/sys/class/power_supply", "BAT", "status")
    return found


def on_macos() -> dict:
    boot = int(re.search(r"sec = (\d+)", sysctl("kern.boottime")).group(1))
    swap = re.search(r"used = ([\d.]+)M", sysctl("vm.swapusage"))
    pages = pages_of(run(["/usr/bin/vm_stat"]))
    return {
        **load(int(sysctl("hw.ncpu")), float(sysctl("vm.loadavg").strip("{} \n").split()[0])),
        "memory_total_mb": int(sysctl("hw.memsize")) // 1_000_000,
        "memory_available_mb": pages // 1_000_000,
        **({"swap_used_mb": int(float(swap.group(1)))} if swap else {}),
        "uptime_hours": round((time.time() - boot) / 3600, 1),
    }


def load(cores: int, load_1m: float) -> dict:
    return {"cores": cores, "load_1m": load_1m, "load_per_core": round(load_1m / cores, 2)}


def memory_of(text: str) -> dict:
    """The lines of /proc/meminfo by name, in kilobytes of 1000 bytes."""
    return {name: int(kib) * 1024 // 1000 for name, kib in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def busy_percent(before: str, after: str) -> float:
    """How much of the time between two readings of /proc/stat the processors worked."""
    first, second = ([int(word) for word in text.splitlines()[0].split()[1:]] for text in (before, after))
    spent = [late - early for early, late in zip(first, second)]
    total = sum(spent[:8])
    return round(100 * (total - spent[3] - spent[4]) / total, 1) if total > 0 else 0.0


def pages_of(text: str) -> int:
    """Bytes that programs can still get, from what vm_stat prints."""
    size = int(re.search(r"page size of (\d+) bytes", text).group(1))
    names = ("free", "inactive", "speculative", "purgeable")
    return size * sum(int(re.search(rf"Pages {name}: +(\d+)", text).group(1)) for name in names)


def each(folder: str, prefix: str, name: str) -> list:
    """What the files of that name say, for each device of the kind; those that say nothing are left out."""
    found = []
    for device in sorted(listed(folder)):
        if device.startswith(prefix):
            try:
                found.append(read(f"{folder}/{device}/{name}").strip())
            except OSError:
                continue
    return found


def listed(folder: str) -> list:
    """What is in a folder; nothing where it is not granted or not there."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def sysctl(name: str) -> str:
    return run(["/usr/sbin/sysctl", "-n", name])


def run(command: list) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout


if __name__ == "__main__":
    sys.exit(main())
