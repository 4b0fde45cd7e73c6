"""Interactive charts of a run, made with plotly: for the report, the comparison and the dashboard."""

from nas.results.charts.ancestry import ancestry_chart
from nas.results.charts.comparison import course_chart, fronts_chart
from nas.results.charts.curves import curves_chart
from nas.results.charts.front import axes, front_chart
from nas.results.charts.importance import importance_chart
from nas.results.charts.progress import progress_chart
from nas.results.charts.small_world import small_world_chart

__all__ = [
    "ancestry_chart",
    "axes",
    "course_chart",
    "curves_chart",
    "front_chart",
    "fronts_chart",
    "importance_chart",
    "progress_chart",
    "small_world_chart",
]
