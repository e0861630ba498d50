"""The nearest images of an indexed set, by the codes of a level.

    python -m trainers.retrieve --run=runs/x --query=IMAGE --level=2
    python -m trainers.retrieve --run=runs/x --query=IMAGE --index=FOLDER

The index is the run's training set, or any folder or .npz; its codes are kept
in the run's `cache/`, so only the first question of a step encodes it. Every
question reads a training set again; of --index=FOLDER it opens no image but the
answers. Images without a file are named by class and row of the training set,
in which images outside the tree count, too. Level l compares the codes of all
levels down to it, each number by its spread in the index. The answer is exact
(scikit-learn's brute force). A picture of it goes to the run's `images/`.
"""

import hashlib
import pathlib

from threadpoolctl import ThreadpoolController

from tfdisent.errors import InputError
from trainers import command

TOP = 5


class Index:
    """Codes of many images, and the nearest of them.

    Args:
      codes: float32 `[N, L - 1, d]`.
      level: 2 .. L.
    """

    def __init__(self, codes, level):
        # Wrong flags are said before scikit-learn has started.
        from sklearn.neighbors import NearestNeighbors
        from sklearn.preprocessing import StandardScaler

        self.levels = level - 1
        self.scaler = StandardScaler()
        self.neighbours = NearestNeighbors(algorithm="brute")
        self.neighbours.fit(self.scaler.fit_transform(self._used(codes)))
        # To look for the libraries takes as long as to answer: once.
        self.threads = ThreadpoolController()

    def _used(self, codes):
        return codes[:, : self.levels].reshape(len(codes), -1)

    def nearest(self, codes, count):
        """The nearest rows of each code.

        Args:
          codes: float32 `[Q, L - 1, d]`.
          count: how many.

        Returns:
          `(distances, rows)`, `[Q, count]` each, nearest first.
        """
        asked = self.scaler.transform(self._used(codes))
        count = min(count, self.neighbours.n_samples_fit_)
        # A question is too small to be shared out: several threads take ten
        # times as long.
        with self.threads.limit(limits=1):
            return self.neighbours.kneighbors(asked, count)


def retrieve(run, query, level=2, index=None, top=TOP, data_dir=None):
    """Answers a query image and draws the answer.

    Args:
      run: a run directory of a model of a hierarchy.
      query: a PNG or JPEG file.
      level: 2 .. L.
      index: a folder or an .npz; the run's training set when None.
      top: how many answers.
      data_dir: where TFDS keeps prepared data.

    Returns:
      `(answers, picture)`: a list of `(distance, name)`, nearest first, and
      the path of the picture.

    Raises:
      InputError: no such run, query, index or level.
    """
    from tfdisent import visualization
    from tfdisent.data import ArraySplit
    from tfdisent.data import pipeline
    from tfdisent.data.folder import read_image
    from trainers import callbacks
    from trainers import hierarchy_scores
    from trainers import rundir
    from trainers import train
    from trainers.encode import open_source

    # Of --index=~/photos no shell makes a path.
    run, query = (pathlib.Path(path).expanduser() for path in (run, query))
    index = index and pathlib.Path(index).expanduser()
    model = rundir.load_model(run)
    if "hierarchy" not in model.needs:
        raise InputError(
            f"{str(run)!r} holds a model without a hierarchy; retrieval by "
            "level needs one (--model=hdn)."
        )
    levels = len(model.parts)
    if not 2 <= level <= levels:
        raise InputError(
            f"--level={level}: this model has codes of levels 2 to {levels}."
        )
    side, _, channels = model.image_shape
    try:
        image = read_image(query, side, grey=channels == 1)
    except Exception as error:  # Pillow's decoders raise what they like.
        raise InputError(
            f"--query={str(query)!r} cannot be read ({error})."
        ) from error
    if index is None:
        config, _ = rundir.read_config(run)
        dataset = train.load_data(config, data_dir)
        split = dataset.splits["train"]
        names = split.paths or [
            f"{dataset.class_names[label]} #{row}"
            for row, label in zip(split.indices, split.labels, strict=True)
        ]
        _, _, index = config.dataset.partition(":")
        path = pathlib.Path(index).expanduser()
        # What follows a colon may be a function, too.
        files = _files(path) if index and path.exists() else []
    else:
        split, names, _ = open_source(index, model.image_shape)
        files = _files(index)

    codes = train.Cache(run / "cache").get(
        f"index-{int(model.step.numpy())}-{_stamp(names, files)}",
        lambda: hierarchy_scores.stacked_codes(
            model, split, train.counter("encoding the index")
        ),
        len(split),
    )
    asked = pipeline.fit_images(image[None], model.image_shape)
    own = hierarchy_scores.stacked_codes(model, ArraySplit(image[None]))
    distances, rows = Index(codes, level).nearest(own, top)
    images = split.take(rows[0])["image"]
    found = pipeline.fit_images(images, model.image_shape).numpy()
    picture = visualization.retrieved(
        asked.numpy(), {f"by level {level}": (found[None], None)}
    )
    name = f"retrieved-{query.stem}-level{level}"
    callbacks.Pictures(run).write(name, int(model.step.numpy()), picture)
    answers = [
        (float(distance), names[row])
        for distance, row in zip(distances[0], rows[0], strict=True)
    ]
    return answers, run / "images" / f"{name}.png"


def _files(source):
    """The files of a folder of images, or of an .npz."""
    from tfdisent.data.folder import find_images

    if source.is_file():
        return [source]
    return [source / name for name in find_images(source)]


def _stamp(names, files):
    """A digest that changes with what is indexed and the files it is in."""
    digest = hashlib.sha256("\n".join(names).encode())
    for file in files:
        known = file.stat()
        stamp = f"\n{file.name} {known.st_size} {known.st_mtime_ns}"
        digest.update(stamp.encode())
    return digest.hexdigest()[:16]


def define_flags(flags):
    flags.DEFINE_string("run", None, "Run directory of the model.")
    flags.DEFINE_string("query", None, "PNG or JPEG file.")
    flags.DEFINE_integer("level", 2, "2 .. L, from coarse to fine.")
    flags.DEFINE_string(
        "index", None, "Folder or .npz to search; the training set by default."
    )
    flags.DEFINE_integer("top", TOP, "How many images to answer with.")
    flags.DEFINE_string(
        "data_dir", None, "Prepared TFDS data; TFDS_DATA_DIR when not given."
    )


def main(flags):
    for name in ("run", "query"):
        if not getattr(flags, name):
            raise InputError(f"--{name} is needed.")
    if flags.top < 1:
        raise InputError(f"--top={flags.top}: must be at least 1.")
    answers, picture = retrieve(
        flags.run,
        flags.query,
        flags.level,
        flags.index,
        flags.top,
        flags.data_dir,
    )
    for rank, (distance, name) in enumerate(answers, 1):
        print(f"{rank:>3}  {distance:8.4f}  {name}")
    print(f"picture: {picture}")


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
