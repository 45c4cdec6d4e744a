"""Where the time of a step goes, operation by operation."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.harness import Setting, machine
from benchmarks.speed.subjects import METHODS, Step
from datk.base.devices import reusing_memory

STEPS = 5
OPERATIONS = 30


def write_profile(folder: Path, setting: Setting) -> str:
    """Profile mmd + fisher,entropy on 128 + 128 images: a table as text, which is returned, and a trace that
    chrome://tracing and Perfetto show."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * setting.on_gpu
    with reusing_memory(setting.device):
        step = Step(METHODS["mmd + fisher,entropy"], setting)
        for _ in range(3):
            step()
        with profile(activities=activities) as profiled:
            for _ in range(STEPS):
                step()
    order = "self_device_time_total" if setting.on_gpu else "self_cpu_time_total"
    table = profiled.key_averages().table(
        sort_by=order, row_limit=OPERATIONS, max_name_column_width=50, top_level_events_only=False
    )
    found = machine(setting.device)
    heading = f"{STEPS} steps of mmd + fisher,entropy, 128 + 128 images of 3 x 75 x 75\n"
    heading += (
        f"{found['device']}, {found['threads']} threads, torch {torch.__version__}, {found['date']}\n\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    name = f"profile-{setting.device.type}"
    (folder / f"{name}.txt").write_text(
        heading + "\n".join(line.rstrip() for line in table.splitlines()) + "\n"
    )
    profiled.export_chrome_trace(str(folder / f"{name}.json.gz"))
    return heading + table
