"""`python -m nas.export RUN_DIR --trial N --format FORMAT -o PATH`: a trained network to take away."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nas.cli import DONE, Parser, natural, run_command
from nas.results.formats import FILES


def _export(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m nas.export", description="Write a trial's trained network to a file.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run directory of a search")
    parser.add_argument("--trial", type=natural, required=True, metavar="N", help="number of the trial")
    parser.add_argument(
        "--retrained",
        type=natural,
        nargs="?",
        const=0,
        metavar="K",
        help="the network that nas.retrain has trained: its first training, or number K from 0",
    )
    parser.add_argument("--format", choices=FILES, default=next(iter(FILES)), help="safetensors if not given")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder, for the model with its card and an example; or a file, for the model alone",
    )
    arguments = parser.parse_args(argv)

    from nas.results.export import export
    from nas.results.run_directory import RunDirectory

    run = RunDirectory(arguments.run_dir)
    exported = export(run, arguments.trial, arguments.format, arguments.output, arguments.retrained)
    retrained = "" if arguments.retrained is None else ", retrained,"
    print(
        f"trial {arguments.trial}{retrained} as {arguments.format}: the outputs for {exported.samples} real "
        f"samples are those of the network to {exported.difference:.1g}"
    )
    for file in exported.files:
        print(f"  {file}")
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_export, argv)


if __name__ == "__main__":
    sys.exit(main())
