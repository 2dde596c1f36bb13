"""Instructions on what to fetch from where when a data set is absent. Nothing here downloads."""

from fsbench.errors import DataError

PASCAL = """\
`fsbench data prepare pascal --root <root>` fetches and arranges everything. By hand, from the page
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ fetch
  VOCtrainval_11-May-2012.tar   md5 6cd6e144f989b92b3379bac3b3de84fd
and unpack it; <root> is its folder VOCdevkit/VOC2012 with
  JPEGImages/                          17125 photos
  ImageSets/Segmentation/val.txt       1449 names
  SegmentationClass/                   2913 label maps
From the page http://home.bharathh.info/pubs/codes/SBD/download.html fetch
  benchmark.tgz                 md5 82b4d87ceb2ed10f6038a1cba92111cb
and make the folder
  SegmentationClassAug/                12031 label maps: those of SegmentationClass, and for all other images
                                       GTcls.Segmentation of SBD's cls/<name>.mat as <name>.png (class numbers)
With both archives in DIR, `fsbench data prepare pascal --root <root> --from DIR` checks them and does the rest."""

COCO = """\
`fsbench data prepare coco --root <root>` fetches and arranges everything. By hand, from the page
https://cocodataset.org/#download fetch
  train2014.zip                  md5 0da8c0bd3d6becc4dcb32757491aca88   82783 photos
  val2014.zip                    md5 a3d79f5ed8d289b7a7554ce06a5782b3   40504 photos
  annotations_trainval2014.zip   md5 0a379cfc70b0e71301e0f377548639bd
and unpack all three in <root>, which then holds
  train2014/   val2014/   annotations/instances_train2014.json   annotations/instances_val2014.json
Check the archives with md5sum."""

COCO_ALL = """\
`fsbench data prepare coco_all --root <root>` fetches and arranges everything; the folder of coco holds it, too. By
hand, from the page https://cocodataset.org/#download fetch
  val2014.zip                    md5 a3d79f5ed8d289b7a7554ce06a5782b3   40504 photos
  annotations_trainval2014.zip   md5 0a379cfc70b0e71301e0f377548639bd
and unpack both in <root>, which then holds
  val2014/   annotations/instances_val2014.json
Check the archives with md5sum."""

FSS1000 = """\
The archive is on Google Drive, which only a browser gets it from: follow the link on the page
https://github.com/HKUSTCV/FSS-1000, put the file (fewshot_data.zip) into DIR, and run
  fsbench data prepare fss1000 --root <root> --from DIR
Its authors publish no checksum; the command verifies the structure: 1000 class folders with 1.jpg … 10.jpg, 1.png …
10.png. <root> may also be the unpacked folder itself."""

LISTS = """\
The lists are kept in the authors' repositories; `fsbench data prepare` fetches them:
  https://github.com/juhongm999/hsnet   folder data/splits, commit 6b1bc12b3ff9f3950f49c55ab6f089e8d9e0d191 (trn, val)
  https://github.com/visinf/emat        folder data/splits, commit 7db92ea (size splits, under custom/)
  https://github.com/Sam1224/HMNet      commit 556916cc2036f32d68d8e0b810eb9ebcbee6ae1a (PFENet-like; by hand)
Give the folder data/splits of a checkout, or a folder with several such folders; files are looked for as
  <folder>/pascal/val/fold0.txt   <folder>/coco/val/fold0.pkl   <folder>/pascal/custom/0-5/fold0.txt
  <folder>/fss/test.txt           <folder>/pascal/fss_list/val/data_list_0.txt
Without lists the suite derives its own from the annotations and the record says so."""

COCO_2017 = """\
  val2017.zip                    md5 442b8da7639aecaf257c1dceb8ba8c80   5000 photos
  train2017.zip                  md5 cced6f7f71b7629ddf16f17bbcfab6b2   118287 photos"""
"""The photos of COCO 2017, from the page https://cocodataset.org/#download."""

ISAID = """\
The 256 x 256 patches and the lists fold0.txt, fold1.txt, fold2.txt are files of GF-SAM's authors; follow the links to
their data on the page https://github.com/ANDYZAQ/GF-SAM. <root> then holds
  val/images/<name>.png   val/semantic_png/<name>_instance_color_RGB.png   lists/isaid/val/fold0.txt, …
The lists' md5 are 96e4ffcf8b63d9bf0b8c5810bc770995, faff4209dfe56dc8a17ddaa6c48abf2c and
8b87d6ef6165a14c080fa7ef0c13b1e7 (lines joined by LF, with a final LF); the suite checks them."""

