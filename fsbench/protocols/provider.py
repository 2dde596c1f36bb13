"""Answers of one data set that a single test asks for: an official list, or a rule of its own."""

from collections.abc import Callable
from typing import Any, TypeVar

ProviderType = TypeVar("ProviderType", bound="Provider")
_PROVIDERS: dict[tuple[type, type], type | None] = {}


class Provider:
    """Base class of adapters that tell one kind of test about a data set, such as the order of the data set's images.

    A draw (rule for episodes) defines an abstract subclass with the methods that it needs, say `ImageLists`. For a data
    set that needs other methods than the defaults, a subclass of `ImageLists` is registered with `register`. It also
    serves subclasses of the data set, unless they are excluded (`exclude`) or have a provider of their own.

    Args:
        data: the data set.
    """

    def __init__(self, data: Any):
        self.data = data

    @classmethod
    def register(cls, dataset: type) -> Callable[[type[ProviderType]], type[ProviderType]]:
        """Return a class decorator that makes a subclass this kind of provider for the data set class `dataset`."""

        def decorate(provider: type[ProviderType]) -> type[ProviderType]:
            _PROVIDERS[cls, dataset] = provider
            return provider

        return decorate

    @classmethod
    def exclude(cls, dataset: type) -> None:
        """Declare that the data set class `dataset` has no provider of this kind, although its base class has one."""
        _PROVIDERS[cls, dataset] = None

    @classmethod
    def find(cls: type[ProviderType], data: Any) -> ProviderType | None:
        """Return this kind of provider for the data set `data`; None if it has none."""
        found = next((_PROVIDERS[cls, kind] for kind in type(data).__mro__ if (cls, kind) in _PROVIDERS), None)
        return None if found is None else found(data)

    @classmethod
    def of(cls: type[ProviderType], data: Any) -> ProviderType:
        """Return this kind of provider for the data set `data`, or the default one."""
        return cls.find(data) or cls(data)
