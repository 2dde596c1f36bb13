"""Pictures and scans of other programs as PNGs of 8 bits: `fsbench data convert`.

Shapes: a page is one picture of a file, (H, W) grey or numbers, or (H, W, 3) RGB, in the type in which it is stored.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from fsbench.base.errors import DataError, FsbenchError
from fsbench.base.files import is_folder, make_folder, open_file, read_bytes, replacing
from fsbench.base.files.images import check_pixels, open_image
from fsbench.base.files.opening import standard_error_logged
from fsbench.data.orientation import apply_orientation
from fsbench.data.picture_file import UNDECODABLE, one_line
from fsbench.data.volume_io import NEAR, own_locale, read_image, read_labels

PICTURE = re.compile(r"\.(jpe?g|a?png|bmp|gif|webp|tiff?|p[bgpn]m|hei[cf])$", re.IGNORECASE)
SCAN = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|dcm|dicom|ima)$", re.IGNORECASE)
"""Ends of the names of pictures and of scans."""
PERCENTILES = (0.1, 99.9)
"""Percentiles of a file's values that become black and white where it has more than 8 bits."""
_ORIENTATION = 274
"""Number of EXIF's and TIFF's tag."""
_SERIES = "0020|000e"
"""DICOM's tag of the series that a slice belongs to."""


@dataclass(frozen=True)
class Shades:
    """How values become 8 bits: by values or percentiles that become black and white; class numbers (`labels`) stay.

    Without either, percentiles are `PERCENTILES`, but values of 8 bits stay.
    """

    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    labels: bool = False


def convert(paths: Iterable[Path], out: Path, shades: Shades) -> Iterator[str | FsbenchError]:
    """Write the pages of pictures and scans as PNGs; yield a line, or the error, for each file.

    Folders are searched. A file with one page becomes `<name>.png`, others `<name>_000.png` and so on. The slices of a
    DICOM series are one scan, with the name of the given file, or of the first one in a folder. No file is replaced.
    """
    done: set[Path] = set()
    for given in paths:
        found = sorted(_files_below(given, out)) if is_folder(given) else [given]
        if not found:
            yield DataError(f"there is no picture or scan in {given}; expected a folder with some")
        for path in found:
            if path in done:  # a slice of a scan that is written
                continue
            name = path.relative_to(given) if is_folder(given) else Path(path.name)
            files, remark = [path], ""
            try:
                target = out / name.with_name(SCAN.sub("", PICTURE.sub("", name.name)))
                if is_scan(path):
                    files, remark = _series(path) if is_dicom(path) else (files, "")
                    pages = _slices(files, shades.labels)
                else:
                    pages = _tiff_pages(path, shades.labels) or _frames(path, shades.labels)
                yield f"{path}: {_write(pages, path, target, shades)}{remark}"
            except FsbenchError as error:
                yield error
            except (*UNDECODABLE, RuntimeError) as error:
                advice = "; pip install 'fsbench[photos]'" if "'imagecodecs'" in str(error) else ""
                yield DataError(f"{path} cannot be decoded ({one_line(error)}); expected a picture or scan{advice}")
            done.update(files)


def _files_below(folder: Path, out: Path) -> Iterator[Path]:
    within = out.resolve() if folder.resolve() in out.resolve().parents else None
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        skipped = hidden or within in path.resolve().parents
        if not skipped and path.is_file() and (PICTURE.search(path.name) or is_scan(path)):
            yield path