LVIS = f"""\
The annotations are a file of Matcher's authors; follow the links to their data on the page
https://github.com/aim-uofa/Matcher and put it at <root>/lvis_val.pkl. The photos are COCO's of 2017, from the page
https://cocodataset.org/#download
{COCO_2017}
unpacked in <root>/coco. <root> then holds
  lvis_val.pkl   coco/val2017/   coco/train2017/, of both the photos that the file names
No checksum of the file is published; `fsbench data check lvis --root <root>` compares class counts."""

PACO_PART = f"""\
The annotations are files of Matcher's authors; follow the links to their data on the page
https://github.com/aim-uofa/Matcher and put them into <root>/paco. The photos are COCO's of 2017, from the page
https://cocodataset.org/#download
{COCO_2017}
unpacked in <root>/coco. <root> then holds
  paco/paco_part_train.pkl   paco/paco_part_val.pkl   coco/val2017/   coco/train2017/
No checksum of the files is published; `fsbench data check paco_part --root <root>` compares class counts."""

PASCAL_PART = """\
The annotations are files of Matcher's authors; follow the links to their data on the page
https://github.com/aim-uofa/Matcher. The photos are those of VOC 2010, from the page
http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (VOCtrainval_03-May-2010.tar). <root> is the folder VOC2010 with
  all_obj_part_to_image.json   Annotations_Part_json_merged_part_classes/<id>.json   JPEGImages/<id>.jpg
No checksum of the files is published; `fsbench data check pascal_part --root <root>` compares class counts."""

CUB = """\
`fsbench data prepare cub --root <root>` fetches and arranges everything. By hand, from the page
https://data.caltech.edu/records/65de6-vp158 fetch
  CUB_200_2011.tgz              md5 97eceeb196236b17998738112f37df78
and unpack it; <root> is its folder CUB_200_2011 with
  images/                       200 folders, 11788 photos"""

CARS = """\
The publisher's page is gone. Put copies of his archives into DIR,
  car_devkit.tgz                md5 c3b158d763b6e2245038c8ad08e45376
  cars_train.tgz                md5 065e5b463ae28d29e77c1b4b166cfe61
and run `fsbench data prepare cars --root <root> --from DIR`. <root> then holds
  cars_train/   8144 photos     devkit/cars_train_annos.mat   devkit/cars_meta.mat"""

PLACES = """\
`fsbench data prepare places --root <root>` fetches and arranges everything (more than 20 GB to fetch, 73000 photos are
kept). By hand, from the page http://places2.csail.mit.edu/download-private.html fetch
  places365standard_easyformat.tar   no checksum is published
and unpack it; <root> is its folder places365_standard with
  train/                        365 folders with 3068 to 5000 photos each"""

PLANTAE = """\
`fsbench data prepare plantae --root <root>` fetches and arranges everything (120 GB to fetch). By hand, from the page
https://github.com/visipedia/inat_comp/tree/master/2018 fetch
  train_val2018.tar.gz          md5 b1c6952ce38f31868cc50ea72d066cc3
  categories.json.tar.gz        no checksum is published
and unpack both; <root> is the folder with
  Plantae/                      a folder of photos for each category
  categories.json"""

AIRCRAFT = """\
`fsbench data prepare aircraft --root <root>` fetches and arranges everything. By hand, from the page
https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ fetch
  fgvc-aircraft-2013b.tar.gz    md5 d4acdd33327262359767eeaa97a4f732
and unpack it; <root> is its folder data with
  images/   10000 photos        images_family_trainval.txt"""

PETS = """\
`fsbench data prepare pets --root <root>` fetches and arranges everything. By hand, from the page
https://www.robots.ox.ac.uk/~vgg/data/pets/ fetch
  images.tar.gz                 md5 5c4f3ee8e5d25df40f4fd59a7f44e54c
  annotations.tar.gz            md5 95a8c909bbe2e81eed6a22bccdf3f68f
and unpack both in <root>, which then holds
  images/   7390 photos         annotations/list.txt"""

IMAGE_FOLDER = """\
Give a folder that holds a folder for each class with its images in it:
  <root>/<class>/<image>        .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif, .tiff, .ppm"""


GUIDES = {
    "pascal": PASCAL, "coco": COCO, "coco_all": COCO_ALL, "fss1000": FSS1000, "cub": CUB, "cars": CARS,
    "places": PLACES, "plantae": PLANTAE, "aircraft": AIRCRAFT, "pets": PETS, "imagefolder": IMAGE_FOLDER,
    "isaid": ISAID, "lvis": LVIS, "paco_part": PACO_PART, "pascal_part": PASCAL_PART,
}  # fmt: skip
"""Instructions by the names of data sets."""


def missing(problem: str, guide: str) -> DataError:
    """A DataError: `problem` on the first line (found, expected), then the lines of `guide`, indented."""
    return DataError(problem, *(f"  {line}" for line in guide.splitlines()))
