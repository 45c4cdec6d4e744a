"""Which checks there are for a component, and what holds of every kind."""

from collections.abc import Callable, Iterator
from typing import Any

from datk.base.options import ComponentConfig
from datk.config.describe import options
from datk.interfaces import Backbone, DomainPair, LossTerm, Selector, Task, TermConfig
from datk.testing.watch import FaultError

Check = tuple[str, str | None]
Specific = Callable[[Any, Any], Iterator[Check]]


def assert_conforms(cls: type, **chosen: Any) -> None:
    """Run all checks of a component's kind.

    Args:
        cls: the component.
        chosen: options that are not to have their default.

    Raises:
        AssertionError: names the first fault.
    """
    for name, fault in check(cls, **chosen):
        assert fault is None, f"{cls.__name__}: {name}: {fault}"


def check(cls: Any, **chosen: Any) -> Iterator[Check]:
    """Run the checks one by one: (what is checked, what is wrong or None). As `assert_conforms`."""
    if not isinstance(cls, type):
        yield "is a component", "it is no class"
        return
    checks = _checks(cls)
    if checks is None:
        yield (
            "is a component",
            "it is no Backbone, AlignmentLoss, Regularizer, DomainPair, Selector or Task of datk.interfaces",
        )
        return
    yield (
        "has a docstring",
        None if (cls.__doc__ or "").strip() else "write what it is, and a line 'Reference: ...'",
    )
    base = TermConfig if issubclass(cls, LossTerm) else ComponentConfig
    config_class: Any = cls.Config  # type: ignore[attr-defined]
    if not (isinstance(config_class, type) and issubclass(config_class, base)):
        yield "its Config is one", f"Config must be a subclass of {base.__name__}"
        return
    bare = [option.name for option in options(config_class) if not option.meaning]
    yield "every option is documented", f"no docstring under {', '.join(bare)}" if bare else None
    try:
        config = config_class(**chosen)
    except ValueError as error:
        which = "these" if chosen else "default"
        yield f"works with {which} options", " ".join(str(error).split("\n")[:3])
        return
    try:
        yield from checks(cls, config)
    except FaultError as error:
        yield "trains in whatever way it is tried", str(error)
    except Exception as error:
        yield "runs without an exception", f"{type(error).__name__}: {error}"


def _checks(cls: type) -> Specific | None:
    """The checks of a component's kind; None for what is no component."""
    from datk.testing import backbones, choices, pairs, terms

    kinds: dict[type, Specific] = {
        Backbone: backbones.check_backbone,
        LossTerm: terms.check_term,
        DomainPair: pairs.check_pair,
        Selector: choices.check_selector,
        Task: choices.check_task,
    }
    return next((checks for kind, checks in kinds.items() if issubclass(cls, kind)), None)
