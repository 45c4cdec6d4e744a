"""What training keeps in a run folder: its curve, all that resuming needs, the selected model."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from datk.base.errors import RunError
from datk.base.files import append_line, write_atomically

State = dict[str, Tensor]
ABOUT = "datk"
"""Key of the metadata beside the weights."""


class Checkpoints:
    """The files in a run folder that training writes and reads.

    metrics.jsonl                      a line per log step and per epoch
    checkpoints/last.pt                all that resuming needs
    checkpoints/selected.safetensors   the model of the best epoch

    Args:
        folder: the run folder.
        writes: False in all but the first of several processes, which only read.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self.metrics = folder / "metrics.jsonl"
        self.last = folder / "checkpoints" / "last.pt"
        self.selected = folder / "checkpoints" / "selected.safetensors"
        self.about: dict[str, Any] = {}
        """What the model is of, kept with its weights: names of classes, shape of samples."""
        self.mark: str | None = None
        """What environment.json says of this start and no other, once it is written."""

    def demand_ours(self) -> None:
        """Raise `RunError` if the folder is no longer that of this run: it was removed, or replaced by one of
        another run, while this one went on. Two runs must not mix in one folder."""
        if self.mark is None:
            return
        try:
            last = json.loads((self.folder / "environment.json").read_text(encoding="utf-8"))[-1]
            ours = last["mark"] == self.mark
        except (OSError, ValueError, LookupError, TypeError):
            ours = False
        if not ours:
            raise RunError(
                f"{self.folder} was removed, or taken by another run, while this run went on; no more of its "
                "results are written there"
            )

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        if self.writes:
            self.demand_ours()
            append_line(self.metrics, json.dumps(record))

    def keep_metrics_until(self, epoch: int) -> None:
        """Drop the lines of later epochs, which will be trained again, and a line cut short by a kill."""
        if not (self.writes and self.metrics.is_file()):
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, AttributeError, TypeError, RecursionError):
                if json.loads(line).get("epoch", 0) <= epoch:
                    kept.append(line + "\n")
        write_atomically(self.metrics, lambda file: file.write("".join(kept).encode()))

    def save_last(self, state: dict[str, Any]) -> None:
        """Save all that resuming needs."""
        if self.writes:
            self.demand_ours()
            write_atomically(self.last, lambda file: torch.save(state, file))

    def load_last(self, device: torch.device) -> dict[str, Any] | None:
        """What `save_last` saved, None if there is nothing. Raises `RunError` for a damaged file."""
        if not self.last.is_file():
            return None
        try:
            # Constants of standardisation may be float64, which MPS does not have; loading moves the rest.
            place = "cpu" if device.type == "mps" else device
            state: dict[str, Any] = torch.load(self.last, map_location=place, weights_only=True)
        except Exception as error:  # damaged bytes make torch raise a dozen kinds
            raise RunError(
                f"{self.last} is damaged or no checkpoint of datk; --force starts the run again"
            ) from error
        return state

    def save_selected(self, state: State) -> None:
        """Save the model of the best epoch so far."""
        if self.writes:
            self.demand_ours()
            # Copies, because the format refuses tensors that share memory, as tied weights do.
            copies = {name: t.clone(memory_format=torch.contiguous_format) for name, t in state.items()}
            content = safetensors.torch.save(copies, {ABOUT: json.dumps(self.about)})
            write_atomically(self.selected, lambda file: file.write(content))

    def load_selected(self) -> State:
        """The model of the best epoch, on the CPU. Raises `RunError` if it is missing or damaged."""
        try:
            return safetensors.torch.load(self.selected.read_bytes())
        except FileNotFoundError:
            raise RunError(
                f"{self.folder} holds no trained model (no {self.selected.name}); let its run finish"
            ) from None
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"model {self.selected} cannot be read: {error}") from None

    def selected_about(self) -> dict[str, Any]:
        """What the model of the best epoch is of; empty where that is not recorded, as by the first versions.
        Raises `RunError` if the model is missing or damaged."""
        self.load_selected()
        with safetensors.safe_open(self.selected, framework="pt") as file:
            written = (file.metadata() or {}).get(ABOUT, "{}")
        try:
            return dict(json.loads(written))
        except (TypeError, ValueError):
            return {}


def weights_checksum(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and values of a state, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
