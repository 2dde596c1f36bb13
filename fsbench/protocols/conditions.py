"""Conditions of a test: what must agree before two figures stand side by side (atlas-runs.md §1-§10).

Each condition is one value; `CONDITIONS` has them all. From it follow what the file of a protocol may say, what
`Protocol.conditions` answers, how a published test is composed, and what people read about it.
"""

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal, NamedTuple

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.episode_rules import fob, hsnet, lists, oslsm, pfenet, streams, vrp
from fsbench.scores.generalised import AllAndBackgroundIoU, BaseAndNovelIoU
from fsbench.scores.metric import Metric
from fsbench.scores.scores import Absent, FBIoU, FBIoUClasses, MeanIoU, MeanIoUByDraw
from fsbench.scores.volumes import Dice

NOT_STATED = "not stated"
"""A protocol, such as one of an installed package, that does not say."""
NOT_FOUND = "not found"
"""A published program was read and does not tell, or is not to be had."""
UNKNOWN: Mapping[str, str] = {
    NOT_FOUND: "the sources were read and do not tell, or are not to be had",
    NOT_STATED: "the protocol of a run does not say",
}
"""Words that any condition may have, with their meanings."""


@dataclass(frozen=True)
class Value:
    """A word that a condition of a test may have.

    Attributes:
        word: the word in files, in the atlas and on pages; {} in it stands for a number.
        sentence: its meaning.
        part: what obeys it, such as a `Lists` or a `DrawRule`, or the function from the word's number to that; None if
            nobody can run it.
        choice: what fsbench chooses where the word does not say all; "" for a word that does.
        is_open: whether the word leaves open which of several rules a program has, so that tests cannot be compared by
            it.
        also: further parts that the word describes.
        stated: the word by which a test of this word is stated, where it is no word of the atlas; "" for itself.
        phrase: verb and word in plain English, where quoting the word would not do.
        absent_in: for a word that says that something is not there, which no line of a program shows: what it is read
            from, the key of another condition, "dataset", or "program".
    """

    word: str
    sentence: str
    part: Any = None
    choice: str = ""
    is_open: bool = False
    also: tuple[Any, ...] = ()
    stated: str = ""
    phrase: str = ""
    absent_in: str = ""

    def named(self, word: str) -> "Value | None":
        """Return this value, with its number filled in, if `word` is its word; else None."""
        if "{}" not in self.word:
            return self if word == self.word else None
        found = re.fullmatch(re.escape(self.word).replace(r"\{\}", r"([1-9]\d{0,8})"), word, re.ASCII)
        if found is None:
            return None
        part = self.part(int(found[1])) if callable(self.part) else self.part
        sentence, phrase = self.sentence.format(found[1]), self.phrase.format(found[1])
        return replace(self, word=word, sentence=sentence, phrase=phrase, part=part)


Role = Literal["test", "run", "told", "shown"]
"""What a difference means: other tests; one test, with figures that were made otherwise (run) or by methods that are
given other labels (told); or nothing that keeps figures apart (shown)."""


