"""The learners of EMAT, EMAT-seg and CST, by name, from correlation channels and the side of the supports."""

from functools import partial

from fsbench.methods.cst import cst_learner
from fsbench.methods.emat import emat_learner

LEARNERS = {"emat": emat_learner, "emat_seg": partial(emat_learner, class_token=False), "cst": cst_learner}
