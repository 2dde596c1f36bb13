"""`fsbench data convert`: PNGs that fsbench reads, of pictures and scans as other programs write them."""

import sys
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fsbench.data.image_io import read_label_map, read_upright
from fsbench.data.volume_io import own_locale
from tests.nifti import nifti, save_nifti
from tests.png_file import png_file

RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)
DEEP = (RAMP * 4000 + 100).astype(np.uint16)
"""12 bits in 16, as cameras and microscopes write them."""
RGB = (np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1) * 255).astype(np.uint8)
NUMBERS = np.resize([0, 1, 2, 7, 255], (48, 64)).astype(np.uint8)
STACK = np.stack([DEEP, DEEP // 2, DEEP // 4])


@pytest.fixture
def convert(tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """convert(*arguments) -> (status, PNGs by their names below out, what was printed)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, dict[str, Path], str]:
        status, out, err = command("data", "convert", *arguments, "--out", "out")
        made = {path.relative_to("out").as_posix(): path for path in sorted(Path("out").rglob("*.png"))}
        return status, made, out + err

    return call


def shades(path: Path) -> np.ndarray:
    """The grey levels of a PNG as every command reads it."""
    return read_upright(path)[0][..., 0]


def by_percentiles(values: np.ndarray, low: float = 0.1, high: float = 99.9) -> np.ndarray:
    black, white = np.percentile(values, [low, high])
    return np.interp(values, [black, white], [0, 255])


def animation(path: str, **more: object) -> None:
    frames = [Image.fromarray(np.roll(RGB, shift, 1)) for shift in (0, 9, 20)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **more)


GREY: dict[str, tuple[Callable[[str], object], np.ndarray]] = {
    "grey16.png": (lambda path: Image.fromarray(DEEP).save(path), DEEP),
    "grey16.tif": (lambda path: Image.fromarray(DEEP).save(path), DEEP),
    "grey16.pgm": (lambda path: cv2.imwrite(path, DEEP), DEEP),
    "deflated.tif": (lambda path: tifffile.imwrite(path, DEEP, compression="zlib"), DEEP),
    "tiled.tif": (lambda path: tifffile.imwrite(path, DEEP, tile=(16, 16)), DEEP),
    "big.tif": (lambda path: tifffile.imwrite(path, DEEP, bigtiff=True), DEEP),
    "float.tif": (lambda path: tifffile.imwrite(path, RAMP.astype(np.float32)), RAMP),
    "double.tif": (lambda path: tifffile.imwrite(path, RAMP), RAMP),
    "signed.tif": (lambda path: tifffile.imwrite(path, DEEP.astype(np.int32) - 2000), DEEP),
    "white.tif": (lambda path: tifffile.imwrite(path, 65535 - DEEP, photometric="miniswhite"), DEEP),
}
"""Grey pictures of more than 8 bits: how each is written, and its values."""


@pytest.mark.parametrize("name", GREY)
def test_values_of_more_than_8_bits_become_grey_levels_by_percentiles(convert, name):
    write, values = GREY[name]
    write(name)
    status, made, said = convert(name)
    assert status == 0 and list(made) == [f"{Path(name).stem}.png"] and f"out/{Path(name).stem}.png" in said
    np.testing.assert_allclose(shades(made[f"{Path(name).stem}.png"]), by_percentiles(values), atol=1)
    assert [path.name for path in Path("out").iterdir()] == list(made), "no half of a file stays"


def test_packages_that_are_missing_are_named(convert, monkeypatch):
    Image.fromarray(DEEP).save("lzw.tif", compression="tiff_lzw")
    status, made, said = convert("lzw.tif")
    if find_spec("imagecodecs"):
        np.testing.assert_allclose(shades(made["lzw.png"]), by_percentiles(DEEP), atol=1)
    else:
        assert status == 1 and "pip install 'fsbench[photos]'" in said
    monkeypatch.setitem(sys.modules, "tifffile", None)  # which cannot be imported then
    status, _, said = convert("lzw.tif")
    assert status != 0 and "needs tifffile" in said and "pip install 'fsbench[photos]'" in said


@pytest.mark.parametrize("name", ["colours.png", "colours.tif", "colours.ppm", "planes.tif"])
def test_colours_of_16_bits_stay_colours(convert, name):
    deep = RGB.astype(np.uint16) * 16
    if name.endswith(".tif"):
        planes = name == "planes.tif"
        values = np.moveaxis(deep, -1, 0) if planes else deep
        tifffile.imwrite(name, values, photometric="rgb", planarconfig="separate" if planes else "contig")
    else:
        cv2.imwrite(name, deep[..., ::-1])
    status, made, _ = convert(name, "--percentiles", "0,100")
    assert status == 0
    np.testing.assert_allclose(read_upright(*made.values())[0], RGB, atol=1)


def test_a_window_or_other_percentiles_can_be_given(convert):
    tifffile.imwrite("a.tif", DEEP)
    status, made, said = convert("a.tif", "--window=-100,2000")
    assert status == 0 and "(-100 to 2000 became 0 to 255)" in said
    np.testing.assert_allclose(shades(made["a.png"]), np.interp(DEEP, [-100, 2000], [0, 255]), atol=1)
    made["a.png"].unlink()
    np.testing.assert_allclose(
        shades(convert("a.tif", "--percentiles", "5,80")[1]["a.png"]), by_percentiles(DEEP, 5, 80), atol=1
    )


PAGES: dict[str, Callable[[str], object]] = {
    "pages.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "truncated.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", truncate=True),
    "imagej.tif": lambda path: tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "bands.tif": lambda path: tifffile.imwrite(
        path, np.moveaxis(STACK, 0, -1), photometric="minisblack", planarconfig="contig"
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_each_page_of_a_stack_is_a_picture_of_its_own_by_percentiles_of_all(convert, name):
    PAGES[name](name)
    status, made, said = convert(name)
    stem = Path(name).stem
    assert status == 0 and list(made) == [f"{stem}_{page:03}.png" for page in range(3)] and "3 pages" in said
    expected = by_percentiles(STACK)
    for page, path in enumerate(made.values()):
        np.testing.assert_allclose(shades(path), expected[page], atol=1)


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_each_frame_of_a_moving_picture_is_a_picture(convert, name):
    animation(name, **({"lossless": True} if name.endswith(".webp") else {}))
    status, made, _ = convert(name)
    assert status == 0 and list(made) == [f"moving_{frame:03}.png" for frame in range(3)]
    for shift, path in zip((0, 9, 20), made.values(), strict=True):
        off = np.abs(read_upright(path)[0].astype(int) - np.roll(RGB, shift, 1))
        assert off.mean() < (8 if name.endswith(".gif") else 0.001)  # a palette of 256 colours


def test_pictures_of_8_bits_keep_their_pixels(convert):
    photo = Image.fromarray(RGB)
    photo.save("a.ppm")
    photo.save("b.webp", lossless=True)
    photo.save("c.bmp")
    photo.convert("L").save("d.tif")
    photo.convert("1").save("e.png")
    turned = Image.Exif()
    turned[274] = 6
    photo.save("f.png", exif=turned)
    half = np.full((48, 64), 255, np.uint8)
    half[:, :32] = 0
    photo.putalpha(Image.fromarray(half))
    photo.save("g.png")
    status, made, _ = convert(*sorted(map(str, Path().glob("*.*"))))
    pixels = {path.stem: read_upright(path)[0] for path in made.values()}
    assert status == 0 and len(made) == 7
    for name in "abc":
        np.testing.assert_array_equal(pixels[name], RGB)
    np.testing.assert_array_equal(pixels["d"][..., 0], np.asarray(Image.fromarray(RGB).convert("L")))
    assert set(pixels["e"].ravel().tolist()) == {0, 255}
    np.testing.assert_array_equal(pixels["f"], np.rot90(RGB, -1))
    np.testing.assert_array_equal(pixels["g"], np.where(half[..., None] > 0, RGB, 255))


def test_other_spaces_of_colours_become_rgb(convert):
    from PIL import ImageCms

    lab = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save("lab.tif")
    Image.fromarray(RGB).convert("CMYK").save("cmyk.tif")
    status, made, said = convert("lab.tif", "cmyk.tif")
    assert status == 0, said
    for path in made.values():
        assert np.abs(read_upright(path)[0].astype(int) - RGB).mean() < 4


def test_exif_alone_turns_pictures(convert):
    """As everywhere: an orientation in XMP turns nothing, also of a PNG of 16 bits or a TIFF that Pillow decodes."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save("photo.jpg", xmp=xmp)
    Image.fromarray(RGB).save("photo8.png", pnginfo=text)
    Image.fromarray(DEEP).save("photo16.png", pnginfo=text)
    Image.fromarray(RGB).save("photo.webp", xmp=xmp)
    Image.fromarray(RGB).convert("CMYK").save("photo.tif", tiffinfo={700: xmp})
    Image.fromarray(RGB).save("turned.jpg", xmp=xmp, exif=exif)
    for name in ("photo.jpg", "photo8.png", "photo16.png", "photo.webp", "photo.tif", "turned.jpg"):
        status, made, _ = convert(name)
        ((made_name, path),) = made.items()
        with Image.open(path) as image:
            assert (status, image.size) == (0, (48, 64) if name == "turned.jpg" else (64, 48)), (name, made_name)
        path.unlink()


def test_no_file_is_replaced(convert, command, tmp_path):
    tifffile.imwrite("a.tif", STACK, photometric="minisblack")
    Image.fromarray(RGB).save("b.gif")
    Path("out").mkdir()
    Path("out/a_002.png").write_text("the person's own")
    status, made, said = convert(".")
    assert status == 1 and list(made) == ["a_002.png", "b.png"] and "out/a_002.png exists already" in said
    assert Path("out/a_002.png").read_text() == "the person's own"
    status, made, said = convert(
        "."
    )  # nor what the command itself made, which it does not take for pictures to convert
    assert status == 1 and len(made) == 2 and said.count("exists already") == 2
    assert command("data", "convert", "b.gif", "out", "--out", ".")[0] == 1 and Path("b.png").exists()


def test_names_of_a_folder_are_kept_and_what_cannot_be_read_is_named(convert):
    for folder in ("photos/one", "photos/two"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(DEEP).save(f"{folder}/a.png")
    Path("photos/one/broken.tif").write_bytes(b"II*\0nothing")
    Path("photos/one/flat.png").write_bytes(Path("photos/one/a.png").read_bytes()[:100])
    Path("photos/one/notes.txt").write_text("none")
    tifffile.imwrite("photos/two/blank.tif", np.full((4, 4), 7, np.uint16))
    status, made, said = convert("photos")
    assert status == 1 and list(made) == ["one/a.png", "two/a.png"]
    assert said.count("left out") == 3 and "notes" not in said
    for told in (
        "one/broken.tif cannot be decoded",
        "one/flat.png cannot be decoded",
        "blank.tif holds no other value",
    ):
        assert told in said


@pytest.mark.parametrize("name", ["16.tif", "16.png", "32.tif", "float.tif", "palette.png", "palette.bmp", "4.png"])
def test_numbers_of_label_maps_stay(convert, name):
    numbers = np.where(NUMBERS == 255, 9, NUMBERS) if name == "4.png" else NUMBERS
    if "palette" in name:
        Image.fromarray(numbers).convert("P").save(name)
    elif name == "4.png":
        packed = numbers[:, ::2] << 4 | numbers[:, 1::2]
        rows = b"".join(b"\0" + row.tobytes() for row in packed)
        Path(name).write_bytes(png_file(64, 48, (b"IDAT", zlib.compress(rows)), depth=4))
    else:
        kind = {"16": np.uint16, "32": np.int32, "float": np.float32}[Path(name).stem]
        values = numbers.astype(kind)
        tifffile.imwrite(name, values) if name.endswith("tif") else Image.fromarray(values).save(name)
    status, made, said = convert(name, "--labels")
    assert status == 0, said
    np.testing.assert_array_equal(read_label_map(*made.values()), numbers)


def test_files_without_exact_class_numbers_are_left_out(convert):
    tifffile.imwrite("large.tif", np.full((4, 4), 300, np.uint16))
    tifffile.imwrite("half.tif", np.full((4, 4), 1.5, np.float32))
    tifffile.imwrite("white.tif", NUMBERS, photometric="miniswhite")
    Image.fromarray(RGB).save("colours.png")
    Image.fromarray(NUMBERS).save("lossy.jpg")
    Image.fromarray(NUMBERS).convert("P").save("palette.gif")
    status, made, said = convert(".", "--labels")
    assert status == 1 and not made
    for name, told in (
        ("large.tif", "the value 300"), ("half.tif", "the value 1.5"), ("white.tif", "0 is white"),
        ("colours.png", "several values a pixel"), ("lossy.jpg", "is a JPEG"), ("palette.gif", "is a GIF"),
    ):  # fmt: skip
        (line,) = [line for line in said.splitlines() if name in line]
        assert told in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["absent.png"], "absent.png does not exist"),
        (["a.png", "--window", "5,1"], "--window is '5,1'"),
        (["a.png", "--window", "nan,1"], "--window is 'nan,1'"),
        (["a.png", "--percentiles", "1"], "--percentiles is '1'"),
        (["a.png", "--percentiles=-1,50"], "--percentiles is -1,50"),
        (["a.png", "--percentiles", "1,50", "--labels"], "not allowed with"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(convert, options, told):
    Image.fromarray(DEEP).save("a.png")
    try:
        status, made, said = convert(*options)
    except SystemExit as ended:
        status, made, said = ended.code, {}, told
    assert status == 2 and not made and told in said


# Scans


def write_series(folder: Path, series: int, value: int, slices: int, prefix: str, suffix: str = ".dcm") -> None:
    """Write the slices of a DICOM series as a hospital exports them; names are in another order than positions."""
    import SimpleITK as sitk

    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    for z in range(slices):
        pixels = np.full((1, 32, 32), value + 10 * z, np.int16)
        pixels[0, 0, :2] = 0, 1000
        image, uid = sitk.GetImageFromArray(pixels), f"1.2.826.0.1.3680043.2.1125.1.{series}"
        for key, text in {
            "0008|0060": "CT", "0020|000d": "1.2.826.0.1.3680043.2.1125.9", "0020|000e": uid,
            "0020|0011": str(series), "0020|0013": str(z + 1), "0020|0032": f"0\\0\\{5 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"{uid}.{z + 1}",
        }.items():  # fmt: skip
            image.SetMetaData(key, text)
        writer.SetFileName(str(folder / f"{prefix}{slices - z:03}{suffix}"))
        with own_locale():
            writer.Execute(image)


@pytest.mark.parametrize("suffix", [".dcm", "", ".IMA"])
def test_of_a_folder_of_two_series_that_of_the_given_file_is_written(convert, command, suffix):
    pytest.importorskip("SimpleITK")
    write_series(Path("export"), 1, 100, 3, "A", suffix)
    write_series(Path("export"), 2, 500, 6, "B", suffix)
    given = f"export/B003{suffix}"
    status, _, err = command("predict", "--support", f"organ={given}:mask.png", "--query", given, "--out", "found")
    assert status == 2 and f"'fsbench data convert {given} --out slices'" in err and "slice of a scan" in err
    status, made, said = convert(given, "--window", "0,1000")
    assert status == 0 and "6 pages" in said and "1125.1.2, one of 2 in export" in said
    assert list(made) == [f"B003_{z:03}.png" for z in range(6)]
    values = [int(shades(path)[5, 5]) for path in made.values()]
    np.testing.assert_allclose(values, np.arange(500, 560, 10) * 0.255, atol=0.5)  # by position, not by name


def test_each_series_of_a_folder_is_written_once(convert, command):
    pytest.importorskip("SimpleITK")
    write_series(Path("export"), 1, 100, 3, "A")
    write_series(Path("export"), 2, 500, 2, "B")
    status, _, err = command("predict", "--support", "marked", "--query", "export", "--out", "found")
    assert status == 2 and "fsbench data convert export --out slices" in err
    status, made, said = convert("export")
    assert status == 0 and said.count("one of 2 in export") == 2
    assert list(made) == ["A001_000.png", "A001_001.png", "A001_002.png", "B001_000.png", "B001_001.png"]


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd"])
def test_slices_of_a_volume_are_pictures(convert, name):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(STACK.astype(np.int16)), name)
    status, made, _ = convert(name)
    assert status == 0 and list(made) == ["scan_000.png", "scan_001.png", "scan_002.png"]
    for path, expected in zip(made.values(), by_percentiles(STACK), strict=True):
        np.testing.assert_allclose(shades(path), expected, atol=1)


def test_colours_of_a_slice_stay_and_a_scan_of_several_times_is_left_out(convert):
    sitk = pytest.importorskip("SimpleITK")
    with own_locale():
        sitk.WriteImage(sitk.GetImageFromArray(RGB[None], isVector=True), "ultrasound.dcm")
    save_nifti(Path("times.nii.gz"), nifti(np.zeros((2, 3, 4, 5), "<i2")))
    status, made, said = convert("ultrasound.dcm", "times.nii.gz")
    assert status == 1 and "times.nii.gz has 2 volumes" in said
    np.testing.assert_array_equal(read_upright(made["ultrasound.png"])[0], RGB)


def test_labels_of_a_scan_that_were_stored_by_a_slope_are_whole_numbers(convert):
    pytest.importorskip("SimpleITK")
    stored = (np.resize([0, 1, 3], (2, 4, 5)) / 3 * 32767).round().astype("<i2")
    save_nifti(Path("labels.nii.gz"), nifti(stored, scale=(3 / 32767, 0)))
    status, made, _ = convert("labels.nii.gz", "--labels")
    assert status == 0
    assert [np.unique(read_label_map(path)).tolist() for path in made.values()] == [[0, 1, 3]] * 2