@dataclass(frozen=True)
class Condition:
    """A condition of a test, or of the method in it.

    Attributes:
        key: its name in files and columns.
        label: its name on pages and in text.
        meaning: what follows from it for a figure.
        verb: verb before its word in a sentence about a program.
        role: what a difference in it means.
        values: the words that it may have; () for numbers and free text.
        unlined: number of programs whose place in the sources was not noted before places were, which never grows; None
            for a condition of which no place is noted.
        is_free: whether other text than these words is allowed.
    """

    key: str
    label: str
    meaning: str = ""
    verb: str = "has"
    role: Role = "test"
    values: tuple[Value, ...] = ()
    unlined: int | None = None
    is_free: bool = False

    def value(self, word: str) -> Value | None:
        """Return the value of a word; None if the condition has no such word."""
        return next((found for one in self.values if (found := one.named(word))), None)

    def obeyed(self, word: str) -> Value:
        """Return the value of a word that has a part.

        Raises:
            SettingsError: nothing obeys the word.
        """
        found = self.value(word)
        if found is None or found.part is None:
            known = known_names(word, tuple(one.word.format("<N>") for one in self.values if one.part is not None))
            means = f" ({found.sentence})" if found else ""
            raise SettingsError(f"{self.key} is '{word}'{means}, for which there is no rule{known}")
        return found

    def word(self, part: Any) -> str:
        """Return the word that a part of a test obeys; `NOT_STATED` if none says just that."""
        for one in self.values:
            if "{}" not in one.word:
                numbered = [one]
            else:
                own = astuple(part) if hasattr(part, "__dataclass_fields__") else ()
                numbered = [found for n in own if isinstance(n, int) and (found := one.named(one.word.format(n)))]
            for each in numbered:
                if (each.part == part and not each.choice) or part in each.also:
                    return each.word
        return NOT_STATED

    def meaning_of(self, word: str) -> str:
        """Return what a word means; "" for numbers and free text."""
        found = self.value(word)
        return found.sentence if found else UNKNOWN.get(word, "")

    def explained(self, word: str) -> str:
        """Return a word with its meaning behind it."""
        means = self.meaning_of(word)
        return f"{word}: {means}" if means else word

    def phrase(self, word: str) -> str:
        """Return words that follow the name of a program: "gets masks", "counts at 'original'"."""
        if word in UNKNOWN:
            return f"does not tell “{self.label}”"
        found = self.value(word)
        return (found.phrase if found else "") or f"{self.verb} '{word}'"

    def agrees(self, ours: str, theirs: str) -> bool:
        """Return whether two tests agree in the condition; with a word that leaves it open nobody can tell."""
        return ours == theirs and not self.is_unsure(ours)

    def is_unsure(self, word: str) -> bool:
        """Return whether a word leaves the condition open, so that tests cannot be compared by it."""
        found = self.value(word)
        return word in UNKNOWN or bool(found and found.is_open)


@dataclass(frozen=True)
class Comparison:
    """Size at which prediction and ground truth are compared, as fields of `View`."""

    query_size: Any
    label_resize: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Score:
    """How a published evaluation program computes a score.

    Attributes:
        metric: fsbench's metric that computes it; None if the program computes no such score.
        absent: what a class without an episode counts as: "zero", "left_out" of the mean, or "nan" (no mean).
        present_only: a class counts only in episodes whose ground truth shows it (rule "present" for void pixels).
    """

    metric: Metric | None
    absent: Absent = "zero"
    present_only: bool = False


FSS = Value("FSS", "segment one class, which the query shows")
IN_CONTEXT = Value("in-context", "as FSS, of a method that is not trained for it")
FS_CS = Value("FS-CS", "say which of N classes the query shows, which may be none, and segment them")
TASK = Condition(
    "task", "task", verb="is about", values=(
        FSS, FS_CS,
        Value("CD-FSS", "the same on images of another domain than the training's"),
        Value("GFSS", "segment base and novel classes at once"),
        IN_CONTEXT,
        Value("FSS all classes", "segment all classes of an image at once, without base classes"),
        Value("FSS medical", "segment organs in the slices of scans"),
        Value("FSS fixed supports", "segment all images by one set of supports"),
        Value("presence", "say whether the query shows the class at all; no published test"),
    ),
)  # fmt: skip
DATASET = Condition("dataset", "data set", verb="is on")

OWN_LISTS = Value("own", "of the program alone")
GFSS_LISTS = Value("gfss", "all validation images that show a class are queries, supports come from another list")
LISTS_OF_PFENET = Value("pfenet", "images with 2048 pixels of a class of the fold or more", lists.PFENET)
LISTS_OF_BAM = Value("bam", "as pfenet; in training, images that show a novel class are left out", lists.PFENET)
IMAGE_LISTS = Condition(
    "image_lists", "image lists",
    "The lists say which images the test asks for, and for which class. BAM's lists leave out training images that "
    "show a novel class. They name images instead of (image, class) pairs, so the test also asks for tiny objects.",
    "goes through the lists", unlined=9, values=(
        Value("hsnet", "pairs of an image and a class with a large enough object", lists.HSNET),
        Value("oslsm", "pairs of an image and a class; on PASCAL those of HSNet", lists.HSNET),
        LISTS_OF_PFENET,
        LISTS_OF_BAM,
        Value("mlc", "images with 2048 pixels of a class of the fold or more; supports are among them, a class below "
              "2048 pixels is drawn again", lists.MLC),
        Value("panet", "training images that show the class", lists.PANET),
        Value("folders", "every file of a class's folder", lists.HSNET),
        Value("fss-1000 test", "FSS-1000's 240 test classes", lists.HSNET),
        Value("fss-1000 val", "FSS-1000's 240 validation classes", lists.HELD_OUT),
        GFSS_LISTS, OWN_LISTS,
        Value("patches of 256", "pairs of a patch and a class with a large enough object", lists.HSNET,
              stated=OWN_LISTS.word),
        Value("patches of 512", "images with 2048 pixels of a class of the fold or more, in the order of their names",
              lists.PATCHES, stated=OWN_LISTS.word),
        Value("folds of images", "the images of a fold, class after class", lists.IN_FOLDS, stated=OWN_LISTS.word),
    ),
)  # fmt: skip
ANY_OBJECT = Value("none", "objects of any size", absent_in="image_lists", part=(
    "hsnet", "oslsm", "panet", "folders", "folds of images", "fss-1000 test", "fss-1000 val",
))  # fmt: skip
BY_LIST = Value("by the list", "what the list has; the program looks at no sizes", ("hsnet", "oslsm", "patches of 256"),
                absent_in="image_lists")  # fmt: skip
