"""Numbers in environment variables, such as torchrun's."""

import os

from datk.base.errors import ConfigError


def whole_number(variable: str, default: int) -> int:
    """A variable's value, from 0. Raises `ConfigError` if it is no such number."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(
            f"the environment variable {variable} is '{text}', not a whole number; unset it, or let torchrun "
            "set it"
        )
    return int(text)


def processes_count() -> int:
    """How many processes torchrun says that it started; 1 if it did not, or says what is no number."""
    try:
        return whole_number("WORLD_SIZE", 1)
    except ConfigError:
        return 1
