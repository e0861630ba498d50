"""The page, in a real browser against a real server."""

import base64
import functools
import http.server
import io
import json
import pathlib
import re
import shutil
import statistics
import threading
import time

import numpy as np
import pytest
from PIL import Image

from serving.client import Client

SERVING = pathlib.Path(__file__).parents[2] / "serving"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Seconds that anything on the page may take on a busy machine.
PATIENCE = 20


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; Debian: apt-get install chromium chromium-driver."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    paths = [path for path in map(shutil.which, BROWSERS) if path]
    driver_path = shutil.which("chromedriver")
    if not paths or not driver_path:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "--headless=new",
        # Tests may run as root, and in small containers.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    yield driver
    driver.quit()


class Page:
    """A page that was opened, as a reader sees it."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get_log("browser")
        browser.get(address)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def script(self, text, *given):
        return self.browser.execute_script(text, *given)

    def wait(self, what, message):
        """Until `what()` is true; its value."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = what()
            if value:
                return value
            time.sleep(0.02)
        shown = self.script("return document.body.innerText")[:500]
        pytest.fail(f"{message} within {PATIENCE} s; the page shows: {shown}")

    @property
    def problem(self):
        """The sentence on what went wrong; empty when nothing has."""
        return self.find("#problem").text

    @property
    def picture(self):
        """The address of the picture; None before there is one."""
        return self.find("#picture").get_attribute("src")

    def ready(self):
        """Waits until source and target are there and the picture is."""

        def placed():
            images = self.browser.find_elements("css selector", ".drop img")
            return len(images) == 2 and self.picture

        self.wait(placed, "No picture")
        return self.settled()

    def settled(self):
        """The picture once no request is under way, as pixels."""
        self.wait(
            lambda: self.script(
                "const c = document.querySelector('#picture');"
                "const was = window.was; window.was = [c.src, Date.now()];"
                "if (was && was[0] === c.src) window.was[1] = was[1];"
                "return c.complete && Date.now() - window.was[1] > 300"
            ),
            "The picture does not settle",
        )
        return image_of(self.picture)

    def changed(self, picture):
        """Waits until the picture is another one; its pixels."""
        self.wait(lambda: self.picture != picture, "The picture stays")
        return self.settled()

    def slider(self, name):
        return self.find(f"input[type=range][aria-label='{name}']")

    def set(self, name, value):
        """Moves a slider as the reader's hand would."""
        self.script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input'))",
            self.slider(name),
            value,
        )

    def console(self):
        """What was logged as an error."""
        return [
            entry["message"]
            for entry in self.browser.get_log("browser")
            if entry["level"] == "SEVERE"
        ]


def image_of(address):
    """float `[H, W, C]` in [0, 1] of a picture's address."""
    data = base64.b64decode(address.split(",")[1])
    array = np.asarray(Image.open(io.BytesIO(data)), np.float32) / 255
    return array if array.ndim == 3 else array[..., None]


@pytest.fixture
def address(parts_server):
    return f"http://127.0.0.1:{parts_server.rest_port}"


@pytest.fixture
def page(browser, address):
    page = Page(browser, f"{address}/?model=vae")
    page.ready()
    return page


def samples(parts_server, model):
    folder = parts_server.models / model / "1" / "assets.extra" / "samples"
    return [path.read_bytes() for path in sorted(folder.iterdir())]


# Decoded to 8 bits twice: they may differ by one.
EIGHT_BITS = 1.01 / 255


def test_it_loads_and_asks_nobody_else(page, address):
    assert page.problem == ""
    options = page.find("#model").find_elements("css selector", "option")
    assert sorted(option.text for option in options) == ["labelled", "vae"]
    assert page.find("#caption").text == "all of the source"
    assert len(page.find("#samples").find_elements("css selector", "img")) == 4
    asked = page.script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert asked
    assert all(
        name.startswith((f"{address}/", "data:", "blob:")) for name in asked
    )
    assert page.console() == []


