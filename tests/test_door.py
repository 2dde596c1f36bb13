"""Files of users come in through `fsbench.base.files` alone: no other module opens, decodes or parses one itself."""

import ast
from collections.abc import Iterator

from fsbench.base.paths import REPOSITORY

PACKAGES = ("fsbench", "methods", "datamodules")
DOOR = "fsbench/base/files/"

READERS = {
    "open", "read_text", "read_bytes", "imread", "loadmat", "read_parquet", "scan_parquet", "read_csv", "fromfile",
    "loadtxt", "genfromtxt", "memmap", "safe_open", "Unpickler", "ZipFile",
}  # fmt: skip
LOADERS = {"json", "yaml", "np", "numpy", "torch", "pickle", "gzip", "lzma", "bz2", "tarfile", "zipfile"}
"""Modules whose `load…`, `open` and `decompress` are readers."""
OWN = {"read_text", "read_bytes", "read_parquet"}
"""Functions of the door with the names of readers, called without a dot."""

EXCEPTIONS = {
    # files of this repository
    "fsbench/predict/run_exported.py": ["Image.open", "json.loads"],  # copied to where there is no suite
    "fsbench/predict/export.py": ["path.open"],  # written a line before, under a temporary name
    "fsbench/runner/config/merge.py": ["yaml.safe_load"],  # a value of the command line
    "fsbench/protocols/kit/kit.py": ["(_TEMPLATES / f'{self.test.protocol.task}.py.txt').read_text"],
    "fsbench/runner/regression/cases.py": ["yaml.safe_load", "(FOLDER / 'cases.yaml').read_text"],
    "fsbench/runner/regression/outcome.py": ["path.read_bytes"],
    "fsbench/runner/regression/run.py": ["yaml.safe_load", "(cases.FOLDER / 'cases.yaml').read_text"],
    "fsbench/data/published.py": ["(CHECKSUMS / f'{name}.csv').open"],
    "datamodules/lists/text_file.py": ["gzip.decompress"],
    "fsbench/pages/board/repository.py": ["(FILES / name).read_text"],
    "fsbench/pages/report/pages.py": ["(folder / 'apart.svg').read_text"],  # drawn a line before, in a temporary folder
    "fsbench/pages/report/explorer/page.py": [
        "(EXPLORER_PAGE / 'explorer.css').read_text",
        "(EXPLORER_PAGE / name).read_text",
    ],
    "fsbench/pages/look/theme.py": ["file.read_text"],
    # what the system tells
    "fsbench/cli/main.py": ["os.open"],
    "fsbench/base/terminal.py": ["Path(os.environ.get(NOTES, '')).open"],  # this command's own
    "datamodules/loading/loader.py": ["(thread / 'stat').read_text"],
    "fsbench/runner/here.py": ["Path('/proc/driver/nvidia/version').read_text"],
    "fsbench/runner/engine/machine/launch.py": ["os.open"],  # a terminal, of which nothing is read
    "fsbench/base/own_modules.py": ["note.read_bytes"],  # what pip has written
    "fsbench/base/plugins.py": ["json.loads", "metadata.distribution(package).read_text"],  # what pip has written
    "fsbench/runner/engine/machine/meter.py": ["Path('/proc/self/status').read_text"],
    "fsbench/records/machine.py": ["Path('/proc/cpuinfo').read_text"],
    # the content is a file of the door already, or the door has opened the file before
    "fsbench/networks/weights/files.py": ["load_file", "torch.load"],
    "fsbench/runner/exchange/bundle.py": ["archive.open", "zipfile.ZipFile"],  # the second writes
    "datamodules/prepare/unpack.py": ["member.open"],
    "fsbench/data/labelled/tabular.py": ["pl.read_csv"],
    # a line, behind its checksum, of a file that the door opened
    "fsbench/records/checked_jsonl.py": ["json.loads"],
    # written by this process or its children at the same time; read while they are
    "fsbench/networks/backbones/feature_store.py": ["np.memmap"],
    "fsbench/records/remaining_episodes.py": ["self.journal.open"],
    # in programs that have nothing of the suite; its own reader opens such files by the door
    "fsbench/protocols/kit/answers.py": ["json.loads", "open"],
    "fsbench/runner/grid/run.py": ["log.read_bytes", "part.read_bytes", "curves.open"],
    # the first line alone, by which the suite knows its own drawn data set
    "datamodules/datasets/demo/whole_folder.py": ["file.open"],
}
"""Functions that are called outside the door, by module: none reads a user's file."""


def reading_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls in a module that open or parse a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name):
            if function.id in READERS - OWN or function.id == "load_file":
                yield node
        elif isinstance(function, ast.Attribute):
            owner = function.value.id if isinstance(function.value, ast.Name) else ""
            loads = owner in LOADERS and (function.attr.startswith(("load", "safe_load", "full_load", "unsafe_load"))
                                          or function.attr in ("open", "decompress"))  # fmt: skip
            reads = loads or (function.attr in READERS and not _writes(node))
            if reads and not ast.unparse(node).startswith("json.loads(json.dumps("):
                yield node


def _writes(call: ast.Call) -> bool:
    """True for `path.open` in a mode that writes."""
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [option.value for part in modes for option in ast.walk(part) if isinstance(option, ast.Constant)]
    is_open = isinstance(call.func, ast.Attribute) and call.func.attr == "open"
    return is_open and any(isinstance(text, str) and text[:1] in tuple("wax") for text in texts)


def test_no_module_reads_a_file_past_the_door():
    found = {
        (path.relative_to(REPOSITORY).as_posix(), ast.unparse(call.func))
        for package in PACKAGES
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        if not path.relative_to(REPOSITORY).as_posix().startswith(DOOR)
        for call in reading_calls(ast.parse(path.read_text()))
    }
    listed = {(file, text) for file, calls in EXCEPTIONS.items() for text in calls}
    assert not found - listed, "read it with fsbench.base.files, or list it here with the reason"
    assert not listed - found, "these are no more: take them out of the list"


def test_the_walk_finds_what_it_looks_for():
    source = """
open("x"); Path("x").open(); p.open("rb"); p.read_text(); p.read_bytes(); Image.open(p); json.load(f); json.loads(t)
yaml.safe_load(t); yaml.load(t, L); gzip.open(p); tarfile.open(p); zipfile.ZipFile(p); np.load(p); scipy.io.loadmat(p)
pl.read_parquet(p); pl.scan_parquet(p); torch.load(p); pickle.load(f); cv2.imread(p); load_file(p); gzip.decompress(b)
"""
    assert len(list(reading_calls(ast.parse(source)))) == source.count("(") - 1  # Path("x") is none
    harmless = 'p.open("w"); p.open("ab"); read_text(p, "list"); read_json(p, "list"); json.dumps(x); p.open(mode="wb")'
    assert not list(reading_calls(ast.parse(harmless)))


def test_pictures_are_opened_by_named_formats():
    """PIL is told which formats to try wherever it opens something."""
    exported = REPOSITORY / "fsbench" / "predict" / "run_exported.py"
    for path in (*(REPOSITORY / "fsbench" / "base" / "files").glob("*.py"), exported):
        for call in reading_calls(ast.parse(path.read_text())):
            if ast.unparse(call.func) == "Image.open":
                assert "formats" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)
