"""A run's process spares packages that it never calls; whoever does call them still gets all of them."""

import json
import os
import subprocess
import sys
import threading

import pytest

from fsbench.paths import REPOSITORY
from fsbench.spared_imports import StandIn, spared_imports

SPARED = ["torch._dynamo", "torch._inductor", "sympy", "torchmetrics.functional", "transformers", "scipy", "matplotlib"]

RUN = f"""
import sys
from fsbench.cli.main import main
assert main(sys.argv[1:]) == 0
found = [name for name in {SPARED} if name in sys.modules]
assert not found, found
"""

AFTERWARDS = """
import lightning, torch, torchvision
from lightning.pytorch.utilities.compile import from_compiled, to_uncompiled
from fsbench.spared_imports import disable

# torch's compiler: what it leaves alone, what Lightning takes for compiled, and what the Trainer asked of it
class Method(lightning.LightningModule):
    def forward(self, x):
        return left_alone(x.cos()).exp()

def backend(graph, inputs):
    compiled.extend(node.target for node in graph.graph.nodes if node.op == "call_method")
    return graph.forward

left_alone, compiled, method, x = disable(torch.Tensor.sin), [], Method(), torch.ones(2)
expected = method(x)
assert torch.equal(expected, x.cos().sin().exp()) and "torch._dynamo" not in sys.modules
try:
    from_compiled(method)
    raise SystemExit("a method that is not compiled counts as one that is")
except ValueError:
    pass
faster = torch.compile(method, backend=backend)
assert torch.equal(faster(x), expected) and compiled == ["cos", "exp"], compiled
assert to_uncompiled(from_compiled(faster)) is method
import torch._inductor.config
assert torch._inductor.config.deterministic is True  # trainer.deterministic: warn

# torchvision's module that takes a function of the compiler
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
boxes = torch.tensor([[0.0, 0, 0, 2, 2]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 1).item() == 1

# torchmetrics, with one class of metrics for all
import torchmetrics.classification
from torchmetrics import Accuracy, Metric, functional
from fsbench.metrics.episodic import Metric as Ours
accuracy = Accuracy("binary")
assert Metric is Ours and isinstance(accuracy, lightning.pytorch.core.module.Metric)
accuracy.update(torch.tensor([1, 0]), torch.tensor([1, 1]))
assert accuracy.compute() == 0.5 == functional.accuracy(torch.tensor([1, 0]), torch.tensor([1, 1]), "binary")
assert torchmetrics.utilities.imports._MATPLOTLIB_AVAILABLE and torchmetrics.text.BLEUScore and torchmetrics.__version__
assert len([m for m in sys.modules.values() if getattr(m, "__name__", "") == "torchmetrics"]) == 1

# figures, of a metric that has the base class's function, and of a collection
import matplotlib
matplotlib.use("Agg")
figure, axes = accuracy.plot()
assert isinstance(figure, matplotlib.figure.Figure) and isinstance(axes, matplotlib.axes.Axes)
collection = torchmetrics.MetricCollection([Accuracy("binary")])
collection.update(torch.tensor([1]), torch.tensor([1]))
((figure, _),) = collection.plot()
assert isinstance(figure, matplotlib.figure.Figure)

import peft, scipy.signal, transformers
assert peft.LoraConfig and scipy.signal.windows.hamming and transformers.AutoModel
"""

ANOTHER_NAME = """
import sys
from fsbench.spared_imports import StandIn, spared_imports
with spared_imports():
    import torch._dynamo.config  # a module that has no stand-in
    from torch._dynamo import OptimizedModule
    assert torch._dynamo.config is sys.modules["torch._dynamo.config"] and torch._dynamo.config.__spec__.origin
    from torchmetrics import MeanMetric, Metric  # a name that is not known before
assert not any(isinstance(module, StandIn) for module in sys.modules.values())
import torchmetrics, torch._dynamo
assert OptimizedModule is torch._dynamo.eval_frame.OptimizedModule and torchmetrics.MeanMetric is MeanMetric
assert torchmetrics.metric.Metric is Metric and issubclass(torchmetrics.classification.BinaryAccuracy, Metric)
assert torch.compiler.disable(len)([1]) == 1
"""

TWICE = """
import sys
from fsbench.spared_imports import spared_imports
with spared_imports():
    import lightning
with spared_imports():
    from torchmetrics.metric import Metric
    import fsbench.backbones.timm_networks
assert "torch._dynamo" not in sys.modules and "torchmetrics" not in sys.modules
import importlib.util
assert importlib.util.find_spec("torchmetrics").origin  # who only looks changes nothing
import torchmetrics.aggregation
assert torchmetrics.Metric is Metric and torchmetrics.metric.Metric is Metric and torchmetrics.utilities
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("fsbench")]
"""


def run(program: str, *arguments: str, **more: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | more
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_spares_them_and_its_process_can_have_them_all(tmp_path):
    files = ["--method", "prototype", f"--config={REPOSITORY / 'configs/data/demo.yaml'}"]
    few = ["--data.episodes=1", "--data.workers=0", f"--run.runs={tmp_path / 'runs'}"]
    few += ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=3"]
    run(RUN + AFTERWARDS, "run", *files, *few, FSBENCH_CACHE=str(tmp_path / "cache"))
    (file,) = tmp_path.glob("runs/*/config.yaml")  # numbers are read as with all packages imported
    assert "limit_train_batches: 1\n" in file.read_text() and "limit_val_batches: 3\n" in file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("program", [ANOTHER_NAME, TWICE], ids=["another name", "twice"])
def test_more_is_asked_of_a_stand_in(program):
    run(program)


def test_what_is_imported_stays():
    import torchmetrics  # as the test modules that ran before may have done

    before = dict(sys.modules)
    with spared_imports():
        assert sys.modules["torchmetrics"] is torchmetrics
    assert sys.modules == before


def test_another_thread_than_the_main_one_imports_as_ever():
    found = []

    def look():
        before = dict(sys.modules), list(sys.meta_path)
        with spared_imports():
            found.append((dict(sys.modules), list(sys.meta_path)) == before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]


def test_names_of_modules_that_look_through_all_import_nothing():
    stand_in = StandIn("json", dumps=len)
    assert stand_in.dumps is len and stand_in.loads is json.loads and not hasattr(stand_in, "__file__")
