import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL import ImageFile

from tfdisent import data
from tfdisent.data import folder
from tfdisent.data import pipeline
from tfdisent.errors import InputError

RNG = np.random.default_rng(0)


def write(path, colour=(10, 100, 200), shape=(24, 24), **options):
    """Writes an image of one colour, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", shape[::-1], colour).save(path, **options)
    return path


def write_noise(path, **options):
    pixels = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def bomb(path, side):
    """A PNG of a few bytes whose header claims side x side pixels."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def tree(tmp_path):
    """Five classes at two depths, four images each."""
    for n, name in enumerate(("a", "b/x", "b/y", "c/x", "d")):
        for k in range(4):
            write(tmp_path / name / f"{k}.png", (50 * n, 10 * k, 0))
    return tmp_path


def test_folders_are_classes(tree):
    dataset = data.load(f"folder:{tree}", size=8)
    assert dataset.class_names == ("a", "b/x", "b/y", "c/x", "d")
    assert dataset.num_classes == 5
    assert dataset.image_shape == (8, 8, 3)
    assert {n: len(s) for n, s in dataset.splits.items()} == {
        "train": 18,
        "test": 2,
    }
    for split in dataset.splits.values():
        batch = split.take(np.arange(len(split)))
        np.testing.assert_array_equal(
            batch["image"][:, 4, 4, 0], 50 * batch["label"]
        )
    seen = {n: set(s.labels.tolist()) for n, s in dataset.few_shot.items()}
    assert seen["validation"] <= seen["train"]
    assert seen["train"] | seen["test"] == set(range(5))
    assert not seen["train"] & seen["test"]


def test_split_is_seeded_and_free_of_the_file_systems_order(tree, monkeypatch):
    def test_images(**options):
        split = data.load(f"folder:{tree}", size=8, **options).splits["test"]
        return split.take(np.arange(len(split)))["image"].tolist()

    before = test_images()
    walk = os.walk

    def backwards(*args, **kwargs):
        for here, folders, files in walk(*args, **kwargs):
            yield here, folders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert test_images() == before
    assert test_images(seed=1) != before


def test_flat_folder_is_unlabelled(tmp_path):
    for k in range(3):
        write(tmp_path / f"{k}.png")
    dataset = folder.folder(tmp_path, size=8)
    assert dataset.num_classes is None and dataset.class_names is None
    assert not dataset.few_shot
    assert set(dataset.splits["train"].take([0])) == {"image"}


def test_images_beside_folders_are_a_class_of_their_own(tmp_path):
    write(tmp_path / "stray.png")
    write(tmp_path / "cats" / "1.png")
    assert folder.folder(tmp_path, size=8).class_names == (".", "cats")


def test_names_of_every_kind_are_found_hidden_ones_are_not(tmp_path):
    shown = ["A.JPG", "b.Jpeg", "é ü.png", "日本/写真.png", "x.y/1.png"]
    for name in [*shown, ".hidden.png", "._A.png", ".cache/1.png"]:
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert [str(p) for p in folder.find_images(tmp_path)] == sorted(shown)


def test_images_of_other_formats_are_named(tmp_path):
    write(tmp_path / "c" / "a.png")
    for name in ["b.webp", "c/d.BMP", "c/e.bmp", ".f.gif", "g.txt"]:
        (tmp_path / name).write_bytes(b"never opened")
    told = []
    assert folder.find_images(tmp_path, told.append) == ["c/a.png"]
    assert told == [
        f"3 images below {tmp_path} are left out (.bmp, .webp): PNG and JPEG "
        "are read."
    ]


