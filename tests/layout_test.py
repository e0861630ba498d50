"""Imports go one way, and nothing reads flags but a command's main."""

import ast
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BOTTOM = {
    "tfdisent.errors",
    "tfdisent.registry",
    "tfdisent.noise",
    "tfdisent.tree",
}
# Who may import what of ours; longer prefixes win. The modules at the bottom
# are everybody's.
ALLOWED = {
    "tfdisent.errors": set(),
    "tfdisent.registry": set(),
    "tfdisent.noise": set(),
    "tfdisent.tree": set(),
    "tfdisent.optimizers": set(),
    "tfdisent.distributions": set(),
    "tfdisent.losses": set(),
    "tfdisent.layers": set(),
    "tfdisent.structure": set(),
    "tfdisent.data": {"tfdisent.data"},
    "tfdisent.metrics": {"tfdisent.metrics"},
    "tfdisent.networks": {"tfdisent.layers"},
    "tfdisent.models": {
        "tfdisent.models",
        "tfdisent.networks",
        "tfdisent.layers",
        "tfdisent.losses",
        "tfdisent.distributions",
        "tfdisent.optimizers",
        "tfdisent.structure",
    },
    "tfdisent.visualization": {"tfdisent.data", "tfdisent.metrics"},
    "tfdisent.testing": {"tfdisent"},
    "tfdisent": set(),
    "trainers": {"tfdisent", "trainers"},
    "export": {"tfdisent", "trainers", "export"},
    "serving": {"serving"},
}
OURS = ("tfdisent", "trainers", "export", "serving")
FILES = sorted(p for top in OURS for p in (ROOT / top).rglob("*.py"))


def module_name(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def below(name, prefix):
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_one_way(path):
    name = module_name(path)
    own = max((p for p in ALLOWED if below(name, p)), key=len)
    allowed = ALLOWED[own] | BOTTOM
    for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
        if target.split(".")[0] not in OURS:
            continue
        if own == "tfdisent" and below(target, "tfdisent"):
            continue
        assert any(below(target, a) for a in allowed), f"{name} -> {target}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_flags_no_instance_checks_of_models(path):
    source = path.read_text(encoding="utf-8")
    assert "flags.FLAGS" not in source.replace("`flags.FLAGS`", "")
    if "models" not in path.parts:
        for model in ("FDEN", "ALI", "PartsModel", "Autoencoder", "BetaVAE"):
            assert f", {model})" not in source
    assert "pickle.load" not in source
    assert "safe_mode=False" not in source


def test_only_one_module_imports_probability():
    users = [
        module_name(path)
        for path in FILES
        if "import tensorflow_probability" in path.read_text(encoding="utf-8")
    ]
    assert users == ["tfdisent.distributions"]


def test_no_utils():
    assert not [p for p in FILES if "utils" in p.stem]


def test_no_kept_file_is_large():
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    answer = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if answer.returncode:
        pytest.skip("not a checkout that git will read")
    kept = [ROOT / name for name in answer.stdout.decode().split("\0") if name]
    large = [p.name for p in kept if p.is_file() and p.stat().st_size > 2**20]
    assert large == []
