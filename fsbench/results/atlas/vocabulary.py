"""Meanings of the closed words of the atlas: the page, `fsbench atlas words` and the tests take them from here."""

from collections.abc import Iterator, Mapping

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.conditions import NOT_FOUND, NOT_STATED
from fsbench.protocols.registry import known_metrics
from fsbench.results.atlas.words import LABELS

_UNKNOWN = {
    NOT_FOUND: "the sources were read and do not tell, or are not to be had",
    NOT_STATED: "the protocol of a run does not say",
}
"""Words that any condition may have."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "task": {
        "FSS": "segment one class, which the query shows",
        "CD-FSS": "the same on images of another domain than the training's",
        "FS-CS": "say which of N classes the query shows, which may be none, and segment them",
        "GFSS": "segment base and novel classes at once",
        "in-context": "as FSS, of a method that is not trained for it",
        "FSS all classes": "segment all classes of an image at once, without base classes",
        "FSS medical": "segment organs in the slices of scans",
    },
    "image_lists": {
        "hsnet": "HSNet's: pairs of an image and a class with a large enough object; training images may show novel "
        "classes, as background",
        "pfenet": "PFENet's: images with 2048 pixels of a class or more, any class of which may be asked for",
        "bam": "PFENet's, and training images that show a novel class are left out",
        "panet": "PANet's: images of the training part (trainaug; of COCO train) that show a class, of any size",
        "oslsm": "OSLSM's: the pairs of hsnet on PASCAL",
        "mlc": "MLC's: images with 2048 pixels of a class or more are queries, those of them that show a class its "
        "supports; the folds of COCO are blocks of 20 classes",
        "folders": "every file of a class's folder",
        "fss-1000 test": "the 240 test classes of FSS-1000",
        "fss-1000 val": "the 240 validation classes of FSS-1000",
        "gfss": "all validation images that show a class are queries, supports come from another list",
        "own": "of the program alone",
    },
    "min_object": {
        "none": "objects of any size",
        "by the list": "what the list has; the program looks at no sizes",
        "2048 by the list": "the list has pairs of 2048 pixels or more",
        "2048 query+support": "images of 2048 pixels of a class or more as queries and supports; the class of a query "
        "is drawn among all that it shows",
        "4096 query+support": "the same with 4096 pixels",
        "2048 list + support": "images with 2048 pixels of a class or more; the class of a query is drawn among all "
        "that it shows, a support has 2048 pixels of it",
        "2048 per object": "single objects below 2048 pixels do not exist",
        "1000 support only": "supports have more than 1000 pixels, queries any number",
        "16384 support only": "supports have 16384 pixels or more, queries any number",
    },
    "episode_draw": {
        "list of pairs": "query and class go through a list, supports are drawn and may repeat",
        "list of pairs, shuffled when through": "the same, and the list is shuffled in place by the generator that "
        "draws each time it is through; supports differ",
        "list of pairs, two shuffled copies appended": "the list, then two shuffled copies of it, all drawn before",
        "list of images": "queries go through a list of images, each of one class",
        "list of images in shuffled order": "the same, in an order that a sampler has shuffled",
        "image then class": "queries go through a list of images, the class is drawn among those shown; supports "
        "differ",
        "image then class, query allowed as support": "the same, and the query may be its own support",
        "image then class, class by NumPy": "the same, the class drawn by NumPy and the supports by Python's random",
        "image then class, generator of the episode": "the same, each episode drawn by a generator of its own",
        "image then class, supports may repeat": "the same, with supports as HSNet draws them",
        "random image then class": "an image of the list is drawn, whatever the episode's number, then its class",
        "shuffled images then class": "each pass goes through a permutation of the list, the class is drawn among "
        "those shown",
        "class then image": "a class is drawn, then an image of it, then supports, which may repeat",
        "class then image, generator of the episode": "the same, each episode drawn by a generator of its own, and "
        "supports differ",
        "class then image, query last": "a class is drawn, then K + 1 different images, the last of which is the "
        "query; all episodes before the loop",
        "class then image, query first": "a class is drawn, then K + 1 different images, the first of which is the "
        "query",
        "class then image, different supports": "a class is drawn, then an image of it, then different supports",
        "class cycle": "the classes take turns, an image of the class is drawn",
        "class cycle in shuffled order": "the same episodes' numbers in an order that a sampler has shuffled, so that "
        "the classes do not take turns",
        "fixed support set": "all queries have the same supports; how these are drawn is not told",
        "fixed support set, by trials": "all queries have the same supports, drawn until K of a class are large enough "
        "and show no other novel class",
        "fixed support set, by shuffling": "all queries have the same supports, the first K of a shuffled list that "
        "show no other novel class",
    },
    "depends_on": {
        "no": "the same command draws the same episodes",
        "workers": "the number of loader processes; seeds are set again before the loop",
        "workers+network+torch": "the number of loader processes, what the network's initialisation draws, as seeds "
        "are set before it, and the version of PyTorch, which seeds NumPy in loader processes since 1.9",
        "file order": "the order in which the file system lists a folder",
        "gpus": "the number of GPUs",
        "gpus, and batch through drop_last": "the number of GPUs, and the size of a batch, whose rest is dropped",
        "batch": "the size of a batch",
        "workers+gpus": "the number of loader processes and of GPUs",
        "unseeded": "each run draws others",
        "unseeded+workers": "each run draws others, and the number of loader processes",
    },
    "geometry": {
        "squash, PIL, labels torch": "stretched to S x S by PIL, with antialiasing; masks by torch's nearest pixel",
        "squash, PIL, labels PIL": "stretched to S x S by PIL, with antialiasing; masks by PIL's nearest pixel",
        "squash, OpenCV": "stretched to S x S by OpenCV, without antialiasing; masks by its nearest pixel",
        "squash": "stretched to S x S, the aspect ratio is lost; by which library is not told",
        "letterbox": "the longer side becomes S, both sides are rounded down to multiples of 8, the rest is padding",
        "letterbox, sides rounded": "the longer side becomes S, the other is rounded, the rest is padding",
        "letterbox, sides rounded down": "the same, the other side rounded down",
        "none": "images keep their size",
        "collage": "supports and query are parts of one image",
    },
    "compared_at": {
        "network input, torch nearest": "at S x S, the truth by torch's nearest pixel",
        "network input, OpenCV nearest": "at S x S, the truth by OpenCV's nearest pixel",
        "network input, PIL nearest": "at S x S, the truth by PIL's nearest pixel, which looks at middles",
        "network input, letterboxed": "at S x S, the truth letterboxed as the image, its padding void",
        "network input": "at S x S; by which nearest pixel is not told",
        "original, square": "at the square of the query's longer side, in which the truth lies at the top left; the "
        "rest is void",
        "original, height and width": "at the query's own height and width",
        "original, label there and back": "at the query's own size, the truth stretched to S x S and back",
        "original, from a 512 frame": "at the query's own size, truth and answer stretched out of a padded square "
        "of 512",
        "original": "at the query's own size; whether as a square is not told",
        "answer size": "at the size of the network's answer",
        **{f"fixed {side}": f"at {side} x {side}, whatever S is" for side in (256, 512, 518, 1024)},
    },
    "void": {
        "ignored": "pixels without a true class are left out",
        "background": "pixels without a true class are background, so that an answer on them costs",
        "none": "the data set has no such pixels",
    },
    "metric": {
        "class-pooled mIoU": "intersections and unions of a class are summed and divided once; mean over the classes, "
        "of which one without an episode counts as 0",
        "class-pooled mIoU, classes seen": "the same, a class without an episode left out of the mean",
        "class-pooled mIoU, present only": "the same; in an episode whose truth, as compared, lacks the class nothing "
        "of it is counted, and without an episode of each class there is no mean",
        "class-pooled mIoU, absent is an error": "the same; the program stops where a class has no episode",
        "class-pooled mIoU, best threshold": "the same, at the threshold that is best on the test",
        "pooled foreground IoU": "sums over all classes together",
        "pooled over batches with background": "sums within a batch, whose background counts, too",
        "confusion with background": "from a confusion matrix in which the background is a class",
        "confusion without background": "from a confusion matrix, the background's row left out",
        "gfss, base with background, zero for absent": "base and novel mIoU; the background is a base class, and a "
        "class without a pixel counts as 0",
        "gfss, base with background": "the same; what a class without a pixel counts is not told",
        "gfss, base without background": "base and novel mIoU without the background",
        "mean Dice of scans": "Dice of each scan, then the mean",
    },
    "fb_iou": {
        "pooled": "mean of the IoU of all foreground and of the background, sums over all episodes",
        "pooled, present only": "the same; in an episode whose truth, as compared, lacks the class or the background "
        "nothing of it is counted",
        "not computed": "the program has no such score",
        "mean of mIoU and background IoU": "mean of the mIoU and the background's IoU",
    },
    "kshot": {
        "vote of shots": "each shot answers, pixels are voted for",
        "mean of prototypes": "mean of the shots' prototypes",
        "mean of features": "mean of the shots' features",
        "mean of features and priors": "mean of the shots' features and of their prior masks",
        "mean of outputs": "mean of the answers to each shot",
        "learned weights of shots": "weights that a network gives",
        "shots weighted by correlation": "weights by how much a shot is like the query",
        "shots weighted by self-agreement": "weights by how well a shot segments itself",
        "concatenated in attention": "attention over the tokens of all shots",
        "pixels of all shots together": "pixels of all shots are one set",
        "parts of all shots": "parts or clusters of all shots are one set",
        "prompts of all shots together": "prompts of all shots are given at once",
        "classifier trained on all shots": "a classifier is trained on the supports of the test",
        "tuned on all shots": "weights are tuned on the supports of the test",
        "memory": "a memory holds the shots, as frames of a video",
        "collage": "shots and query are one image",
        "one scan in parts": "one support scan, cut into parts",
        "1-shot only": "the program takes one shot",
    },
    "support_annotation": {
        "mask": "masks",
        "mask or weaker (option)": "masks, or by an option scribbles, boxes or points",
        "mask or text (option)": "masks, or by an option words",
        "image label": "the name of a class that the image shows",
        "box": "boxes",
    },
    "checkpoint": {
        "best on test fold": "the best of a training by its score on the novel classes of the test",
        "best on test set": "the best by its score on the test images",
        "best on FSS-1000 val": "the best by its score on FSS-1000's validation classes",
        "best on source data": "the best by its score on the data of the training",
        "best on base classes": "the best by its score on base classes",
        "best on the supports": "the best by its score on the supports of the test",
        "last": "the last of a training",
        "one model for all folds": "one network, trained elsewhere, serves all folds",
        "none": "nothing is trained",
    },
    "saw_test_classes": {
        "no": "no label of the test's classes was in a training",
        "perhaps": "what the network was trained on may hold labels of them",
        "yes": "labels of the test's classes were in a training",
    },
}
"""Condition -> word -> what it means, of the published programs."""


def known_words() -> dict[str, dict[str, str]]:
    """Return `WORDS` and the words that metrics of protocols bring, with the meanings of these metrics."""
    metrics = known_metrics().values()
    own = {
        "metric": {metric.atlas_metric: metric.meaning for metric in metrics if metric.atlas_metric},
        "fb_iou": {metric.atlas_fb_iou: metric.meaning for metric in metrics if metric.atlas_fb_iou},
    }
    return {name: {**words, **own.get(name, {}), **words} for name, words in WORDS.items()}


def meaning(condition: str, word: str) -> str:
    """Return what a word of a condition means; "" for numbers and free text."""
    return known_words().get(condition, {}).get(word) or _UNKNOWN.get(word, "")


def listed_words(condition: str | None = None) -> Iterator[str]:
    """Yield the words with their meanings in lines, of one condition or of all.

    Raises:
        SettingsError: the condition has no closed list.
    """
    if condition is not None and condition not in WORDS:
        raise SettingsError(f"'{condition}' has no closed list of words{known_names(condition, tuple(WORDS))}")
    known = known_words()
    for name in known if condition is None else (condition,):
        yield f"{name} ({LABELS[name]})"
        width = max(map(len, known[name]))
        yield from (f"  {word:<{width}}  {words}" for word, words in known[name].items())
    yield "any condition"
    yield from (f"  {word}  {words}" for word, words in _UNKNOWN.items())