def test_links_are_followed_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    write(root / "a" / "1.png")
    write(elsewhere / "2.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "z").symlink_to(elsewhere)
    found = [str(p) for p in folder.find_images(root)]
    assert found == ["a/1.png", "z/2.png"]
    (root / "broken.png").symlink_to(root / "nothing.png")
    with pytest.raises(InputError, match="1 of 3 images .*'broken.png'"):
        folder.folder(root)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        folder.folder(tmp_path / "nothing")
    with pytest.raises(InputError, match="There is no folder"):
        folder.folder(write(tmp_path / "file.png"))
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no PNG or JPEG"):
        folder.folder(tmp_path / "empty")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "photos" / "1.png")
    assert len(data.load("folder:~/photos").splits["train"]) == 1


def test_every_damaged_file_is_named(tmp_path):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    write(tmp_path / "fine.png")
    truncate(write_noise(tmp_path / "short.png"))
    truncate(write_noise(tmp_path / "short.jpg", quality=95))
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "zero.jpg").touch()
    bomb(tmp_path / "bomb.png", 60_000)
    with pytest.raises(InputError) as caught:
        folder.folder(tmp_path)
    message = str(caught.value)
    assert message.startswith("5 of 6 images in ")
    for name in ("short.png", "short.jpg", "text.png", "zero.jpg", "bomb.png"):
        assert repr(name) in message
    assert "fine.png" not in message and "\n" not in message


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_001, 12_000])
def test_headers_that_claim_too_much_are_refused_unread(tmp_path, side):
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(InputError, match="pixels"):
        folder.folder(tmp_path)