def test_a_dragged_slider_changes_the_picture(page, address):
    from selenium.webdriver import ActionChains

    before = page.picture
    page.script("arguments[0].scrollIntoView()", page.find("#codes"))
    slider = page.slider("z[1]")
    start = float(slider.get_attribute("value"))
    drag = ActionChains(page.browser)
    drag.click_and_hold(slider).move_by_offset(40, 0).release().perform()
    shown = page.changed(before)
    moved = float(slider.get_attribute("value"))
    assert moved != start
    code = [
        float(page.slider(f"z[{i}]").get_attribute("value")) for i in range(4)
    ]
    assert code[1] == moved
    expected = Client(address, "vae").decode(z=[code])[0]
    np.testing.assert_allclose(shown, expected, atol=EIGHT_BITS)
    assert "changed by hand" in page.find("#caption").text
    # The range is that of the model card.
    card = json.loads(
        page.script(
            "return fetch('/page/models').then(a => a.json())"
            ".then(m => JSON.stringify(m.find(m => m.name == 'vae').card))"
        )
    )
    low, high = (
        card["ranges"]["parts"]["z"][end][1] for end in ("low", "high")
    )
    assert float(slider.get_attribute("min")) == min(low, moved)
    assert float(slider.get_attribute("max")) == max(high, moved)


def test_from_slider_to_picture(page):
    """Under 100 ms for 64x64 on two idle cores."""
    times = []
    for step in range(12):
        before = page.picture
        page.set(
            "z[0]",
            page.script(
                "const s = arguments[0];"
                "return +s.min + (s.max - s.min) * arguments[1] / 12",
                page.slider("z[0]"),
                step + 1,
            ),
        )
        page.wait(lambda b=before: page.picture != b, "The picture stays")
        # The link is set with the time, once the picture is shown.
        page.wait(
            lambda: page.find("#save").get_attribute("href") == page.picture,
            "No time",
        )
        times.append(int(page.find("#time").text.removesuffix(" ms")))
    print(
        f"slider to picture: median {statistics.median(times)} ms of "
        f"{sorted(times)}"
    )
    # The fastest says what it costs; the others what the machine was doing.
    assert min(times) < 100


def test_the_newest_wins(page, address):
    counted = (
        "window.asked = 0; const f = window.fetch;"
        "window.fetch = (...g) => { window.asked++; return f(...g); }"
    )
    page.script(counted)
    page.script(
        "const s = arguments[0];"
        "for (let i = 1; i <= 50; i++) {"
        "  s.value = +s.min + (s.max - s.min) * i / 50;"
        "  s.dispatchEvent(new Event('input'));"
        "}",
        page.slider("z[2]"),
    )
    shown = page.settled()
    code = [
        float(page.slider(f"z[{i}]").get_attribute("value")) for i in range(4)
    ]
    assert code[2] == float(page.slider("z[2]").get_attribute("max"))
    expected = Client(address, "vae").decode(z=[code])[0]
    np.testing.assert_allclose(shown, expected, atol=EIGHT_BITS)
    # The first, the newest, and what the traversal asked.
    assert page.script("return window.asked") <= 4


def test_two_images_are_swapped(browser, address, parts_server):
    page = Page(browser, f"{address}/?model=labelled")
    source = page.ready()
    card = parts_server.models / "labelled/1/assets.extra/model_card.json"
    client = Client(address, "labelled", card=card)
    files = samples(parts_server, "labelled")
    labels = {"source_label": 0, "target_label": 1}

    def expected(units):
        return client.swap(*files[:2], units, **labels)[0]

    np.testing.assert_allclose(source, expected([]), atol=EIGHT_BITS)
    before = page.picture
    page.set("mix class", 1)
    swapped = page.changed(before)
    np.testing.assert_allclose(swapped, expected(["class"]), atol=EIGHT_BITS)
    assert page.find("#caption").text == (
        "class of the target, the rest of the source"
    )
    before = page.picture
    page.set("mix root", 0.5)
    half = page.changed(before)
    np.testing.assert_allclose(
        half, expected({"class": 1, "root": 0.5}), atol=EIGHT_BITS
    )
    # The other way round.
    before = page.picture
    page.find("#exchange").click()
    page.changed(before)
    before = page.picture
    page.set("mix all units", 1)
    np.testing.assert_allclose(page.changed(before), source, atol=EIGHT_BITS)
    # A sample goes into the marked place.
    page.find("#target .drop").click()
    before = page.picture
    page.find("#samples button:nth-child(4)").click()
    shown = page.changed(before)
    third = client.swap(files[3], files[3], [], 3, 3)[0]
    np.testing.assert_allclose(shown, third, atol=EIGHT_BITS)
    assert page.console() == []


