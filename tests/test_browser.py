"""The report, the comparison and the dashboard in a browser, at the width of a desk and of a phone."""

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from browser import DESKTOP, PHONE, complaints, needs_browser, open_browser, overflow
from searches import ENVIRONMENT, wait_until
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from test_results_commands import free_port

from nas.results.comparison import write_comparison
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history

PATIENCE_SECONDS = 60
DOUBLE_CLICK_SECONDS = 0.4  # two clicks within 0.3 are a double click for plotly, which chooses nothing

pytestmark = needs_browser


@pytest.fixture
def run(finished_search):
    """The finished run, only read."""
    return RunDirectory(finished_search / "run")


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def browser(request):
    with open_browser(*request.param) as browser:
        yield browser


def until(browser, condition):
    return WebDriverWait(browser, PATIENCE_SECONDS, poll_frequency=0.05).until(condition)


def points(browser):
    """The points of the front's chart, once it is drawn."""
    return until(
        browser, lambda _: browser.find_elements(By.CSS_SELECTOR, "#front-chart .scatterlayer .point")
    )


def shown(browser):
    """The panels of networks that are to be seen."""
    panels = browser.find_elements(By.CSS_SELECTOR, "#network .network")
    return [panel for panel in panels if panel.is_displayed()]


def hide_all(browser):
    """Hide every panel, so that the one that is shown next is what a click has chosen."""
    hide = "document.querySelectorAll('#network .network').forEach((panel) => { panel.hidden = true; })"
    browser.execute_script(hide)


def draw_all(browser):
    """Scroll through the page, so that every chart is drawn."""
    for chart in browser.find_elements(By.CSS_SELECTOR, ".chart"):
        browser.execute_script("arguments[0].scrollIntoView()", chart)
        until(browser, lambda _, chart=chart: chart.find_elements(By.CSS_SELECTOR, ".main-svg"))


def test_the_report_opens_without_a_complaint_and_fits_the_page(run, browser):
    browser.get((run.path / "report.html").as_uri())
    draw_all(browser)
    assert complaints(browser) == []
    assert overflow(browser) == 0
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [address for address in fetched if not address.startswith("data:")] == []


def test_a_click_on_a_point_of_the_front_shows_its_wiring(run, browser):
    browser.get((run.path / "report.html").as_uri())
    members = {candidate.number for candidate in read_history(run).front()}
    seen = set()
    for point in points(browser):
        hide_all(browser)
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
        ActionChains(browser).move_to_element(point).pause(DOUBLE_CLICK_SECONDS).click().perform()
        until(browser, lambda _: len(shown(browser)) == 1)
        [panel] = shown(browser)
        number = int(panel.get_attribute("data-trial"))
        seen.add(number)
        pictures = panel.find_elements(By.CSS_SELECTOR, "img[alt^='Mask of']")
        assert bool(pictures) == (number in members)
        until(browser, lambda _, pictures=pictures: all(picture.is_displayed() for picture in pictures))
        assert "fusion" in panel.text
    assert seen & members  # of points that lie on each other the uppermost is clicked
    assert complaints(browser) == []


def test_a_click_on_a_row_of_the_front_shows_its_network(run, browser):
    browser.get((run.path / "report.html").as_uri())
    points(browser)
    for candidate in read_history(run).front():
        link = browser.find_element(By.CSS_SELECTOR, f"table a[data-trial='{candidate.number}']")
        browser.execute_script("arguments[0].click()", link)
        assert [panel.get_attribute("id") for panel in shown(browser)] == [f"trial-{candidate.number}"]


def test_the_front_is_shown_against_what_is_chosen(run, browser):
    browser.get((run.path / "report.html").as_uri())
    points(browser)
    title = "return document.querySelector('#front-chart').layout.xaxis.title.text"
    assert browser.execute_script(title) == "parameters"
    Select(browser.find_element(By.CSS_SELECTOR, "select[data-for=front-chart]")).select_by_value(
        "front/sparsity"
    )
    assert browser.execute_script(title).startswith("sparsity")
    assert points(browser)


def test_a_page_without_scripts_shows_the_front_as_a_picture(run):
    with open_browser(*PHONE) as browser:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get((run.path / "report.html").as_uri())
        assert browser.find_element(By.CSS_SELECTOR, "img.static").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, "#front-chart").is_displayed()
        assert len(shown(browser)) == len(read_history(run).front())


def test_what_is_printed_has_the_front_as_a_picture_and_every_network_of_it(run):
    with open_browser(*DESKTOP) as browser:
        browser.get((run.path / "report.html").as_uri())
        points(browser)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.find_element(By.CSS_SELECTOR, "img.static").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, "#front-chart").is_displayed()
        assert len(shown(browser)) == len(read_history(run).front())


def test_a_comparison_opens_without_a_complaint_and_fits_the_page(run, browser, tmp_path):
    other = tmp_path / "again"
    shutil.copytree(run.path, other)
    file = write_comparison([run, RunDirectory(other)], tmp_path / "compare.html")
    browser.get(file.as_uri())
    draw_all(browser)
    assert complaints(browser) == []
    assert overflow(browser) == 0


@contextmanager
def dashboard(run):
    """The address of the dashboard of a run, while it is there."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "nas.dashboard", str(run.path), "--port", str(port), "--no-browser"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:

        def answered():
            assert process.poll() is None, "the dashboard has ended"
            try:
                return urllib.request.urlopen(f"{address}/api/studies").status == 200
            except urllib.error.URLError:
                return False

        try:
            wait_until(answered, "the dashboard answers")
            yield f"{address}/dashboard/studies/1"
        finally:
            process.terminate()


def test_the_dashboard_shows_notes_wiring_and_charts_without_a_complaint(run, browser, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    number = read_history(run).front()[0].number
    with dashboard(run) as address:
        browser.get(f"{address}/trials?numbers={number}")
        picture = f"document.querySelector(\"img[alt='wiring of trial {number}']\")?.naturalWidth > 0"
        until(browser, lambda _: browser.execute_script(f"return {picture}"))
        assert f"Trial {number}: on the front" in browser.find_element(By.TAG_NAME, "body").text
        browser.get(address)
        for name in ("front", "hypervolume", "curves", "wiring"):
            drawn = f"document.getElementById('user-defined-plot:{name}')?.querySelector('.main-svg')"
            until(browser, lambda _, drawn=drawn: browser.execute_script(f"return !!{drawn}"))
        assert complaints(browser) == []