OBJECTS_ALONE = Value("{} per object", "single objects below {} pixels do not exist")
BOX_SUPPORTS = Value("1000 support only", "supports have more than 1000 pixels of the class, queries any number")
LARGE_SUPPORTS = Value("{} support only", "supports have {} pixels of the class or more, queries any number")
MIN_OBJECT = Condition(
    "min_object", "smallest object", "Small objects are hard. Without them every figure is higher.", role="shown",
    unlined=13, values=(
        ANY_OBJECT,
        BY_LIST,
        Value("2048 by the list", "the list has pairs of 2048 pixels or more", ("hsnet", "pfenet", "bam"),
              absent_in="image_lists"),
        Value("2048 query+support", "images of 2048 pixels of a class or more as queries and supports; the class of a "
              "query is drawn among all that it shows", ("pfenet", "bam", "patches of 512")),
        Value("{} query+support", "the same with {} pixels", lambda pixels: ("pfenet", "bam")),
        Value("2048 list + support", "images with 2048 pixels of a class or more; the class of a query is drawn among "
              "all that it shows, a support has 2048 pixels of it", ("mlc",)),
        OBJECTS_ALONE, BOX_SUPPORTS, LARGE_SUPPORTS,
    ),
)  # fmt: skip
"""The part of a smallest object are the lists that have it: a size is a matter of the list, which the word names."""

IMAGE_THEN_CLASS = Value("image then class", "query images go through the list, the class is drawn among all that the "
                         "image shows; K different supports", pfenet.IMAGE_THEN_CLASS)  # fmt: skip
DIFFERENT_SUPPORTS = Value(
    "class then image, different supports", "a class is drawn, then an image of it, then different supports"
)
CLASS_CYCLE = Value(
    "class cycle", "the classes take turns, an image of the class is drawn; supports may repeat", hsnet.BY_TURNS
)
FIXED_SET = Value("fixed support set", "all queries have the same supports; how these are drawn is not told")
BY_TRIALS = Value("fixed support set, by trials", "all queries have the same supports, drawn until K of a class are "
                  "large enough and show no other novel class")  # fmt: skip
BY_SHUFFLING = Value("fixed support set, by shuffling", "all queries have the same supports, the first K of a shuffled "
                     "list that show no other novel class")  # fmt: skip
LIST_OF_PAIRS = Value("list of pairs", "queries go through the list of pairs of an image and a class; supports may "
                      "repeat", hsnet.IN_LIST_ORDER)  # fmt: skip
OF_DATASET = Value("of the data set", "as list of pairs, class then image, or class cycle, whichever the data set has; "
                   "supports may repeat", hsnet.OF_DATASET, stated=NOT_STATED)  # fmt: skip