def is_scan(path: Path) -> bool:
    return SCAN.search(path.name) is not None or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its name or content; files with names of pictures are not looked into."""
    try:
        if PICTURE.search(path.name) or path.name.upper() == "DICOMDIR":  # a list of files
            return False
        with open_file(path, "volume") as file:
            return path.suffix.lower() == ".dcm" or file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _series(path: Path) -> tuple[list[Path], str]:
    import SimpleITK as sitk  # optional

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with own_locale(), standard_error_logged():
        reader.ReadImageInformation()
        known = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path.parent))
        own = reader.GetMetaData(_SERIES).strip("\0 ") if reader.HasMetaDataKey(_SERIES) else ""
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.parent), own) if own in known else ()
    files = [path.with_name(Path(name).name) for name in names]
    remark = f"; it is the series {own}, one of {len(known)} in {path.parent}" if len(known) > 1 else ""
    return (files, remark) if path in files else ([path], remark)


def _slices(files: Sequence[Path], labels: bool) -> list[np.ndarray]:
    import SimpleITK as sitk  # optional

    if is_dicom(files[0]):
        with own_locale(), standard_error_logged():
            volume = sitk.ReadImage([str(file) for file in files] if len(files) > 1 else str(files[0]))
    else:
        volume = read_labels(files[0]) if labels else read_image(files[0])
    values, axes = sitk.GetArrayFromImage(volume), 2 + (volume.GetNumberOfComponentsPerPixel() > 1)
    return list(values.reshape(-1, *values.shape[-axes:]))


def _tiff_pages(path: Path, labels: bool) -> list[np.ndarray]:
    """Return the pages of a TIFF of grey or RGB numbers; none of other files, which Pillow decodes."""
    with open_file(path, "image") as file:
        if file.read(4)[:3] not in (b"II*", b"II+", b"MM\0"):
            return []
    import tifffile  # optional

    pages: list[np.ndarray] = []
    with open_file(path, "image") as file, tifffile.TiffFile(file) as tiff:
        for series in tiff.series:
            page = series.keyframe
            if page.is_reduced or page.is_mask:  # a smaller copy of another page
                continue
            is_transparent = page.dtype == np.uint8 and {1, 2} & set(page.extrasamples)
            if page.photometric not in (0, 1, 2) or is_transparent:
                return []
            if page.photometric == 0 and labels:  # object and background may be exchanged
                raise DataError(f"{path} is a TIFF whose 0 is white; expected class numbers of which 0 is black")
            check_pixels(page.imagewidth, page.imagelength)
            values = series.asarray()
            if page.photometric == 0:
                values = ~values if values.dtype.kind in "bu" else -values
            if "S" in series.axes:  # colours, or bands that are none, which become pages
                values = np.moveaxis(values, series.axes.index("S"), -1 if page.photometric == 2 else 0)
            values = values[..., :3] if page.photometric == 2 else values
            turn, axes_of_page = page.tags.valueof(_ORIENTATION, 1), 3 if page.photometric == 2 else 2
            pages += [apply_orientation(one, turn) for one in values.reshape(-1, *values.shape[-axes_of_page:])]
    return pages


def _frames(path: Path, labels: bool) -> list[np.ndarray]:
    """Return the frames of a picture that Pillow opens: class numbers as stored, else grey or RGB as it is shown."""
    with open_image(path) as image:
        content = read_bytes(path, "image") if image.format in ("PNG", "PPM") else b""
        bits = content[24] if image.format == "PNG" else 8
        if getattr(image, "n_frames", 1) == 1 and (bits == 16 or image.format == "PPM"):
            import cv2  # spared until it is needed: of 16 bits in RGB Pillow takes 8

            stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            if stored is not None and stored.dtype == np.uint16:
                stored = stored[..., 2::-1] if stored.ndim == 3 else stored
                return [apply_orientation(stored, _loaded(image).getexif().get(_ORIENTATION, 1))]
        if labels and image.format not in ("PNG", "BMP", "TIFF"):
            raise DataError(f"{path} is a {image.format}; expected class numbers as PNG, TIFF or BMP")
        frames = [image] if image.format == "MPO" else ImageSequence.Iterator(image)  # not a camera's second pictures
        pages = [np.asarray(ImageOps.exif_transpose(one if labels else _shown(one))) for one in map(_loaded, frames)]
        if labels and image.mode == "L" and bits < 8:  # numbers that Pillow spreads over 0 to 255
            pages = [page // (255 // (2**bits - 1)) for page in pages]
        return pages


def _loaded(frame: Image.Image) -> Image.Image:
    """Decode a frame and drop its XMP, by which PIL turns a TIFF as it decodes it, and others if EXIF is silent."""
    frame.info.pop("xmp", None)
    frame.load()
    frame.info.pop("XML:com.adobe.xmp", None)  # a PNG's, which may stand behind its rows
    return frame


def _shown(frame: Image.Image) -> Image.Image:
    if frame.mode == "F" or frame.mode.startswith("I"):
        return frame
    if frame.has_transparency_data:
        white = Image.new("RGBA", frame.size, "white")
        return Image.alpha_composite(white, frame.convert("RGBA")).convert("RGB")
    if frame.mode == "LAB":
        from PIL import ImageCms  # spared until it is needed

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(frame, lab, srgb, outputMode="RGB") or frame
    return frame.convert("L" if frame.mode in ("1", "L") else "RGB")


def _write(pages: Sequence[np.ndarray], path: Path, target: Path, shades: Shades) -> str:
    several = len(pages) > 1
    names = [target.with_name(f"{target.name}{f'_{place:03}' * several}.png") for place in range(len(pages))]
    if there := next((name for name in names if name.exists()), None):
        raise DataError(f"{there} exists already, and is not replaced; remove it, or choose another --out")
    low, high = _range(pages, path, shades)
    make_folder(target.parent)
    for name, page in zip(names, pages, strict=True):
        values = np.nan_to_num(page.astype(np.float64), nan=low, posinf=high, neginf=low)
        with replacing(name, durable=False) as file:
            shown = ((values - low) / (high - low)).clip(0, 1) * 255
            Image.fromarray(np.rint(shown).astype(np.uint8)).save(file, "PNG")
    made = f"{len(pages)} pages, {names[0]} to {names[-1].name}" if several else str(names[0])
    return made + ("" if (low, high) == (0, 255) else f" ({low:g} to {high:g} became 0 to 255)")


def _range(pages: Sequence[np.ndarray], path: Path, shades: Shades) -> tuple[float, float]:
    """Return the values that become 0 and 255: 0 and 255 themselves for class numbers, and for shades of 8 bits."""
    values = np.concatenate([page.ravel() for page in pages])
    if shades.labels:
        wrong = ~((values >= 0) & (values <= 255) & (np.abs(values - np.rint(values)) <= NEAR))
        if wrong.any() or any(page.ndim == 3 for page in pages):
            found = f"the value {values[wrong][0]:g}" if wrong.any() else "several values a pixel"
            raise DataError(f"{path} holds {found}; expected class numbers to 254, or void 255")
        return 0, 255
    if shades.window or not (shades.percentiles or values.dtype not in (bool, np.uint8)):
        return shades.window or (0, 1 if values.dtype == bool else 255)
    values = values[np.isfinite(values)]
    for percentiles in (shades.percentiles or PERCENTILES, (0, 100)):
        low, high = np.percentile(values, percentiles).tolist() if len(values) else (0.0, 0.0)
        if low < high:
            return low, high
    raise DataError(f"{path} holds no other value than {low:g}; expected a picture; give --window")
