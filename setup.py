"""Packaging of tfdisent; tools are configured in pyproject.toml."""

import pathlib

from setuptools import find_packages
from setuptools import setup

HERE = pathlib.Path(__file__).parent

setup(
    name="tfdisent",
    version="0.1.0",
    description=(
        "Image representations whose parts mean something: five published "
        "disentanglement systems and their baselines for TensorFlow / Keras 3."
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[
            f"{name}{suffix}"
            for name in ("tfdisent", "trainers", "export", "serving")
            for suffix in ("", ".*")
        ]
    ),
    package_data={"serving": ["page/*", "deploy/*"]},
    install_requires=[
        "absl-py",
        # TensorFlow Datasets 4.9.10 imports it without naming it.
        "importlib_resources",
        "keras>=3.12",
        "matplotlib",
        "numpy",
        "pillow",
        "scikit-learn",
        "scipy",
        # No longer installed by TensorFlow, yet tf.summary needs it.
        "tensorboard",
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9.9",
        # The extra brings tf_keras, which TFP needs merely to be imported.
        "tensorflow-probability[tf]>=0.25",
        "threadpoolctl",
    ],
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.20"],
        "serving": [
            "grpcio",
            "grpcio-health-checking",
            "orjson",
            "prometheus-client",
            "python-rapidjson",
            "starlette",
            "tensorflow-serving-api",
            "urllib3>=2",
            "uvicorn",
        ],
        # The page's tests also want Debian's chromium and chromium-driver.
        "test": [
            "compose-spec",
            "hypothesis",
            "ipykernel",
            "kubernetes-validate",
            "nbclient",
            "nbformat",
            "ovmsclient",
            "pytest",
            "pytest-xdist",
            "pyyaml",
            "ruff",
            "selenium",
        ],
    },
    entry_points={
        "console_scripts": [
            "tfdisent-run=trainers.run:console",
            "tfdisent-compare=trainers.compare:console",
            "tfdisent-encode=trainers.encode:console",
            "tfdisent-retrieve=trainers.retrieve:console",
            "tfdisent-traverse=trainers.traverse:console",
            "tfdisent-evaluate=trainers.evaluate:console",
            "tfdisent-export=export.run:console",
            "tfdisent-promote=export.promote:console",
            "tfdisent-serve=serving.run:console",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