EPISODE_DRAW = Condition(
    "episode_draw", "episodes are drawn",
    "If the class is drawn first, every class has the same weight. With a list of images or pairs, frequent classes "
    "weigh more.", "draws", unlined=15, values=(
        LIST_OF_PAIRS,
        Value("list of pairs, shuffled when through", "queries go through the list of pairs, which is shuffled in "
              "place before each further pass by the generator that draws; K different supports",
              oslsm.SHUFFLED_WHEN_THROUGH),
        Value("list of pairs, two shuffled copies appended", "queries go through the list of pairs and two shuffled "
              "copies of it, all drawn before; K different supports", oslsm.TWO_COPIES),
        Value("list of images", "queries go through the list, each image of one class; supports may repeat",
              hsnet.IN_LIST_ORDER),
        Value("list of images in shuffled order", "the images of the list come in the order of a shuffling sampler, "
              "each of one class; supports may repeat", hsnet.SHUFFLED_LIST),
        IMAGE_THEN_CLASS,
        Value("image then class, query allowed as support", "as image then class, and the query may be among its own "
              "supports", pfenet.QUERY_ALLOWED),
        Value("image then class, class by NumPy", "as image then class, the class by NumPy's generator and the "
              "supports by Python's", pfenet.CLASS_BY_NUMPY),
        Value("image then class, generator of the episode", "query images go through the list; class and K different "
              "supports come from a generator of the episode's own", hsnet.EPISODES_IMAGES),
        Value("image then class, supports may repeat", "query images go through the list, the class is drawn among all "
              "that the image shows; supports may repeat", vrp.SUPPORTS_REPEAT),
        Value("random image then class", "query, class and K different supports are drawn for each episode, whatever "
              "its number", pfenet.RANDOM_IMAGE),
        Value("shuffled images then class", "query images go through the list in another order in each pass, from the "
              "generator of class and supports", pfenet.SHUFFLED_IMAGES),
        Value("class then image", "a class is drawn, then an image of it; supports may repeat", hsnet.CLASS_FIRST),
        Value("class then image, generator of the episode", "class, query and K different supports come from a "
              "generator of the episode's own", hsnet.EPISODES_CLASSES),
        Value("class then image, query last", "a class is drawn, then K + 1 of its images, the last of which is the "
              "query", oslsm.QUERY_LAST),
        Value("class then image, query first", "a class is drawn, then K + 1 of its images, the first of which is the "
              "query", oslsm.QUERY_FIRST),
        DIFFERENT_SUPPORTS,
        CLASS_CYCLE,
        Value("class cycle in shuffled order", "the classes come in the order of a shuffling sampler, an image of the "
              "class is drawn; supports may repeat", hsnet.SHUFFLED_TURNS),
        FIXED_SET, BY_TRIALS, BY_SHUFFLING, OF_DATASET,
        Value("next of the list", "nothing is drawn: class after class, every image is asked once, with the K images "
              "before it in its class's list as supports; the last images are before the first one",
              fob.NEXT_OF_LIST, stated=NOT_STATED),
    ),
)  # fmt: skip
LISTED_PAIRS = Value("as many as listed pairs", "each listed pair once", "all")
ALL_OF_FSS = Value("all 2400", "each listed image once", "all")
ALL_OF_VAL = Value("all images of val", "all validation images")
ALL_OTHERS = Value("all other images", "every image that is no support")
ALL_IN_TEST = Value("all test images", "every image of the list of the test")
SLICES_IN_RANGE = Value("all slices of the fold", "all slices from the first to the last that shows the class")
SLICES_SHOWN = Value("all slices of the fold that show the class", "no others")
SLICES_ALL = Value("all slices of the fold, those without the class too", "whole scans")
EPISODES = Condition(
    "episodes_per_fold", "episodes a fold",
    "With few episodes the interval is a point wide or more. If a program reads a list in order and stops early, it "
    "never asks for the rest of the images.", "asks for episodes:", unlined=14, values=(
        Value("{}", "{} episodes", int),
        LISTED_PAIRS,
        Value("as many as images", "each image once", "all"),
        ALL_OF_FSS, ALL_OF_VAL, ALL_OTHERS, ALL_IN_TEST, SLICES_IN_RANGE, SLICES_SHOWN, SLICES_ALL,
        Value("all images of test.csv", "every line of the file"),
        Value("all images", "every image"),
        Value("all images of val2017", "COCO's validation images of 2017"),
    ),
)  # fmt: skip
BY_INDEX = Value("index of the episode", "every episode is drawn by itself")
NO_SEED = Value("none", "nothing is drawn")
SEEDS = Condition(
    "seeds", "seed", "Other seeds draw other episodes. The interval of a figure tells how far that moves it.",
    role="shown", unlined=6, values=(BY_INDEX, NO_SEED), is_free=True,
)  # fmt: skip
"""Other seeds are numbers in the forms of `fsbench.protocols.episode_rules.streams.parse_seeds`."""
SAME_EPISODES = Value("no", "the same command draws the same episodes", (), phrase="draws the same episodes anywhere",
                      absent_in="episode_draw")  # fmt: skip