def test_labels_are_chosen(browser, address, parts_server):
    from selenium.webdriver.support.ui import Select

    page = Page(browser, f"{address}/?model=labelled")
    page.ready()
    chooser = Select(page.find("#source select"))
    assert chooser.first_selected_option.text == "0"
    before = page.picture
    chooser.select_by_visible_text("4")
    shown = page.changed(before)
    (file, *_) = samples(parts_server, "labelled")
    client = Client(address, "labelled", card={})
    parts = client.encode(file, 4)
    np.testing.assert_allclose(
        shown, client.decode(**parts)[0], atol=EIGHT_BITS
    )


def test_an_image_of_ones_own(page, address, tmp_path):
    # Larger than what goes to the model as it is: redrawn by the browser.
    noise = np.random.default_rng(5).integers(0, 256, (800, 800, 3), np.uint8)
    path = tmp_path / "noise.bmp"
    Image.fromarray(noise).save(path)
    before = page.picture
    page.find("#source input[type=file]").send_keys(str(path))
    page.changed(before)
    assert page.problem == ""
    small = tmp_path / "small.png"
    Image.fromarray(noise[:64, :64, 0]).save(small)
    before = page.picture
    page.find("#source input[type=file]").send_keys(str(small))
    shown = page.changed(before)
    client = Client(address, "vae")
    expected = client.decode(**client.encode(small))[0]
    np.testing.assert_allclose(shown, expected, atol=EIGHT_BITS)


def test_a_sample_of_the_prior(page):
    before = page.picture
    page.find("#source .drop").click()
    page.find("#draw").click()
    page.changed(before)
    assert page.problem == ""


