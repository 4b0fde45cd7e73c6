"""`python -m nas.components`: what can be searched, the contract suite, and plugins to begin with."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nas.cli import DONE, OUR_FAILURE, Parser, run_command
from nas.errors import RequestError, near_misses
from nas.registry import KINDS, available, get, hyper_parameters, load_entry_points, load_plugins


def _components(argv: Sequence[str] | None) -> int:
    parser = Parser(
        prog="python -m nas.components",
        description="List components with their domains, check one, or write a plugin to begin with.",
    )
    parser.add_argument("kind", nargs="?", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--check", metavar="NAME", help="run the contract suite on this component of KIND")
    parser.add_argument(
        "--new", nargs=2, metavar=("KIND", "NAME"), help="write a plugin of that kind and name, and its test"
    )
    parser.add_argument(
        "--into", type=Path, default=Path("plugins"), metavar="DIR", help="where --new writes (plugins)"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="the table of docs/components.md, on standard output"
    )
    parser.add_argument(
        "--plugins", type=Path, action="append", default=[], metavar="PATH", help="plugin file or folder"
    )
    arguments = parser.parse_args(argv)
    for failure in load_entry_points():
        print(f"warning: {failure}", file=sys.stderr)
    for failure in load_plugins(arguments.plugins):
        raise RequestError(str(failure))
    if arguments.new:
        kind, name = arguments.new
        return _new(kind, name, arguments.into)
    if arguments.markdown:
        return _markdown()
    if arguments.check:
        return _check(arguments.kind, arguments.check)
    for kind in [arguments.kind] if arguments.kind else KINDS:
        _list(kind)
    return DONE


def _list(kind: str) -> None:
    print(f"{kind}:")
    for name in available(kind):
        component = get(kind, name)
        purpose = (component.__doc__ or "").strip().partition("\n")[0]
        print(f"  {name}: {purpose}")
        domains = getattr(component, "domains", {})
        for setting, parameter in hyper_parameters(kind, component).items():
            default = "" if parameter.default is parameter.empty else f", default {parameter.default!r}"
            print(f"      {setting}: {domains.get(setting, 'not searched')}{default}")


def _new(kind: str, name: str, folder: Path) -> int:
    if kind not in KINDS:
        raise RequestError(f"{kind!r} is not a kind of component; {near_misses(kind, KINDS)}")
    from nas.scaffold import write_plugin

    plugin, test = write_plugin(kind, name, folder)
    article = "an" if kind[0] in "aeiou" else "a"
    print(f"{plugin} holds {article} {kind} that works: change it, and keep its contract:")
    print(f"python -m pytest {test}")
    return DONE


def _markdown() -> int:
    from nas.catalogue import markdown

    print(markdown(), end="")
    return DONE


def _check(kind: str | None, name: str) -> int:
    if kind is None:
        raise RequestError("--check needs the kind too: python -m nas.components fusion --check late")
    get(kind, name)
    from nas.contract import ContractError, check_component

    try:
        check_component(kind, name)
    except ContractError as error:
        print(error, file=sys.stderr)
        return OUR_FAILURE
    print(f"{kind} {name} keeps the contract")
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_components, argv)


if __name__ == "__main__":
    sys.exit(main())
