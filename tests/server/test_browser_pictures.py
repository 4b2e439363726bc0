"""The pictures of the pages in the documentation: all there, small, and what the browser showed."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import screenshots  # noqa: E402 - found since the line above
from palette_png import shrink  # noqa: E402 - as above

PICTURES = ROOT / "docs" / "screenshots"
_PIXELS = """
async (data) => {
  const image = new Image();
  image.src = `data:image/png;base64,${data}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  return [image.width, image.height, ...canvas.getImageData(0, 0, image.width, image.height).data].join();
}
"""


def test_every_page_has_its_pictures_and_the_gallery_shows_them():
    there = {path.relative_to(PICTURES).as_posix() for path in PICTURES.rglob("*.png")}
    assert there == {screenshots.file_of(name, look) for name, look in screenshots.pictures()}
    assert (PICTURES / "README.md").read_text(encoding="utf-8") == screenshots.gallery()


def test_pictures_are_small():
    assert sum(path.stat().st_size for path in PICTURES.rglob("*.png")) < 1_500_000


def test_a_smaller_picture_shows_the_same(browser):
    page = browser.new_page(viewport={"width": 120, "height": 90})
    page.set_content("<body style='background: #fed'><b style='color: red'>x</b><hr style='border: 5px solid navy'>")
    taken = page.screenshot()
    seen = [page.evaluate(_PIXELS, base64.b64encode(data).decode()) for data in (taken, shrink(taken))]
    page.close()
    assert seen[0] == seen[1]
    assert "255,238,221,255" in seen[0]


def test_rare_colours_become_their_neighbours(browser):
    page = browser.new_page(viewport={"width": 300, "height": 10})
    page.set_content("<body style='margin: 0; height: 10px; background: linear-gradient(90deg, #000, #ff8000)'>")
    taken = page.screenshot()
    seen = [page.evaluate(_PIXELS, base64.b64encode(data).decode()) for data in (taken, shrink(taken))]
    page.close()
    before, after = ([int(number) for number in pixels.split(",")] for pixels in seen)
    assert before != after
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 8


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ValueError, match="not a PNG file"):
        shrink(data)
