"""Every component in a network that is exported: which formats can express it, and how exactly.

    python benchmarks/exports.py [--formats torch-export onnx] [--only fusion]

A small network per component, the rest of it as simple as can be: every encoder for every modality that
it reads, every fusion with and without missing modalities, every topology computed densely and by edges,
learnable ones before and after they are frozen, every head and task, stand-ins, sparsified encoders. Each
is written and run beside the network, on one sample and on several. Prints a line per network and format
with the largest difference, or why there is none; then the table that stands in docs/results.md.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

from nas.errors import RequestError
from nas.results.conversion import convert, largest_difference
from nas.results.export import TOLERANCE

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from exports import Example, every


def outcome(example: Example, format: str) -> tuple[str, bool]:
    """What becomes of a network in a format, and whether that is an export of it."""
    network, batch = example.build(), example.batch()
    try:
        content = convert(format, network, example.description, batch)
    except RequestError as error:
        return str(error), False
    difference = largest_difference(format, content, network, batch)
    return f"differs by {difference:.1e}", difference <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", nargs="+", default=["safetensors", "torch-export", "onnx"])
    parser.add_argument("--only", help="of one slot alone, such as fusion")
    arguments = parser.parse_args()
    refused: dict[tuple[str, str], set[str]] = defaultdict(set)
    for example in every():
        slot, name = next(iter(example.names.items()))
        if arguments.only not in (None, slot):
            continue
        for format in arguments.formats:
            started = time.perf_counter()
            told, good = outcome(example, format)
            missing = ", modalities missing" if example.missing else ""
            print(f"{example}{missing}, {format}: {told} ({time.perf_counter() - started:.1f} s)", flush=True)
            refused[slot, name] |= set() if good else {f"{format}: {told}"}
    print("\n| slot | exported in every format | not |\n|---|---|---|")
    for slot in dict.fromkeys(slot for slot, _ in refused):
        names = {name: reasons for (other, name), reasons in refused.items() if other == slot}
        good = ", ".join(f"`{name}`" for name, reasons in names.items() if not reasons)
        bad = "; ".join(f"`{name}`: {', '.join(reasons)}" for name, reasons in names.items() if reasons)
        print(f"| {slot} | {good or '—'} | {bad or '—'} |")


if __name__ == "__main__":
    main()