def test_mistakes_are_said_in_a_sentence(page, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    upload = page.find("#source input[type=file]")
    before = page.picture
    upload.send_keys(str(path))
    page.wait(lambda: page.problem, "No problem is shown")
    assert page.problem == "notes.txt is not an image."
    assert page.picture == before
    # The server's words, where it refuses: a PNG by its first bytes only.
    path = tmp_path / "damaged.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    upload.send_keys(str(path))
    page.wait(lambda: "refused" in page.problem, "Nothing is refused")
    assert "pixels" in page.problem
    assert "\n" not in page.problem and page.problem.endswith(".")
    # What works takes it away.
    page.set("z[0]", 0.1)
    page.wait(lambda: page.problem == "", "The problem stays")


def test_the_traversal(page, address):
    page.script("arguments[0].scrollIntoView()", page.find("#traversal"))
    count = "return document.querySelectorAll('#traversal img').length"

    def drawn():
        # There may still be those of the code before.
        if page.script(count) != 4 * 7:
            return False
        middle = page.script(
            "return document.querySelector('#cell-2-3 img').src"
        )
        return np.allclose(
            image_of(middle), image_of(page.picture), atol=EIGHT_BITS
        )

    page.wait(drawn, "No traversal")
    cell = page.find("#cell-2-6")
    code = [
        float(page.slider(f"z[{i}]").get_attribute("value")) for i in range(4)
    ]
    shown = image_of(
        cell.find_element("css selector", "img").get_attribute("src")
    )
    code[2] = float(page.slider("z[2]").get_attribute("max"))
    assert float(cell.get_attribute("data-value")) == pytest.approx(code[2])
    expected = Client(address, "vae").decode(z=[code])[0]
    np.testing.assert_allclose(shown, expected, atol=EIGHT_BITS)
    # A click takes the value.
    before = page.picture
    page.script("arguments[0].click()", cell)
    np.testing.assert_allclose(page.changed(before), expected, atol=EIGHT_BITS)
    assert float(page.slider("z[2]").get_attribute("value")) == (
        pytest.approx(code[2])
    )


def test_the_model_card(page):
    text = page.find("#card").text
    for said in ("BetaVAE", "noise", "64 × 64 × 1", "z [4]", "Scores"):
        assert said in text
    assert re.search(r"mig\s+0.25\s+± 0.5", text)
    assert re.search(r"seed\s+3", text)


def test_the_models_are_chosen(page):
    from selenium.webdriver.support.ui import Select

    Select(page.find("#model")).select_by_visible_text("labelled")
    page.wait(
        lambda: page.script("return document.title") == "labelled · tfdisent",
        "The model stays",
    )
    shown = page.ready()
    assert shown.shape == (8, 8, 3)
    assert page.browser.current_url.endswith("?model=labelled")


@pytest.fixture(scope="module")
def elsewhere():
    """The page at another address, with nothing but its files there."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(SERVING))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/page/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_whose_address_is_typed(
    browser, elsewhere, address, parts_server, tmp_path
):
    """As with the real TensorFlow Serving: no list, no card, no samples."""
    page = Page(browser, elsewhere)
    page.wait(lambda: page.problem, "No problem is shown")
    assert "Type the address" in page.problem
    page.find("#connect [name=server]").send_keys(address)
    page.find("#connect [name=model]").send_keys("nope")
    page.find("#connect button").click()
    page.wait(lambda: "Servable not found" in page.problem, "It is found")
    page.find("#connect [name=model]").clear()
    page.find("#connect [name=model]").send_keys("labelled")
    page.find("#connect button").click()
    page.wait(lambda: "no model card" in page.find("#card").text, "No model")
    assert page.problem == ""
    # Units are guessed: every part.
    labels = "return [...document.querySelectorAll('#units input')]"
    labels += ".map(i => i.ariaLabel)"
    assert set(page.script(labels)) == {
        "mix root",
        "mix code",
        "mix label",
        "mix all units",
    }
    # A label may be chosen before there is an image of it.
    label = "document.querySelector('#source select')"
    page.script(f"{label}.value = 3")
    for seed, place in enumerate(("source", "target")):
        path = tmp_path / f"{place}.png"
        noise = np.random.default_rng(seed).integers(
            0, 256, (8, 8, 3), np.uint8
        )
        Image.fromarray(noise).save(path)
        page.find(f"#{place} input[type=file]").send_keys(str(path))
    shown = page.ready()
    assert page.script(f"return {label}.value") == "3"
    client = Client(address, "labelled", card={})
    parts = client.encode(tmp_path / "source.png", 3)
    np.testing.assert_allclose(
        shown, client.decode(**parts)[0], atol=EIGHT_BITS
    )
    before = page.picture
    page.set("mix root", 1)
    page.changed(before)

    # The card says more.
    card = parts_server.models / "labelled/1/assets.extra/model_card.json"
    page.script("document.querySelector('#server').open = true")
    page.find("#connect [name=card]").send_keys(str(card))
    page.find("#connect button").click()
    page.wait(
        lambda: (
            page.script(labels) == ["mix root", "mix class", "mix all units"]
        ),
        "The card is not read",
    )


def test_a_server_that_is_not_there(browser, elsewhere):
    page = Page(browser, f"{elsewhere}?server=http://127.0.0.1:9&model=m")
    page.wait(lambda: page.problem, "No problem is shown")
    assert page.problem.startswith("http://127.0.0.1:9 does not answer.")


def test_its_files_name_no_other_address():
    files = sorted((SERVING / "page").iterdir())
    assert [file.name for file in files] == [
        "index.html",
        "page.js",
        "style.css",
    ]
    for file in files:
        named = re.findall(r"https?://[^\s\"'`]+", file.read_text())
        assert set(named) <= {"http://localhost:8501"}
    # Light: less than most pictures.
    assert sum(file.stat().st_size for file in files) < 80_000