DEPENDS_ON = Condition(
    "depends_on", "episodes change with", "On a machine where this differs, the same command draws other episodes.",
    "draws episodes that change with", "run", unlined=25, values=(
        SAME_EPISODES,
        Value("workers", "the number of loader processes; seeds are set again before the loop", (streams.WORKERS,)),
        Value("workers+network+torch", "the number of loader processes, what the network's initialisation draws, as "
              "seeds are set before it, and the version of PyTorch, which seeds NumPy in loader processes since 1.9",
              (streams.WORKERS, streams.NETWORK, streams.TORCH)),
        Value("file order", "the order in which the file system lists a folder; here that of the names",
              (streams.FILE_ORDER,)),
        Value("gpus", "the number of GPUs", (streams.GPUS,)),
        Value("gpus, and batch through drop_last", "the number of GPUs, and the size of a batch, whose rest is dropped",
              (streams.GPUS, streams.BATCH)),
        Value("batch", "the size of a batch", (streams.BATCH,)),
        Value("workers+gpus", "the number of loader processes and of GPUs", (streams.WORKERS, streams.GPUS)),
        Value("unseeded", "each run draws others", (streams.UNSEEDED,), phrase="draws other episodes each time"),
        Value("unseeded+workers", "each run draws others, and the number of loader processes",
              (streams.UNSEEDED, streams.WORKERS)),
    ),
)  # fmt: skip
ONE_RUN = Value("1", "one run", phrase="is one run")
RUNS = Condition(
    "runs", "runs", "The best of several runs is higher than their mean, and one run may be either.", "has runs:",
    "run", values=(
        ONE_RUN,
        Value("{}", "{} runs; whether their mean or the best is printed is not told", phrase="is of {} runs"),
        Value("{} (mean)", "the mean of {} runs", phrase="is the mean of {} runs"),
        Value("{} (mean and best printed)", "the mean of {} runs, and the best of them",
              phrase="is the mean and best of {} runs"),
    ),
)  # fmt: skip
NETWORK_SIZE = Condition(
    "network_size", "S, side of the network's input",
    "A larger input shows smaller things. If answers are compared at the input's size, it is the size of the test.",
    "sees images of the side", unlined=8,
)  # fmt: skip
GEOMETRY = Condition(
    "geometry", "images become S x S",
    "Squashed images lose their aspect ratio. Letterboxed images keep it, but fill less of the square.",
    "makes inputs by", unlined=105, values=(
        Value("squash, PIL, labels torch", "stretched to S x S by PIL, with antialiasing; masks by torch's nearest "
              "pixel", "pil"),
        Value("squash, PIL, labels PIL", "stretched to S x S by PIL, with antialiasing; masks by PIL's nearest pixel, "
              "which looks at the middles of pixels", "pil_both"),
        Value("squash, OpenCV", "stretched to S x S by OpenCV, without antialiasing, so that details alias; masks by "
              "its nearest pixel", "cv2", also=("cv2_linear",)),
        Value("squash", "stretched to S x S, the aspect ratio is lost; by which library is not told", "pil",
              "images are squashed by PIL, as most programs do", is_open=True),
        Value("letterbox", "the longer side becomes S, both sides are rounded down to multiples of 8, the rest is "
              "padding, which is void", "padded"),
        Value("letterbox, sides rounded", "the longer side becomes S, the other is rounded, the rest is padding",
              "frame"),
        Value("letterbox, sides rounded down", "the longer side becomes S, the other is rounded down, the rest is "
              "padding"),
        Value("none", "images keep their size", "pil", "methods see squares, and no image at its own size",
              also=("prepared",)),
        Value("collage", "supports and query are parts of one image", "pil",
              "the method lays supports and query side by side"),
    ),
)  # fmt: skip
"""There is no part of a frame whose answers lie over the image alone."""
AT_INPUT = Value("network input, torch nearest", "at the method's input size S x S, the truth by torch's nearest "
                 "pixel: the aspect ratio is lost, every image has equal weight, and S differs between methods",
                 Comparison("input", "pil"))  # fmt: skip
