"""Encodes images into named parts.

    python -m trainers.encode --run=runs/x --input=FOLDER --output=codes.npz
    python -m trainers.encode --run=runs/x --input=images.npz --output=codes.npz

The output holds one array a part, `name` (file names, or row numbers) and
`label` (class of every image, -1 where unknown; a part of this name is the
same, one-hot, and left out). Images stream through, and
so do codes, into one growing file an array: of a folder, only the names of its
images are held in memory.
"""

import os
import pathlib
import tempfile
import time
import zipfile

import numpy as np

from tfdisent import data
from tfdisent.errors import InputError
from trainers import command

BATCH = 256


class NpzWriter:
    """An .npz whose arrays grow by rows; it appears when all is written.

    Args:
      path: the .npz file.

    Used as a context; an error inside leaves nothing behind.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.files, self.rows, self.layout = {}, {}, {}

    def __enter__(self):
        if self.path.is_dir():
            raise InputError(f"--output={self.path} is a folder; name a file.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.folder = tempfile.TemporaryDirectory(
            dir=self.path.parent, prefix=".encode-"
        )
        return self

    def append(self, name, rows):
        """Adds rows `[B, ...]` of one dtype to the array of this name."""
        rows = np.ascontiguousarray(rows)
        if name not in self.files:
            path = pathlib.Path(self.folder.name) / f"{name}.raw"
            self.files[name] = path.open("wb")
            self.layout[name] = (rows.dtype, rows.shape[1:])
        self.rows[name] = self.rows.get(name, 0) + len(rows)
        self.files[name].write(rows.tobytes())

    def __exit__(self, kind, error, trace):
        for file in self.files.values():
            file.close()
        try:
            if kind is None:
                self._assemble()
        finally:
            self.folder.cleanup()

    def _assemble(self):
        temporary = pathlib.Path(self.folder.name) / "complete.npz"
        # Stored, not deflated: codes are noise to a compressor.
        with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            for name, file in self.files.items():
                dtype, shape = self.layout[name]
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self.rows[name], *shape),
                }
                with archive.open(
                    f"{name}.npy", "w", force_zip64=True
                ) as entry:
                    np.lib.format.write_array_header_2_0(entry, header)
                    with open(file.name, "rb") as raw:
                        while chunk := raw.read(2**24):
                            entry.write(chunk)
        os.replace(temporary, self.path)


def encode(run, source, output, report=print):
    """Encodes every image of a folder or an .npz with a trained model.

    Args:
      run: a run directory.
      source: a folder of PNG and JPEG files at any depth, or an .npz with
        `images` and, optionally, `labels`.
      output: the .npz to write.
      report: called with a line of progress every few seconds.

    Returns:
      The number of images encoded.

    Raises:
      InputError: no run, no images, or images the model cannot take.
    """
    import tensorflow as tf

    from tfdisent.data import pipeline
    from trainers import rundir

    model = rundir.load_parts_model(run)
    split, names, numbered = open_source(source, model.image_shape)
    if model.takes_label and split.labels is None:
        raise InputError(
            f"{str(run)!r} holds a model that encodes images with their "
            f"labels, and {str(source)!r} has none."
        )

    if model.takes_label:
        classes = model.parts["label"][-1]
        check_labels(split.labels, classes, source, numbered)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def encode_batch(batch):
        labels = (batch["label"],) if model.takes_label else ()
        return model.encode(batch["image"], *labels)

    width = max((len(name) for name in names), default=1)
    started = last = time.perf_counter()
    done = 0
    with NpzWriter(output) as archive:
        for batch in pipeline.in_order(split, model.image_shape, BATCH):
            for part, codes in encode_batch(batch).items():
                if part != "label":
                    archive.append(part, codes.numpy())
            stop = done + len(batch["image"])
            archive.append(
                "name", np.asarray(names[done:stop], dtype=f"<U{width}")
            )
            labels = np.full(stop - done, -1, np.int32)
            if "label" in batch:
                labels = batch["label"].numpy().astype(np.int32)
            archive.append("label", labels)
            done = stop
            now = time.perf_counter()
            if now - last > 5 or done == len(split):
                last = now
                rate = done / (now - started)
                left = (len(split) - done) / rate
                report(
                    f"{done:,}/{len(split):,} images  {rate:,.0f} images/s  "
                    f"{left:,.0f} s left"
                )
    return done


def check_labels(labels, classes, source, numbered):
    """Refuses labels that a model of so many classes was not trained on.

    Args:
      labels: int `[N]`.
      classes: of the model.
      source: where they come from.
      numbered: whether they are names, numbered here in order.

    Raises:
      InputError: labels outside [0, classes), or names that are not one a
        class: their numbers would be others than in training.
    """
    found = np.unique(labels)
    if numbered and len(found) != classes:
        raise InputError(
            f"The model was trained on {classes} classes, and {str(source)!r} "
            f"has {len(found)}: their numbers would be others. Give all of "
            "them, or an .npz with labels 0 to "
            f"{classes - 1} as training numbered the sorted classes."
        )
    if len(found) and (found[0] < 0 or found[-1] >= classes):
        raise InputError(
            f"The model was trained on {classes} classes, labels 0 to "
            f"{classes - 1}; {str(source)!r} has labels from {found[0]} to "
            f"{found[-1]}."
        )


def open_source(source, image_shape):
    """A folder or an .npz, read as the model wants it.

    Returns:
      `(split, names, numbered)`; the last says whether labels are names of
      folders or words, numbered in order. Whole numbers in `labels` of an
      .npz stay what they are.
    """
    from tfdisent.data import arrays
    from tfdisent.data.folder import FileSplit
    from tfdisent.data.folder import class_folders
    from tfdisent.data.folder import find_images

    source = pathlib.Path(source)
    if source.suffix == ".npz":
        stored = arrays.read_npz(source, ("images", "labels"))
        images = arrays.checked_images(stored["images"], str(source))
        labels = stored.get("labels")
        words = labels is not None and labels.dtype.kind not in "iu"
        if words:
            labels = np.unique(labels, return_inverse=True)[1]
        split = data.ArraySplit(images, labels)
        return split, [str(n) for n in range(len(split))], words
    paths = find_images(source)
    folders = class_folders(paths)
    classes = {name: n for n, name in enumerate(sorted(set(folders)))}
    labels = [classes[f] for f in folders] if len(classes) > 1 else None
    split = FileSplit(
        source, paths, image_shape[0], grey=image_shape[-1] == 1, labels=labels
    )
    return split, paths, True


def define_flags(flags):
    flags.DEFINE_string("run", None, "Run directory of the model.")
    flags.DEFINE_string("input", None, "Folder of images, or an .npz.")
    flags.DEFINE_string("output", None, "The .npz to write.")


def main(flags):
    for name in ("run", "input", "output"):
        if not getattr(flags, name):
            raise InputError(f"--{name} is needed.")
    done = encode(flags.run, flags.input, flags.output)
    print(f"{done:,} images encoded into {flags.output}")


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
