"""Files: written whole or not at all, and read through one door (`opening`)."""

from fsbench.base.files.opening import (
    NotReadable,
    is_file,
    is_folder,
    open_file,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)
from fsbench.base.files.written import (
    check_can_be_made,
    fingerprint,
    is_half,
    is_no_plain_file,
    locked,
    make_folder,
    remove_halves,
    replacing,
    sha256_file,
    write_text,
)
from fsbench.base.files.yaml_files import load_yaml, read_yaml, validate_yaml

__all__ = [
    "NotReadable",
    "check_can_be_made",
    "fingerprint",
    "is_file",
    "is_folder",
    "is_half",
    "is_no_plain_file",
    "load_yaml",
    "locked",
    "make_folder",
    "open_file",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "remove_halves",
    "replacing",
    "sha256_file",
    "validate_yaml",
    "write_text",
]