COMPARED_AT = Condition(
    "compared_at", "metrics at",
    "At original size thin and small objects count as they are; a low-resolution answer pays for its coarse edges. At "
    "the input's size the aspect ratio is lost, every image has equal weight, and S differs between methods.",
    "counts at", unlined=9, values=(
        AT_INPUT,
        Value("network input, OpenCV nearest", "at S x S, the truth by OpenCV's nearest pixel",
              Comparison("input", "cv2")),
        Value("network input, PIL nearest", "at S x S, the truth by PIL's nearest pixel, which looks at middles",
              Comparison("input", "pil_both")),
        Value("network input, letterboxed", "at S x S, the truth letterboxed as the image, its padding void",
              Comparison("input", "padded")),
        Value("network input", "at S x S; by which nearest pixel is not told", Comparison("input"),
              "the truth becomes S x S as masks of supports do", is_open=True,
              also=(Comparison("input", "cv2_linear"),)),
        Value("original, square", "at the square of the query's longer side, in which the truth lies at the top left; "
              "the rest is void", Comparison("square")),
        Value("original, height and width", "at the query's own size: thin and small objects count as they are",
              Comparison("original")),
        Value("original, label there and back", "at the query's own size, the truth stretched to S x S and back: what "
              "is smaller than a pixel there is lost", Comparison("there_and_back")),
        Value("original, from a {} frame", "at the query's own size, truth and answer stretched out of a padded square "
              "of {}: padding is background, the aspect ratio is lost",
              lambda side: Comparison("original", frame=side)),
        Value("original", "at the query's own size; whether as a square is not told", Comparison("original"),
              "sizes are the query's height and width", is_open=True),
        Value("answer size", "at the size of the network's answer", Comparison("input", "pil"),
              "an answer has the size of the method's input"),
        Value("fixed {}", "at {0} x {0}, whatever S is: the truth is the same for all methods",
              lambda side: Comparison(side, "pil"), also=()),
    ),
)  # fmt: skip
NO_VOID = Value("none", "the data set has no such pixels", "ignore", absent_in="dataset")
VOID = Condition(
    "void", "void pixels (255)", "The border band of PASCAL's objects is worth points; COCO has no such pixels.",
    "has void pixels", unlined=4, values=(
        Value("ignored", "pixels without a true class are left out", "ignore", also=("present",)),
        Value("background", "pixels without a true class are background, so that an answer on them costs",
              "background"),
        NO_VOID,
    ),
)  # fmt: skip
METRIC = Condition(
    "metric", "mIoU",
    "mIoU here: the intersections and unions of a class are summed over all episodes and divided once. Other sums have "
    "the same name, but are other scores.", "scores by", unlined=9, values=(
        Value("class-pooled mIoU", "intersections and unions of a class are summed over all episodes and divided once, "
              "so that big objects weigh more; mean over the classes, of which one without an episode counts as 0",
              Score(MeanIoU())),
        Value("class-pooled mIoU, classes seen", "as class-pooled mIoU, a class without an episode left out of the "
              "mean", Score(MeanIoU(), "left_out"), also=(Score(MeanIoUByDraw(), "left_out"),)),
        Value("class-pooled mIoU, present only", "as class-pooled mIoU; in an episode whose truth, as compared, lacks "
              "the class nothing of it is counted, and without an episode of each class there is no mean",
              Score(MeanIoU(), "nan", present_only=True)),
        Value("class-pooled mIoU, absent is an error", "as class-pooled mIoU; the program stops where a class has no "
              "episode", Score(MeanIoU(), "nan")),
        Value("class-pooled mIoU, best threshold", "as class-pooled mIoU, at the threshold that is best on the test"),
        Value("pooled foreground IoU", "sums over all classes together"),
        Value("pooled over batches with background", "sums within a batch, whose background counts, too; cdfss_ifa has "
              "it as IFA-figure"),
        Value("confusion with background", "from a confusion matrix in which the background is a class"),
        Value("confusion without background", "from a confusion matrix, the background's row left out"),
        Value("gfss, base with background, zero for absent", "base and novel mIoU; the background is a base class, and "
              "a class without a pixel counts as 0", Score(AllAndBackgroundIoU(True))),
        Value("gfss, base with background", "base and novel mIoU; the background is a base class; what a class without "
              "a pixel counts is not told"),
        Value("gfss, base without background", "base and novel mIoU without the background",
              Score(BaseAndNovelIoU(), "left_out")),
        Value("mean Dice of scans", "Dice of each scan, then the mean", also=(Score(Dice()),)),
    ),
)  # fmt: skip
"""There is no part of scores that do not follow from counts of an episode's classes."""
NO_FB_IOU = Value("not computed", "the program has no such score", Score(None), absent_in="metric")
FB_IOU = Condition(
    "fb_iou", "FB-IoU", role="shown", unlined=33, values=(
        Value("pooled", "mean of the IoU of all foreground and of the background, sums over all episodes",
              Score(FBIoU())),
        Value("pooled, present only", "as pooled; in an episode whose truth, as compared, lacks the class or the "
              "background nothing of it is counted", Score(FBIoU(), present_only=True)),
        NO_FB_IOU,
        Value("mean of mIoU and background IoU", "mean of the mIoU and the background's IoU", Score(FBIoUClasses())),
    ),
)  # fmt: skip
KSHOT = Condition(
    "kshot", "K shots become one answer", "How several supports become one answer is part of the method.",
    role="shown", unlined=23, values=(
        Value("vote of shots", "each shot answers, pixels are voted for"),
        Value("mean of prototypes", "mean of the shots' prototypes"),
        Value("mean of features", "mean of the shots' features"),
        Value("mean of features and priors", "mean of the shots' features and of their prior masks"),
        Value("mean of outputs", "mean of the answers to each shot"),
        Value("learned weights of shots", "weights that a network gives"),
        Value("shots weighted by correlation", "weights by how much a shot is like the query"),
        Value("shots weighted by self-agreement", "weights by how well a shot segments itself"),
        Value("concatenated in attention", "attention over the tokens of all shots"),
        Value("pixels of all shots together", "pixels of all shots are one set"),
        Value("parts of all shots", "parts or clusters of all shots are one set"),
        Value("prompts of all shots together", "prompts of all shots are given at once"),
        Value("classifier trained on all shots", "a classifier is trained on the supports of the test"),
        Value("tuned on all shots", "weights are tuned on the supports of the test"),
        Value("memory", "a memory holds the shots, as frames of a video"),
        Value("collage", "shots and query are one image"),
        Value("one scan in parts", "one support scan, cut into parts"),
        Value("1-shot only", "the program takes one shot"),
    ),
)  # fmt: skip
NO_CHECKPOINT = Value("none", "nothing is trained", absent_in="program")
LAST_CHECKPOINT = Value("last", "the last of a training")
BEST_ON_TEST = Value("best on test fold", "the best of a training by its score on the novel classes of the test")
BEST_ON_BASE = Value("best on base classes", "the best by its score on base classes")
CHECKPOINT = Condition(
    "checkpoint", "checkpoint",
    "If the checkpoint is chosen on the test fold, the figure is the best of many looks at the test.",
    "takes the checkpoint", "run", unlined=8, values=(
        BEST_ON_TEST,
        Value("best on test set", "the best by its score on the test images"),
        Value("best on FSS-1000 val", "the best by its score on FSS-1000's validation classes"),
        Value("best on source data", "the best by its score on the data of the training"),
        BEST_ON_BASE,
        Value("best on the supports", "the best by its score on the supports of the test"),
        LAST_CHECKPOINT,
        Value("one model for all folds", "one network, trained elsewhere, serves all folds"),
        NO_CHECKPOINT,
    ),
)  # fmt: skip
SUPPORT_ANNOTATION = Condition(
    "support_annotation", "supports are marked by", "A box or an image label says less than a mask.", "gets", "told",
    unlined=10, values=(
        Value("mask", "masks", phrase="gets masks", absent_in="program"),
        Value("mask or weaker (option)", "masks, or by an option scribbles, boxes or points"),
        Value("mask or text (option)", "masks, or by an option words"),
        Value("image label", "the name of a class that the image shows", phrase="gets image labels"),
        Value("box", "boxes", phrase="gets boxes"),
    ),
)  # fmt: skip
NO_HELP = Value("none", "no further help", phrase="gets no further help", absent_in="program")
EXTRA_SUPERVISION = Condition(
    "extra_supervision", "also gets",
    "Class names, further labels, other networks and adaptation to the target are help that most methods do not have.",
    "gets", "told", is_free=True, unlined=53, values=(
        NO_HELP, Value("text (class names)", "class names", phrase="gets class names"),
    ),
)  # fmt: skip
"""Its other words are free text."""
SAW_TEST_CLASSES = Condition(
    "saw_test_classes", "saw the test's classes",
    "If labels of the test's classes were in the training, the task is another one.", "saw the test's classes:", "told",
    unlined=2, values=(
        Value("no", "no label of the test's classes was in a training", phrase="saw no labels of the test's classes",
              absent_in="program"),
        Value("perhaps", "what the network was trained on may hold labels of them",
              phrase="may have seen labels of the test's classes"),
        Value("yes", "labels of the test's classes were in a training", phrase="saw labels of the test's classes"),
    ),
)  # fmt: skip
PRETRAINING = Condition("pretraining", "backbone's data", role="shown")
PRECISION = Condition("precision", "precision", role="shown")

