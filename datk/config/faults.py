"""Which component an exception came out of, so that its author, or who chose it, knows where to look."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from datk.base.errors import DatkError, PluginError, machine_fault
from datk.config import plugins
from datk.config.resolve import BASES

CALLS = ("_wrapped_call_impl", "_call_impl", "__call__")
"""Methods of `torch.nn.Module` that do nothing but call `forward`."""


def exception_text(error: BaseException) -> str:
    """Type and message of an exception."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def plugin_fault(error: BaseException) -> tuple[str, bool] | None:
    """What to say of an exception that passed through a component, and whether that is one of datk's own.

    Of several components whose methods were running the innermost counts. None if there is none.

    Example:
        `("alignment 'Foo' failed in forward: TypeError: no tensor", False)`
    """
    interfaces = sys.modules.get("datk.interfaces")
    if interfaces is None:  # without it there are no components yet
        return None
    kinds = {kind: getattr(interfaces, base) for kind, base in BASES.items()}
    for frame in reversed(list(_frames(error))):
        component = frame.f_locals.get("self")
        kind = next((kind for kind, base in kinds.items() if isinstance(component, base)), None)
        if kind is not None and type(component).__module__.partition(".")[0] != "datk":
            name, ours = _name(kind, type(component))
            method = frame.f_code.co_name
            method = "forward" if method in CALLS else method
            return f"{name} failed in {method}: {exception_text(error)}", ours
    return None


def users_fault(error: BaseException) -> DatkError | None:
    """What to tell the user of an exception that the machine raised, see `machine_fault`; None
    for what came out of a component that is not datk's own, which `plugin_fault` names."""
    fault = plugin_fault(error)
    if fault is not None and not fault[1] and not isinstance(error, MemoryError):
        return None
    return machine_fault(error)


def exit_fault(stop: SystemExit) -> DatkError | None:
    """What to tell the user of `sys.exit()` in a component, or in other code that datk called, which leaves
    no result behind whatever the exit code. None where a command ends the program, which it may."""
    fault = plugin_fault(stop)
    if fault is not None:
        return PluginError(f"{fault[0]}; a component must not end the program")
    frames = list(_frames(stop))
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    if any(name.startswith("datk.") and not name.startswith("datk.cli.") for name in modules):
        code = frames[-1].f_code
        return PluginError(f"{code.co_name} in {code.co_filename} ended the program: {exception_text(stop)}")
    return None


@contextmanager
def machine_told() -> Iterator[None]:
    """Turn what the machine refuses, and `sys.exit()` in a component, into a `DatkError` that says what to
    do."""
    try:
        yield
    except DatkError:
        raise
    except SystemExit as stop:
        ended = exit_fault(stop)
        if ended is None:
            raise
        raise ended from stop
    except Exception as error:
        told = users_fault(error)
        if told is None:
            raise
        raise told from error


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an exception passed through, the innermost last."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def component_name(kind: plugins.Kind, cls: type[Any]) -> str:
    """What messages call a component, for instance "pair 'arrays'"."""
    return _name(kind, cls)[0]


def _name(kind: plugins.Kind, cls: type[Any]) -> tuple[str, bool]:
    """What messages call a component, and whether it is shipped with datk."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    plugin = next((plugin for plugin in plugins.find(kind) if plugin.target == target), None)
    if plugin is None:
        return f"{kind} '{cls.__name__}'", False
    return str(plugin), plugin.dist == "datk"