def test_of_many_damaged_files_some_are_named(tmp_path):
    for k in range(8):
        (tmp_path / f"{k}.png").touch()
    with pytest.raises(InputError, match="8 of 8 .*'4.png'.*; and 3 more"):
        folder.folder(tmp_path)


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path):
    ramp = np.arange(0, 65536, 256, np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    image = folder.read_image(tmp_path / "ramp.png", 16, grey=True)
    np.testing.assert_array_equal(image[..., 0], ramp >> 8)


def test_palette_and_transparency(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (200, 0, 0, 255)
    rgba = Image.fromarray(pixels)
    rgba.save(tmp_path / "rgba.png")
    rgba.convert("LA").save(tmp_path / "la.png")
    rgba.convert("RGB").quantize(4).save(tmp_path / "palette.png")
    rgba.quantize(4).save(tmp_path / "both.png")
    for name, left in (("rgba", 255), ("palette", 0), ("both", 255)):
        image = folder.read_image(tmp_path / f"{name}.png", 8)
        assert (image[:, :4] == left).all(), name
        assert (image[:, 4:] == (200, 0, 0)).all(), name
    grey = folder.read_image(tmp_path / "la.png", 8, grey=True)
    assert grey.shape == (8, 8, 1)
    assert (grey[:, :4] == 255).all()
    assert (abs(grey[:, 4:].astype(int) - 0.299 * 200) <= 1).all()


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    image = folder.read_image(tmp_path / "red.jpg", 8).astype(int)
    assert (abs(image - (255, 0, 0)) < 6).all()


def test_photos_are_turned_upright(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255
    lying = Image.fromarray(np.rot90(pixels))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to view.
    for name in ("photo.png", "photo.jpg"):
        lying.save(tmp_path / name, exif=exif)
        image = folder.read_image(tmp_path / name, 16)
        assert image[:7].min() > 240 and image[9:].max() < 15


def test_longer_side_is_cropped_around_the_centre(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = folder.read_image(tmp_path / "wide.png", 10)
    assert image[:, 2:-2].min() > 240


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    small = RNG.integers(0, 256, (12, 12, 3), np.uint8)
    large = Image.fromarray(small).resize((960, 960), Image.Resampling.BICUBIC)
    large.save(tmp_path / "x.jpg", quality=95)
    large.save(tmp_path / "x.png")
    jpeg, png = (
        folder.read_image(tmp_path / f"x.{kind}", 32).astype(int)
        for kind in ("jpg", "png")
    )
    assert abs(jpeg - png).mean() < 2


def test_gif_in_disguise_is_refused(tmp_path):
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "GIF")
    (tmp_path / "x.png").write_bytes(content.getvalue())
    with pytest.raises(InputError, match="'x.png' cannot be read: cannot i"):
        folder.folder(tmp_path)


def test_large_folders_are_streamed(tree, monkeypatch):
    kept = folder.folder(tree, size=8)
    assert isinstance(kept.splits["train"].split, data.ArraySplit)
    monkeypatch.setattr(folder, "MEMORY", 1000)
    monkeypatch.setattr(folder, "SCAN_CHUNK", 3)
    streamed = folder.folder(tree, size=8)
    assert isinstance(streamed.splits["train"].split, folder.FileSplit)
    for name, split in kept.splits.items():
        order = np.arange(len(split))[::-1]
        for key, array in split.take(order).items():
            other = streamed.splits[name].take(order)[key]
            np.testing.assert_array_equal(other, array)


def test_file_that_is_lost_later_is_named(tree, monkeypatch):
    monkeypatch.setattr(folder, "MEMORY", 0)
    train = folder.folder(tree, size=8, test_share=0).splits["train"]
    (tree / "a" / "0.png").unlink()
    with pytest.raises(InputError, match="^'a/0.png' .*No such file") as caught:
        list(pipeline.in_order(train, (8, 8, 3)))
    assert "\n" not in str(caught.value)


def test_long_scans_report(tree, monkeypatch):
    lines = []
    data.load(f"folder:{tree}", size=8, report=lines.append)
    assert not lines  # It took no ten seconds.
    monkeypatch.setattr(folder, "REPORT_SECONDS", 0)
    data.load(f"folder:{tree}", size=8, report=lines.append)
    assert len(lines) == 20
    assert lines[-1].startswith("reading images: 20/20  ")
    assert lines[-1].endswith(" images/s  0:00 left")


def test_bad_size(tree):
    with pytest.raises(InputError, match="size must be at least 1"):
        folder.folder(tree, size=0)


def write_lists(root, **parts):
    for part, classes in parts.items():
        rows = [f"{c}0000{k}.jpg,{c}" for c in classes for k in range(2)]
        (root / f"{part}.csv").write_text("\n".join(["filename,label", *rows]))


def test_mini_imagenet_follows_the_lists(tmp_path):
    for name in ("n1", "n2", "n3", "n4"):
        write(tmp_path / name / "1.jpg")
    write_lists(tmp_path, train=["n4", "n1"], val=["n3"], test=["n2"])
    dataset = data.load(f"mini_imagenet:{tmp_path}", size=8)
    classes = {
        part: [dataset.class_names[n] for n in split.labels]
        for part, split in dataset.few_shot.items()
    }
    assert classes == {
        "train": ["n1", "n3", "n4"],
        "validation": ["n3"],
        "test": ["n2"],
    }
    write_lists(tmp_path, val=["n9"])
    with pytest.raises(InputError, match="lacks the class folders n9"):
        data.load(f"mini_imagenet:{tmp_path}")
    (tmp_path / "val.csv").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="columns filename,label"):
        data.load(f"mini_imagenet:{tmp_path}")
    (tmp_path / "test.csv").unlink()
    with pytest.raises(InputError, match="test.csv' is missing"):
        data.load(f"mini_imagenet:{tmp_path}")


def test_faces(tmp_path):
    for n in range(60):
        write(tmp_path / f"person{n}" / "1.jpg")
    dataset = data.load(f"faces:{tmp_path}", size=8, grey=True)
    assert dataset.image_shape == (8, 8, 1)
    sizes = {n: len(s) for n, s in dataset.few_shot.items()}
    assert sizes == {"train": 57, "validation": 3, "test": 3}
    (tmp_path / "few").mkdir()
    write(tmp_path / "few" / "one" / "1.jpg")
    with pytest.raises(InputError, match="at least 4. Found 1"):
        data.load(f"faces:{tmp_path / 'few'}")