OF_TEST = (
    TASK, DATASET, IMAGE_LISTS, MIN_OBJECT, EPISODE_DRAW, EPISODES, SEEDS, DEPENDS_ON, GEOMETRY, COMPARED_AT, VOID,
    METRIC, FB_IOU,
)  # fmt: skip
"""Conditions that a published test consists of; the others are those of a method in it."""
CONDITIONS: Mapping[str, Condition] = {
    one.key: one
    for one in (
        *OF_TEST[:8], RUNS, NETWORK_SIZE, *OF_TEST[8:], KSHOT, CHECKPOINT, SUPPORT_ANNOTATION, EXTRA_SUPERVISION,
        SAW_TEST_CLASSES, PRETRAINING, PRECISION,
    )
}  # fmt: skip
"""Every condition, by its key, in the order of pages."""
LABELS: Mapping[str, str] = {key: one.label for key, one in CONDITIONS.items()}


def metric_word(metric: Metric | None, absent: Absent = "zero", present_only: bool = False) -> str:
    """Return how the ranking score is computed, as a word such as "class-pooled mIoU".

    Args:
        metric: the score; a metric of an installed package names its word itself (`Metric.atlas_metric`).
        absent, present_only: see `Score`.
    """
    if metric is None or metric.atlas_metric:
        return metric.atlas_metric if metric else NOT_STATED
    for one in METRIC.values:
        for score in (one.part, *one.also):
            if score and type(score.metric) is type(metric):
                same = score.present_only if present_only else score == Score(score.metric, absent)
                if same or not isinstance(metric, MeanIoU):
                    return one.word
    return NOT_STATED


