"""`python -m nas.predict MODEL NEW.csv`: what a trained network says of new samples."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nas.cli import DONE, Parser, run_command


def _predict(argv: Sequence[str] | None) -> int:
    parser = Parser(
        prog="python -m nas.predict",
        description="Apply a trained network to new samples, prepared as those that it was trained on.",
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a folder that nas.export has written, or a file of nas.retrain, retrained-0.safetensors",
    )
    parser.add_argument(
        "source",
        metavar="NEW",
        help="a table with the columns that the network was trained on; a label is not needed",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("predictions.csv"),
        metavar="FILE",
        help="where the predictions go, a row for each of the table (predictions.csv)",
    )
    parser.add_argument(
        "--on-bad-row",
        choices=("error", "skip"),
        default="error",
        help="refuse a table with rows that cannot be read, or leave their predictions empty (error)",
    )
    parser.add_argument(
        "--plugins", type=Path, action="append", default=[], metavar="PATH", help="plugin file or folder"
    )
    arguments = parser.parse_args(argv)

    from nas.results.predict import predict

    predicted = predict(
        arguments.model, arguments.source, arguments.out, arguments.plugins, arguments.on_bad_row == "skip"
    )
    for note in predicted.notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"{arguments.out}: {predicted.rows} rows")
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_predict, argv)


if __name__ == "__main__":
    sys.exit(main())
