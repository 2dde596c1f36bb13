"""Export for CVAT ("CVAT for images 1.1"): one XML file with a mask for each connected region."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fsbench.labelling.export.files import Classes, Images, write_image
from fsbench.labelling.export.outlines import row_runs
from fsbench.labelling.regions import connected_regions
from fsbench.predict.result import palette


def write_cvat(images: Images, classes: Classes, out: Path) -> None:
    """Write `images/` and `annotations.xml`.

    A mask's `rle` counts pixels outside and inside in turn, row by row of its box.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    job = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "job")
    ElementTree.SubElement(job, "size").text = str(len(images))
    labels = ElementTree.SubElement(job, "labels")
    for number, name in enumerate(classes, 1):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#" + bytes(palette()[number]).hex()
        ElementTree.SubElement(label, "type").text = "mask"
        ElementTree.SubElement(label, "attributes")
    for place, image in enumerate(images):
        exported = write_image(image, out / "images")
        height, width = map(str, exported.size)
        attributes = {"id": str(place), "name": exported.file.name, "width": width, "height": height}
        entry = ElementTree.SubElement(root, "image", attributes)
        for region in connected_regions(exported.labels):
            box = dict(zip(("left", "top", "width", "height"), map(str, region.box), strict=True))
            runs = ", ".join(map(str, row_runs(np.asarray(region.mask))))
            fixed = {"source": "manual", "occluded": "0", "rle": runs, **box, "z_order": "0"}
            ElementTree.SubElement(entry, "mask", {"label": classes[region.number - 1], **fixed})
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(out / "annotations.xml", encoding="utf-8", xml_declaration=True)
