import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from tfdisent import InputError
from tfdisent.data import ArraySplit
from tfdisent.data import Dataset
from tfdisent.data.folder import FileSplit
from tfdisent.data.folder import find_images
from trainers import config as configuration
from trainers import retrieve
from trainers import train


def test_nearest_by_hand():
    codes = np.zeros((4, 2, 1), np.float32)
    codes[:, 0, 0] = [0, 1, 2, 3]
    codes[:, 1, 0] = [9, 0, 0, 9]
    query = np.array([[[0.9], [9.0]]], np.float32)
    distances, rows = retrieve.Index(codes, 2).nearest(query, 3)
    np.testing.assert_array_equal(rows, [[1, 0, 2]])
    np.testing.assert_allclose(
        distances[0], np.array([0.1, 0.9, 1.1]) / codes[:, 0].std(), rtol=1e-4
    )
    # Both levels, each by its spread: 1.118 and 4.5.
    _, rows = retrieve.Index(codes, 3).nearest(query, 9)
    np.testing.assert_array_equal(rows, [[0, 3, 1, 2]])


def test_the_nearest_of_sixty_thousand_codes_is_itself():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(60_000, 3, 8)).astype(np.float32)
    index = retrieve.Index(codes, 4)
    distances, rows = index.nearest(codes[:5], 5)
    np.testing.assert_array_equal(rows[:, 0], np.arange(5))
    assert np.all(np.diff(distances, axis=1) >= 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory, save_run):
    """A run directory of an untrained tiny HDN."""
    workdir = tmp_path_factory.mktemp("run")
    config = configuration.build(
        "hdn", "fashion_mnist", settings=["filters=2", "style_dim=2"]
    )
    save_run(workdir, config, (16, 16, 1))
    return workdir


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def test_an_image_finds_itself(run, folder, monkeypatch):
    answers, picture = retrieve.retrieve(
        run, folder / "3.png", level=3, index=folder, top=2
    )
    assert answers[0][1] == "3.png"
    assert answers[0][0] == pytest.approx(0, abs=1e-3)
    assert answers[1][0] > 1e-3
    assert np.asarray(Image.open(picture)).ndim == 3
    (cached,) = (run / "cache").iterdir()
    monkeypatch.setenv("HOME", str(folder.parent))
    at_home, _ = retrieve.retrieve(
        run, f"~/{folder.name}/3.png", 3, f"~/{folder.name}", top=2
    )
    assert at_home == answers
    # Other files under the same names are another index.
    Image.new("L", (16, 16), 7).save(folder / "5.png")
    retrieve.retrieve(run, folder / "3.png", level=2, index=folder)
    assert len(list((run / "cache").iterdir())) == 2
    assert cached.exists()


def clothes(split):
    return Dataset(
        "clothes",
        {"train": split},
        num_classes=2,
        class_names=("tops/coat", "tops/vest"),
    )


def test_the_training_set_is_the_index(run, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (8, 16, 16, 1), np.uint8)
    split = ArraySplit(images, np.arange(8) % 2)
    dataset = clothes(split.subset(np.arange(8)))
    monkeypatch.setattr(train, "load_data", lambda config, data_dir: dataset)
    query = tmp_path / "mine.png"
    Image.fromarray(images[5, :, :, 0]).save(query)
    flags = types.SimpleNamespace(
        run=run, query=query, level=3, index=None, top=3, data_dir=None
    )
    retrieve.main(flags)
    *answers, last = capsys.readouterr().out.splitlines()[-4:]
    assert answers[0].split() == ["1", "0.0000", "tops/vest", "#5"]
    assert len(answers) == 3
    assert last == f"picture: {run / 'images' / 'retrieved-mine-level3.png'}"
    flags.top = 0
    with pytest.raises(InputError, match="--top=0: must be at least 1"):
        retrieve.main(flags)


def test_a_training_folder_whose_files_change_is_another_index(
    folder, tmp_path, monkeypatch, save_run
):
    config = configuration.build(
        "hdn", f"folder:{folder}", settings=["filters=2", "style_dim=2"]
    )
    config = dataclasses.replace(config, tree=(2, 3, 2))
    save_run(tmp_path, config, (16, 16, 1))
    split = FileSplit(
        folder, find_images(folder), 16, grey=True, labels=np.arange(6) % 2
    )
    dataset = clothes(split)
    monkeypatch.setattr(train, "load_data", lambda config, data_dir: dataset)
    for _ in range(2):
        answers, _ = retrieve.retrieve(tmp_path, folder / "3.png", level=2)
        assert answers[0][1] == "3.png"
        assert len(list((tmp_path / "cache").iterdir())) == 1
    Image.new("L", (16, 16), 9).save(folder / "4.png")
    retrieve.retrieve(tmp_path, folder / "3.png", level=2)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_users_own_data_set_is_an_index_too(
    folder, tmp_path, monkeypatch, save_run
):
    config = configuration.build(
        "hdn", "fashion_mnist", settings=["filters=2", "style_dim=2"]
    )
    config = dataclasses.replace(config, dataset="package.module:function")
    save_run(tmp_path, config, (16, 16, 1))
    images = np.zeros((6, 16, 16, 1), np.uint8)
    # The first two are outside the tree.
    split = ArraySplit(images, np.arange(6) % 2).subset(np.arange(2, 6))
    dataset = clothes(split)
    monkeypatch.setattr(train, "load_data", lambda config, data_dir: dataset)
    answers, _ = retrieve.retrieve(tmp_path, folder / "3.png", level=2, top=4)
    assert sorted(name for _, name in answers) == [
        "tops/coat #2",
        "tops/coat #4",
        "tops/vest #3",
        "tops/vest #5",
    ]


def test_what_cannot_be_asked(run, folder, tmp_path):
    with pytest.raises(InputError, match="codes of levels 2 to 3"):
        retrieve.retrieve(run, folder / "3.png", level=4, index=folder)
    with pytest.raises(InputError, match="nothing.png' cannot be read"):
        retrieve.retrieve(run, tmp_path / "nothing.png", index=folder)
    with pytest.raises(InputError, match="is no run directory"):
        retrieve.retrieve(tmp_path, folder / "3.png", index=folder)
