"""A plugin to begin with, for every kind: a component that works, and the test of its contract."""

import keyword
import re
from pathlib import Path

from nas.errors import RequestError
from nas.registry import available
from nas.results.run_directory import write_atomically

TEST = "test"


def write_plugin(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write `name.py` into a folder, and its test into the folder `tests` there.

    Args:
        kind: Kind of the component.
        name: Name of the component, and of the file.
        folder: Folder of plugins; made if there is none.

    Returns:
        The two files.

    Raises:
        RequestError: The name cannot be one, is taken, or a file of that name exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise RequestError(
            f"{name!r} cannot name a component; give a word like my_{kind}: letters, digits, _"
        )
    if name in available(kind):
        raise RequestError(f"there is a {kind} {name!r} already; choose another name")
    files = folder / f"{name}.py", folder / "tests" / f"test_{name}.py"
    for file in files:
        if file.exists():
            raise RequestError(f"{file} exists already; choose another name, or another folder with --into")
    for file, template in zip(files, (kind, TEST), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, _filled(template, kind, name))
    return files


def _filled(template: str, kind: str, name: str) -> str:
    text = Path(__file__).with_name(f"{template}.py.txt").read_text(encoding="utf-8")
    words = {"KIND": kind, "NAME": name, "CLASS": "".join(part.capitalize() for part in name.split("_"))}
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
