"""Words of a page that a reader cannot see: cut off, covered by others, or reached only by scrolling sideways."""

from typing import TYPE_CHECKING

from tests.browser import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (390, 800, 1280, 1400)
"""Widths in pixels: of a phone, a tablet and two laptops."""

_FIND = """() => {
    const TOLERANCE = 2, found = { cut: [], covered: [], scrolled: [] }, boxes = [], style = getComputedStyle;
    const unread = ".unseen, .ends, .skip, option, noscript", scrolls = ["auto", "scroll"];
    const floats = (node) => ["absolute", "fixed", "sticky"].includes(style(node).position);
    const turned = (node) => /rotate\\((?!-?0[ ,)])/.test(node.closest("svg [transform]")?.getAttribute("transform"));
    const within = (box, frame) => box.left >= frame.left - TOLERANCE && box.right <= frame.right + TOLERANCE
        && box.top >= frame.top - TOLERANCE && box.bottom <= frame.bottom + TOLERANCE;
    const meets = (box, frame) => box.bottom > frame.top && box.top < frame.bottom
        && box.right > frame.left && box.left < frame.right;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        const words = text.data.trim().slice(0, 60), owner = text.parentElement, range = document.createRange();
        if (!words || !owner.checkVisibility({ visibilityProperty: true }) || owner.closest(unread)) continue;
        range.selectNodeContents(text);
        for (const box of range.getClientRects()) {
            let isReached = true, isShown = true, isFlat = !turned(owner), mayScroll = false;
            for (let node = owner; node !== document.body; node = node.parentElement) {
                isFlat &&= !floats(node);
                if (mayScroll || (node.localName !== "svg" && style(node).overflowX === "visible")) continue;
                const frame = node.getBoundingClientRect();
                isShown &&= meets(box, frame);
                mayScroll = scrolls.includes(style(node).overflowX);
                isReached &&= mayScroll || within(box, frame);
            }
            isReached &&= mayScroll || (box.left >= -TOLERANCE && box.right <= innerWidth + TOLERANCE);
            if (!isReached) found.cut.push(words);
            if (isFlat && isShown && box.width && box.height) boxes.push({ box, words });
        }
    }
    boxes.sort((a, b) => a.box.top - b.box.top);
    boxes.forEach(({ box: a, words }, n) => {
        for (const { box: b, words: others } of boxes.slice(n + 1)) {
            if (b.top > a.bottom) break;
            const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (across > TOLERANCE && down > 0.35 * Math.min(a.height, b.height)) {
                found.covered.push(`${words} / ${others}`);
            }
        }
    });
    for (const region of document.querySelectorAll("main *")) {
        if (!region.checkVisibility() || !scrolls.includes(style(region).overflowX)) continue;
        const isWider = region.scrollWidth > region.clientWidth + 1;
        if (isWider) found.scrolled.push(region.ariaLabel || region.id || region.className || region.localName);
    }
    return found; }"""


def check_layout(page: "Page") -> None:
    """Check a page at all `WIDTHS`: no words are cut off or lie on others, and it is not wider than the screen.

    On laptops nothing must be scrolled sideways either.
    """
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wait_until(page, f"innerWidth === {width}")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = page.evaluate(_FIND)
        scrolled = found.pop("scrolled")
        assert found == {"cut": [], "covered": []}, f"{page.url} at {width}: {found}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url} is wider than {width}"
        assert width < 1280 or scrolled == [], f"{page.url} at {width}: {scrolled}"
