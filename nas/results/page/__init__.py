"""Pages of one file that work offline: templates, style, script and plotly.js put together."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nas.results.figures import figure


def render(template: str, charts: Mapping[str, go.Figure | None], **values: Any) -> str:
    """A page as text.

    Args:
        template: Name of the template in this folder.
        charts: Interactive charts by the name that the template has for each; None where there is nothing
            to draw.
        **values: What the template shows; escaped.
    """
    drawn = {name: chart for name, chart in charts.items() if chart is not None}
    parts = (f'"{name}": {chart.to_json()}' for name, chart in drawn.items())
    return (
        _environment()
        .get_template(template)
        .render(
            {"networks": {}} | values,
            charts=_data("{" + ",\n".join(parts) + "}"),
            drawn=set(drawn),
            style=_asset("page.css"),
            script=_asset("page.js"),
            plotly=Markup(get_plotlyjs()),
        )
    )


def _data(text: str) -> Markup:
    """JSON inside of a script element, out of which nothing in it can break."""
    return Markup(text.replace("<", "\\u003c"))


def _asset(name: str) -> Markup:
    return Markup(files(__package__).joinpath(name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["figure"] = figure
    return environment
