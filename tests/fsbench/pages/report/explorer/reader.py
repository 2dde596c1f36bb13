"""A reader of the explorer's page, beside the numbers that the page shows."""

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tests.browser import PATIENCE
from tests.fsbench.pages.report.test_report import data_file

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
expect.set_options(timeout=1000 * PATIENCE)  # five seconds else


class Reader:
    """A page and the numbers behind it."""

    def __init__(self, page, study):
        self.page, self.study, self.data = page, study, data_file(study, "data")
        self.columns, (self.a, self.b) = self.data["columns"], (np.array(iou) for iou in self.data["iou"][:2])
        expect(page.locator("#shown-count")).not_to_be_empty()

    def settle(self):
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.evaluate("""new Promise((done) => {
            const look = () => location.href === document.getElementById("link").href ? done() : setTimeout(look, 20);
            look();
        })""")  # the address follows a little later

    def shown(self):
        self.settle()
        return int(self.page.inner_text("#shown-count").split()[0])

    def hash(self):
        self.settle()
        return parse_qs(urlsplit(self.page.url).fragment)

    def opened_episode(self):
        return self.hash().get("episode", [None])[0]

    def key(self, place):
        return f"{self.data['folds'][place // 24]['fold']}.{self.columns['index'][place]}"