def fb_iou_word(metric: Metric | None, present_only: bool = False) -> str:
    """Return how FB-IoU is computed, as a word such as "pooled"; `NOT_STATED` for a metric that is no FB-IoU."""
    if metric is not None and metric.atlas_fb_iou:
        return metric.atlas_fb_iou
    own = Score(metric, present_only=present_only and not isinstance(metric, FBIoUClasses) and metric is not None)
    return FB_IOU.word(own)


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[Condition]:
    """Return the conditions in which two tests do not agree, of those that both mappings {key: word} have."""
    shared = [one for key, one in CONDITIONS.items() if key in ours and key in theirs]
    return [one for one in shared if not one.agrees(ours[one.key], theirs[one.key])]


class ListsAndDraw(NamedTuple):
    """A protocol's image lists, smallest object and episode draw on one data set, each a word of the atlas."""

    image_lists: str
    min_object: str
    episode_draw: str


ALL_EPISODES = {"fss1000": ALL_OF_FSS.word}
"""Number of episodes of a test that asks for each listed pair once, where the list is always the same."""
ATLAS_NAMES: Mapping[str, str] = {
    "pascal": "PASCAL-5i", "coco": "COCO-20i", "fss1000": "FSS-1000", "isaid": "iSAID-5i", "isaid512": "iSAID-5i",
    "isic": "ISIC2018", "deepglobe": "DeepGlobe", "lung": "Chest X-ray", "suim": "SUIM",
    "chaost2": "abdominal CT/MRI", "sabs": "abdominal CT/MRI",
}  # fmt: skip
"""Our data sets by the names of the atlas."""
WITHOUT_VOID = frozenset(
    (
        "coco", "coco_all", "deepglobe", "deepglobe_all", "isic", "isic_one", "isic_folds", "isic_listed", "lung",
        "lung_all", "lungcancer", "suim", "kvasir", "nucleus", "pothole", "weedmap", "industrial", "fss1000", "lvis",
        "paco_part", "pascal_part", "chaost2", "sabs", "cmr",
    )
)  # fmt: skip
"""Published data sets whose every pixel has a true class, so that no rule for void pixels changes a score."""
