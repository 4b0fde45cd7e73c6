"""`python -m nas.retrain RUN_DIR --trial N`: train from scratch, measure on the test split."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.cli import DONE, Parser, natural, positive, run_command
from nas.errors import RequestError, TrialError


def _retrain(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m nas.retrain", description="Train one trial's network from scratch.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run directory of a search")
    parser.add_argument("--trial", type=natural, required=True, metavar="N", help="number of the trial")
    parser.add_argument("--seeds", type=positive, default=3, metavar="K", help="number of trainings (3)")
    parser.add_argument("--epochs", type=positive, metavar="E", help="epochs, instead of the experiment's")
    arguments = parser.parse_args(argv)

    from nas.results.figures import figure
    from nas.results.retrain import retrain_trial
    from nas.results.run_directory import RunDirectory

    def observe(index: int, test: Mapping[str, float]) -> None:
        values = "  ".join(f"{name} {figure(value)}" for name, value in test.items())
        print(f"seed {index + 1} of {arguments.seeds}  test: {values}", flush=True)

    run = RunDirectory(arguments.run_dir)
    try:
        retrained = retrain_trial(run, arguments.trial, arguments.seeds, arguments.epochs, observe)
    except TrialError as error:
        raise RequestError(f"trial {arguments.trial} cannot be retrained: {error.message}") from None
    print(f"trial {arguments.trial} over {arguments.seeds} seeds, test split:")
    for name, (mean, std) in retrained.summary().items():
        print(f"  {name} {figure(mean)}" + (f" ± {std:.4f}" if std else ""))
    print(run.trial(arguments.trial) / "retrained.json")
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_retrain, argv)


if __name__ == "__main__":
    sys.exit(main())
