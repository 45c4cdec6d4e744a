"""Arrays of Python objects in .npy and .npz files, as pandas leaves them: strings and numbers, no code.

NumPy stores such an array as a pickle. It is never loaded here: its instructions are read as data, only those
are followed that put strings and numbers into a list, and all others are refused.
"""

import pickletools
import re
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError


class _Name:
    """Something that a pickle names, which is not looked up, and what it would have been called with."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments


class _Mark:
    """Where a list or tuple begins."""


MISSING = {"pandas NA", "pandas._libs.missing NA", "pandas._libs.tslibs.nattype _nat_unpickle"}
ARRAY = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
SCALAR = {f"numpy.{core}.multiarray scalar" for core in ("core", "_core")}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _Mark}
VALUES = ("UNICODE", "BINUNICODE", "BINBYTES", "BININT", "BINFLOAT", "INT", "LONG", "FLOAT", "BINSTRING")
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_objects(file: IO[bytes], name: str) -> npt.NDArray[np.object_]:
    """The array of a .npy file, an object array of str, bytes, int, float, bool and None.

    Raises `DataError` if it holds anything else.
    """
    try:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        if header(file)[2].kind != "O":
            raise _RefusedError("a record")
        shape, values = _state(file)
        flat = np.empty(len(values), object)
        flat[:] = [None if isinstance(value, _Name) else value for value in values]
        return flat.reshape(shape)
    except (ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
        reason = f"; what it holds is {error.args[0]}" if isinstance(error, _RefusedError) else ""
        raise DataError(
            f"{name} cannot be read: it holds Python objects other than strings and numbers, which are never "
            f"unpickled{reason}; save strings or numbers, for instance array.astype(str)"
        ) from None


class _RefusedError(ValueError):
    """An instruction that does more than to make a list of strings and numbers."""


def _state(file: IO[bytes]) -> tuple[tuple[int, ...], list[Any]]:
    """What the pickle of an array hands to it: its shape, and its values in C's order."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(file):
        code = operation.name
        if code in ("PROTO", "FRAME"):
            continue
        if code in CONSTANTS:
            stack.append(CONSTANTS[code])
        elif code in ("EMPTY_LIST", "LIST"):
            stack.append([] if code == "EMPTY_LIST" else _since_mark(stack))
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_Name(str(argument) if code == "GLOBAL" else f"{stack.pop(-2)} {stack.pop()}"))
        elif code in TUPLES:
            parts = tuple(stack[-TUPLES[code] :])
            del stack[-TUPLES[code] :]
            stack.append(parts)
        elif code == "TUPLE":
            stack.append(tuple(_since_mark(stack)))
        elif code == "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        elif code == "APPENDS":
            more = _since_mark(stack)
            stack[-1].extend(more)
        elif code in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument or 0)])
        elif code == "REDUCE":
            arguments, made = stack.pop(), stack.pop()
            stack.append(_called(made, arguments))
        elif code == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Name):
                raise _RefusedError("an object")
            if stack[-1].name in ARRAY:
                _, shape, _, _, values = state
                return shape, _checked(values)
        elif any(kind in code for kind in VALUES):
            stack.append(argument)
        else:
            raise _RefusedError(f"made by {code}")
    raise _RefusedError("no array")


def _since_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1 - stack[::-1].index(_Mark)
    found = stack[at + 1 :]
    del stack[at:]
    return found


def _called(made: Any, arguments: Any) -> Any:
    """What a call would have given, of the calls that are understood; nothing is called."""
    if not isinstance(made, _Name):
        raise _RefusedError("an object")
    if made.name == "_codecs encode":
        text, _ = arguments
        return text.encode("latin1")
    if made.name in {*ARRAY, *MISSING}:
        return made
    if made.name == "numpy dtype":
        return _Name(made.name, arguments)
    if made.name in SCALAR and isinstance(arguments[1], bytes):
        kind = arguments[0].arguments[0]
        if isinstance(kind, str) and re.fullmatch(r"[biufU]\d+", kind):
            return np.frombuffer(arguments[1], kind)[0].item()
    raise _RefusedError(f"a {made.name.split()[-1]}")


def _checked(values: Any) -> list[Any]:
    for value in values:
        missing = isinstance(value, _Name) and value.name in MISSING
        if not (missing or value is None or isinstance(value, str | bytes | int | float)):
            raise _RefusedError(f"a {value.name if isinstance(value, _Name) else type(value).__name__}")
    if not isinstance(values, list):
        raise _RefusedError("no list")
    return values
