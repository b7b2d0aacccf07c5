"""Pages as a user sees and operates them, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from scaleprotoseg.explanation.decomposition import Decomposition, PixelExplanation, decompose
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.explanation.report import write_report
from tests.explanation import toy

Open = Callable[..., Page]


@pytest.fixture(scope="module", params=[True, False], ids=["grouped", "ungrouped"])
def explained(request: pytest.FixtureRequest) -> Decomposition:
    return decompose(toy.network(grouped=request.param), toy.drawn())


@pytest.fixture(scope="module")
def page_path(explained: Decomposition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "page.html"
    write_explanation(explained, path, toy.FILE)
    return path


@pytest.fixture(scope="module")
def report_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    write_report(toy.network(), path, None, [toy.sample(), toy.sample("second", 1)])
    return path


def value(scope: Page | Locator, selector: str) -> float:
    return float(scope.locator(selector).first.get_attribute("value") or "nan")


def values(scope: Page | Locator, selector: str) -> list[float]:
    found: list[float] = scope.locator(selector).evaluate_all("all => all.map(one => Number(one.value))")
    return found


def click_pixel(page: Page, explained: Decomposition, x: int, y: int) -> None:
    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    width, height = explained.image.size
    page.mouse.click(box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"])
    assert page.locator(".view").get_attribute("data-x") == str(x)
    assert page.locator(".view").get_attribute("data-y") == str(y)


def check(page: Page, why: PixelExplanation) -> None:
    """All numbers in the panel equal those computed in Python, in the same order."""
    assert value(page, "data.logit") == pytest.approx(why.logit, abs=1e-4)
    assert value(page, "data.total") == pytest.approx(why.logit, abs=1e-4)
    assert page.locator("data.logit").inner_text() == f"{why.logit:.2f}".replace("-", "−")
    assert page.locator(".sentence .class").first.inner_text() == why.class_name
    units = page.locator(".group").evaluate_all("all => all.map(one => Number(one.dataset.unit))")
    assert units == [group.index for group in why.groups]
    assert values(page, "data.contribution") == pytest.approx([group.contribution for group in why.groups], abs=1e-4)
    assert sum(values(page, "data.contribution")) == pytest.approx(why.logit, abs=1e-3)
    for group in why.groups[:3]:
        item = page.locator(f'.group[data-unit="{group.index}"]')
        if item.locator(".group-head").get_attribute("aria-expanded") == "false":
            item.locator(".group-head").click()
        assert value(item, "data.activation") == pytest.approx(group.activation, abs=1e-4)
        assert value(item, "data.weight") == pytest.approx(group.weight, abs=1e-4)
        similarities = [member.similarity for member in group.members]
        assert values(item, "data.similarity") == pytest.approx(similarities, abs=1e-4)
        if item.locator("data.cell-activation").count():
            assert value(item, "data.cell-activation") == pytest.approx(group.cell_activation, abs=1e-4)
            weights = [member.weight for member in group.members]
            assert values(item, "data.member-weight") == pytest.approx(weights, abs=1e-4)
            contributions = [member.contribution for member in group.members]
            assert values(item, "data.member-contribution") == pytest.approx(contributions, abs=1e-4)
        rows = item.locator(".member").evaluate_all("all => all.map(one => Number(one.dataset.prototypeRow))")
        assert rows == [member.prototype for member in group.members]


@pytest.mark.parametrize("viewport", [1400, 400])
def test_numbers_equal_those_computed_in_python(
    open_page: Open, page_path: Path, explained: Decomposition, viewport: int
) -> None:
    page = open_page(page_path, viewport)
    right, bottom = explained.image.width - 1, explained.image.height - 1
    for x, y in [(0, 0), (right, 0), (0, bottom), (right, bottom), (40, 0), (0, 33), (right, 34), (45, 37), (46, 35)]:
        click_pixel(page, explained, x, y)
        check(page, explained.at(x, y))


def test_why_not_explains_any_class(open_page: Open, page_path: Path, explained: Decomposition) -> None:
    page = open_page(page_path)
    click_pixel(page, explained, 30, 20)
    for index, name in enumerate(explained.labels.names):
        page.locator(".why-not").select_option(str(index))
        check(page, explained.at(30, 20, class_name=name))
    page.locator(".why-not").select_option("")
    check(page, explained.at(30, 20))


def test_a_clear_pixel_and_its_maps_are_shown_without_a_click(
    open_page: Open, page_path: Path, explained: Decomposition
) -> None:
    page = open_page(page_path)
    view = page.locator(".view")
    x, y = int(view.get_attribute("data-x") or -1), int(view.get_attribute("data-y") or -1)
    check(page, explained.at(x, y))
    supporting = [group for group in explained.at(x, y).groups if group.contribution > 0][:3]
    assert page.locator(".miniature").count() == len(supporting)
    page.wait_for_timeout(200)
    for canvas in page.locator(".miniature").all():
        assert len(set(canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"))) > 10


def test_the_keyboard_moves_the_pixel_and_opens_groups(
    open_page: Open, page_path: Path, explained: Decomposition
) -> None:
    page = open_page(page_path)
    click_pixel(page, explained, 1, 1)
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    check(page, explained.at(0, 0))
    page.locator(".stage").focus()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    view = page.locator(".view")
    x, y = int(view.get_attribute("data-x") or 0), int(view.get_attribute("data-y") or 0)
    assert x > 5
    assert y > 5
    check(page, explained.at(x, y))
    head = page.locator(".group-head").nth(1)
    before = head.get_attribute("aria-expanded")
    head.focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-expanded") != before
    page.keyboard.press("Space")
    assert head.get_attribute("aria-expanded") == before


def test_a_map_is_shown_on_the_image_and_hidden_again(
    open_page: Open, page_path: Path, explained: Decomposition
) -> None:
    page = open_page(page_path)
    assert not page.locator(".heat").is_visible()
    page.locator(".map-button").first.click()
    assert page.locator(".heat").is_visible()
    assert not page.locator(".prediction").is_visible()
    unit = int(page.locator(".map-button").first.get_attribute("data-unit") or 0)
    low = f"{float(explained.units[unit].min()):.2f}"
    assert page.locator(".map-low").inner_text() == low
    page.locator(".member .quiet").first.click()
    assert page.locator(".marks rect").count() == 2
    page.locator(".back").click()
    assert not page.locator(".heat").is_visible()
    assert page.locator(".marks rect").count() == 0
    page.locator(".stage").focus()
    page.locator(".map-button").first.click()
    page.locator(".stage").press("Escape")
    assert not page.locator(".heat").is_visible()


def test_the_pointer_previews_and_the_legend_selects_a_class(
    open_page: Open, page_path: Path, explained: Decomposition
) -> None:
    page = open_page(page_path)
    page.locator(".stage").hover(position={"x": 5, "y": 5})
    assert explained.at(0, 0).class_name in page.locator(".preview").inner_text()
    for button in page.locator(".legend button").all():
        button.click()
        assert page.locator(".sentence .class").first.inner_text() == button.locator(".class").inner_text()


@pytest.mark.parametrize("width", [400, 1400])
def test_no_page_is_wider_than_the_window(open_page: Open, page_path: Path, report_path: Path, width: int) -> None:
    for path in (page_path, report_path):
        page = open_page(path, width)
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_are_shown_and_never_run(open_page: Open, page_path: Path, report_path: Path) -> None:
    page = open_page(page_path)
    assert page.locator(".file").inner_text() == toy.FILE
    assert page.locator(".why-not option").all_inner_texts()[1:] == list(toy.HOSTILE)
    assert page.title().endswith(toy.FILE)
    page.locator(".panel button.patch").first.click()
    assert toy.FILE in page.locator("#patch-dialog dl").inner_text()
    report = open_page(report_path)
    assert report.locator(".card h3 .class").all_inner_texts() == list(toy.HOSTILE)
    assert report.locator(".example .file").first.inner_text() == toy.FILE


def test_a_patch_is_enlarged_and_closed_by_keyboard(open_page: Open, report_path: Path) -> None:
    page = open_page(report_path)
    patch = page.locator(".matrix button.patch").first
    patch.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#patch-dialog")
    assert dialog.is_visible()
    assert f"Prototype #{patch.get_attribute('data-prototype')}" in dialog.inner_text()
    assert "0.2500 between the trained prototype and this patch" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_examples_in_the_report_are_explained(open_page: Open, report_path: Path) -> None:
    page = open_page(report_path)
    assert page.locator(".view .sentence").count() == 1
    for fold in page.locator(".fold > summary").all():
        if not fold.evaluate("one => one.parentElement.open"):
            fold.click()
    expect(page.locator(".view .sentence")).to_have_count(2)
    maps = page.locator("[data-unit-map]").count()
    assert maps > 0
    expect(page.locator("[data-unit-map] canvas")).to_have_count(maps)
    second = page.locator(".view").nth(1)
    x, y = int(second.get_attribute("data-x") or -1), int(second.get_attribute("data-y") or -1)
    why = decompose(toy.network(), toy.drawn(1)).at(x, y)
    assert value(second, "data.logit") == pytest.approx(why.logit, abs=1e-4)


def test_the_report_compares_with_the_black_box(open_page: Open, tmp_path: Path) -> None:
    names = toy.HOSTILE
    metrics = {
        "miou": 0.45,
        "iou": dict.fromkeys(names, 0.45),
        "black_box": {"phase": names[0], "miou": 0.5, "pixel_accuracy": 0.75, "iou": {names[3]: 0.625}},
    }
    write_report(toy.network(), tmp_path / "report.html", metrics, [])
    page = open_page(tmp_path / "report.html", 400)
    assert page.locator(".iou thead th").all_inner_texts()[:3] == ["Class", "IoU", "Black box"]
    assert page.locator(".iou tbody tr").last.locator("td").all_inner_texts()[:2] == ["45.0 %", "62.5 %"]
    assert page.locator(".black-box strong").inner_text() == "It keeps 90.0 % of the black box's mean IoU."
    assert f"(phase {names[0]})" in page.locator(".black-box").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
