"""Lightning, torchmetrics and torchvision, imported without large packages that they bring along and a run never calls.

Lightning and torchvision import torch's compiler (`torch._dynamo`), for one class and one function. Lightning wants a
base class of torchmetrics, which imports all of its metrics for it, and with them transformers, SciPy's signal
processing and matplotlib. None of them has a setting against it. So within `spared_imports` stand-ins take the places
of torch's compiler and of torchmetrics' drawing module, and torchmetrics' own `__init__.py` is put off. Nothing is
lost: anything else that is asked of a stand-in imports the true module, and afterwards the stand-ins are gone. Whatever
imports torch's compiler, torchmetrics or matplotlib then gets all of it, torchmetrics with the classes that Lightning
has already.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
METRICS = "torchmetrics"
PLOT = f"{METRICS}.utilities.plot"
METRIC_NAMES = {"Metric": "metric", "MetricCollection": "collections", "__version__": "__about__"}
"""Names of torchmetrics that Lightning asks for, and the modules they are in."""


class StandIn(ModuleType):
    """A module in the place of one that is not imported yet.

    Args:
        name: of the module.
        names: values of some of its names; for any other the true module is imported.
    """

    def __init__(self, name: str, **names: Any):
        super().__init__(name)
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by programs that look through all of them
            raise AttributeError(name)
        return getattr(true_module(self.__name__), name)


class BarePackage(ModuleType):
    """torchmetrics without what its `__init__.py` does: its modules can be imported, and `METRIC_NAMES` are there.

    For any other name the file is run.
    """

    def __getattr__(self, name: str) -> Any:
        if name in METRIC_NAMES:
            import_module(f"{METRICS}.utilities")  # the circle of its imports opens here alone
            return getattr(import_module(f"{METRICS}.{METRIC_NAMES[name]}"), name)
        if name == "_logger":
            return logging.getLogger(METRICS)  # which the file takes, too
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
        return getattr(self, name)


def _imported_compiler() -> ModuleType | None:
    compiler = sys.modules.get(COMPILER)
    return None if isinstance(compiler, StandIn) else compiler


class _OfCompiler(type):
    def __instancecheck__(cls, instance: object) -> bool:
        compiler = _imported_compiler()
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


class OptimizedModule(metaclass=_OfCompiler):
    """For `isinstance`, the class of that name in torch's compiler; it has no instances while that is not imported."""


def disable(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """Return `function` as one that the compiler leaves alone, which nothing is to be done for before that is imported.

    torch decorates its own optimizers in this way, but imports the compiler at the first call.
    """
    disabled: Callable[..., Any] | None = None

    @wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            compiler = _imported_compiler()
            if compiler is None:
                return function(*values, **named)
            disabled = compiler.disable(function, *arguments, **options)
        return disabled(*values, **named)

    return call


def true_module(name: str) -> ModuleType:
    """Import a module, after the stand-ins are gone for good."""
    _remove_stand_ins()
    return import_module(name)


def _remove_stand_ins() -> None:
    for name, module in list(sys.modules.items()):
        if isinstance(module, StandIn):
            del sys.modules[name]


def _later(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports the true one when it is called, and calls it."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(true_module(module), name)(*arguments, **options)

    return call


class ModulesOfCompiler(MetaPathFinder, Loader):
    """Imports the true compiler where a module of it is imported that has no stand-in."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        is_wanted = fullname.startswith(f"{COMPILER}.") and isinstance(sys.modules.get(COMPILER), StandIn)
        return ModuleSpec(fullname, self) if is_wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = true_module(spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module, which has run already, its own specification back."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


class PutOffPackage(SourceFileLoader):
    """Runs the `__init__.py` of a bare package when it is next imported."""

    def __init__(self, package: ModuleType):
        super().__init__(package.__name__, str(package.__file__))
        self.package = package

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != self.package.__name__:
            return None
        spec = PathFinder.find_spec(fullname)
        if spec is not None:
            spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the package with those of its modules that are imported as attributes."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self.package.__class__ = ModuleType
        return self.package


@contextmanager
def spared_imports() -> Iterator[None]:
    """Import within the block without torch's compiler and most of torchmetrics.

    A package that is imported already stays as it is. Other threads must not import meanwhile, so only the main thread
    is spared anything: in another the block imports as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if any(isinstance(finder, ModulesOfCompiler) for finder in sys.meta_path):
        yield  # of a block around this one
        return
    finder = ModulesOfCompiler()
    sys.meta_path.insert(0, finder)
    for module in [*_compiler(), *_metrics()]:
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _remove_stand_ins()
        package = sys.modules.get(METRICS)
        if isinstance(package, BarePackage):
            del sys.modules[METRICS]
            sys.meta_path.insert(0, PutOffPackage(package))


def _compiler() -> Sequence[ModuleType]:
    if COMPILER in sys.modules:
        return []
    utils = f"{COMPILER}.utils"
    return [
        StandIn(COMPILER, OptimizedModule=OptimizedModule, disable=disable, __path__=[]),
        StandIn(utils, is_compile_supported=_later(utils, "is_compile_supported")),
    ]


def _metrics() -> Sequence[ModuleType]:
    spec = PathFinder.find_spec(METRICS)
    is_there = METRICS in sys.modules or any(isinstance(finder, PutOffPackage) for finder in sys.meta_path)
    if is_there or spec is None or not isinstance(spec.loader, SourceFileLoader):
        return []
    package = module_from_spec(spec)
    package.__class__ = BarePackage
    plot = _later(PLOT, "plot_single_or_multi_val")
    # the types are those that torchmetrics takes without matplotlib
    types: dict[str, Any] = {"_AX_TYPE": object, "_PLOT_OUT_TYPE": tuple[object, object]}
    return [package, StandIn(PLOT, plot_single_or_multi_val=plot, **types)]
