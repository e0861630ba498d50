"""The README's Python runs, and what pages link to is there."""

import pathlib
import re

import numpy as np
import PIL.Image
import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def blocks():
    text = README.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run(code):
    """What the names in a block stand for in the end."""
    names = {}
    exec(compile(code, str(README), "exec"), names)
    return names


def test_the_ten_lines_run(tmp_path, monkeypatch):
    import tfdisent

    monkeypatch.chdir(tmp_path)
    names = run(blocks()[0])
    assert names["parts"]["z"].shape == (2, 6)
    assert names["swapped"].shape == (1, 32, 32, 1)
    loaded = tfdisent.models.load("digits.keras")
    np.testing.assert_allclose(
        loaded.encode(names["images"][:2])["z"], names["parts"]["z"], atol=1e-6
    )


def test_the_ten_lines_run_on_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 9, 7, 3), np.uint8)
    for number, image in enumerate(pixels):
        PIL.Image.fromarray(image).save(f"photos/{number}.png")
    code = blocks()[0].replace('"digits"', '"folder:photos"')
    names = run(code.replace("(32, 32, 1)", "(64, 64, 3)"))
    assert names["parts"]["z"].shape == (2, 6)
    assert names["swapped"].shape == (1, 64, 64, 3)


@pytest.mark.parametrize("shape", [(32, 32, 1), (64, 64, 3)])
def test_an_export_is_used_as_shown(tmp_path, monkeypatch, shape):
    from export import saved_model
    from tfdisent.models.autoencoder import Autoencoder

    monkeypatch.chdir(tmp_path)
    model = Autoencoder(shape, latent_dim=4, filters=(4, 4, 4), hidden=4)
    saved_model.export_model(model, "models/fden")
    assert run(blocks()[1])["parts"]["z"].shape == (1, 4)


PAGES = sorted([README, *(README.parent / "docs").glob("*.md")])


def anchors(page):
    """What GitHub calls the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", text)
    for target, anchor in links:
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}."
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: no #{anchor}."


def test_every_picture_is_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (README.parent / "docs" / "images").iterdir():
        assert picture.name in shown, f"No page shows {picture.name}."
