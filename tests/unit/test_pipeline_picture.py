"""The picture shows the pipeline, whatever the pipeline is; nothing in it lies over something else."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree as ET

import pytest

from tests.pipeline.picture import document as picture
from tests.pipeline.picture.flow import Flow, Shape, Way, flows
from tests.pipeline.picture.layout import layout
from tests.pipeline.template import FLEET, PIPELINE, Node, load

SVG = "{http://www.w3.org/2000/svg}"
#: Left, top, right, bottom.
Area: TypeAlias = tuple[float, float, float, float]


def grown() -> Node:
    """The pipeline with more in it: a job behind the last one, one beside the first, and a resource for both."""
    pipeline = load(PIPELINE)
    pipeline["resources"].append({"name": "paper", "type": "s3", "source": {}})
    pipeline["jobs"] += [
        {"name": "audit", "plan": [
            {"get": "image", "passed": ["backup"], "trigger": True}, {"get": "config", "passed": ["ping"]},
            {"get": "restore", "resource": "backup"}, {"put": "paper"},
        ]},
        {"name": "a-job-with-a-very-long-name", "plan": [{"get": "paper"}, {"get": "pingtime", "trigger": True}]},
    ]  # fmt: skip
    pipeline["groups"][0]["jobs"] += ["audit", "a-job-with-a-very-long-name"]
    return pipeline


PIPELINES = {"ours": load(PIPELINE), "grown": grown(), "without groups": load(PIPELINE), "fleet": load(FLEET)}
del PIPELINES["without groups"]["groups"]
every_pipeline = pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)


def drawn(pipeline: Node) -> ET.Element:
    return ET.fromstring(picture.drawn(pipeline))


def areas(svg: ET.Element, kind: str) -> list[Area]:
    """Where the rectangles of a class are; the signs of the legend are smaller than any box."""
    found = []
    for rect in svg.iter(f"{SVG}rect"):
        left, top, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        if kind in rect.attrib["class"].split() and width > 40:
            found.append((left, top, left + width, top + height))
    return found


def texts(svg: ET.Element, *kinds: str) -> list[tuple[str, Area]]:
    """The words of some classes, and where they are by a rough measure."""
    found = []
    for text in svg.iter(f"{SVG}text"):
        if text.attrib["class"] in kinds:
            words, left, line = text.text or "", float(text.attrib["x"]), float(text.attrib["y"])
            found.append((words, (left, line - 9, left + 6 * len(words), line + 2)))
    return found


def points(path: str) -> list[tuple[float, float]]:
    """Where a line comes by: M, H and C as the picture uses them, curves in many small steps."""
    found: list[tuple[float, float]] = []
    x = y = 0.0
    for letter, numbers in re.findall(r"([MHC])([-\d. ]+)", path):
        values = [float(number) for number in numbers.split()]
        if letter == "M":
            x, y = values
        elif letter == "H":
            found += [(x + (values[0] - x) * step / 100, y) for step in range(101)]
            x = values[0]
        else:
            found += [bezier([x, *values[0::2]], [y, *values[1::2]], step / 50) for step in range(51)]
            x, y = values[-2:]
    return found


def bezier(xs: list[float], ys: list[float], t: float) -> tuple[float, float]:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return sum(w * x for w, x in zip(weights, xs, strict=True)), sum(w * y for w, y in zip(weights, ys, strict=True))


def inside(point: tuple[float, float], area: Area) -> bool:
    return area[0] + 1 < point[0] < area[2] - 1 and area[1] < point[1] < area[3]


def overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def lines(flow: Flow) -> set[tuple[str, str, Way, str]]:
    return {
        (flow.boxes[line.source].name, flow.boxes[target].name, line.way, line.label)
        for line in flow.lines
        for target in line.targets
    }


def test_the_picture_is_that_of_the_pipeline() -> None:
    assert picture.problems(PIPELINE, picture.PICTURE) == []


def test_an_old_or_missing_picture_is_told_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.svg"
    assert picture.problems(PIPELINE, path) == ["pipeline.svg is out of date"]
    picture.renew(PIPELINE, path)
    assert picture.problems(PIPELINE, path) == []


def test_what_flows_through_the_pipeline() -> None:
    life, rare = flows(load(PIPELINE))
    assert {box.name: box.layer for box in life.boxes if box.shape is Shape.JOB} == {
        "ping": 1, "install": 2, "verify": 2, "backup": 3,
    }  # fmt: skip
    assert {line for line in lines(life) if line[3]} == {
        ("ping", "install", Way.TRIGGER, "config"),
        ("ping", "install", Way.FETCH, "image"),
        ("ping", "verify", Way.FETCH, "image"),
        ("install", "backup", Way.FETCH, "config, image"),
    }
    assert {line for line in lines(life) if line[2] in {Way.PUT, Way.HOOK}} == {
        ("backup", "backup", Way.PUT, ""), ("backup", "rescue", Way.HOOK, ""),
    }  # fmt: skip
    assert ("ping", "uninstall", Way.FETCH, "config, image") in lines(rare)
    assert {box.name for box in rare.boxes if box.shape is Shape.ELSEWHERE} == {"ping"}
    serial = {box.name for flow in (life, rare) for box in flow.boxes if box.serial_groups == ("cluster",)}
    assert serial == {"install", "backup", "init", "reinit", "uninstall"}


def test_what_is_added_to_a_pipeline_is_drawn() -> None:
    svg = drawn(grown())
    names = {words for words, _ in texts(svg, "job-name", "name")}
    assert {"audit", "a-job-with-a-very-long-name", "paper"} <= names
    life = flows(grown())[0]
    assert next(box.layer for box in life.boxes if box.name == "audit") == 4
    assert {("backup", "audit", Way.TRIGGER, "image"), ("audit", "paper", Way.PUT, "")} <= lines(life)


@every_pipeline
def test_every_job_and_every_resource_of_a_plan_has_a_box(pipeline: Node) -> None:
    svg = drawn(pipeline)
    jobs = {words for words, _ in texts(svg, "job-name")}
    assert jobs == {job["name"] for job in pipeline["jobs"]}
    resources = {words for words, _ in texts(svg, "name")}
    assert resources == {resource["name"] for resource in pipeline["resources"]} - {"email"}


@every_pipeline
def test_no_box_overlaps_another_and_all_have_room(pipeline: Node) -> None:
    svg = drawn(pipeline)
    frames, boxes = areas(svg, "frame"), areas(svg, "box")
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    assert not [pair for pair in combinations(frames, 2) if overlap(*pair)]
    for left, top, right, bottom in boxes:
        assert any(f[0] < left and f[1] + 30 < top and right < f[2] and bottom < f[3] for f in frames)
    for name, area in texts(svg, "name", "job-name"):
        assert any(box[0] < area[0] and area[2] < box[2] for box in boxes if overlap(area, box)), name


@every_pipeline
def test_no_line_runs_over_a_box_or_words(pipeline: Node) -> None:
    svg = drawn(pipeline)
    taken = areas(svg, "box") + [area for _, area in texts(svg, "label", "head", "words")]
    found = [path for path in svg.iter(f"{SVG}path") if path.attrib["class"].startswith("line ")]
    assert found
    for path in found:
        for point in points(path.attrib["d"]):
            assert not [area for area in taken if inside(point, area)], path.attrib["d"]


@every_pipeline
def test_columns_keep_their_order_and_their_distance(pipeline: Node) -> None:
    for flow in flows(pipeline):
        placed = layout(flow)
        for column in placed.columns:
            for upper, lower in pairwise(column):
                room = placed.middles[lower] - placed.middles[upper]
                assert room - (placed.sizes[lower] + placed.sizes[upper]) / 2 >= 12


def test_the_picture_tells_itself_in_words() -> None:
    svg = drawn(load(PIPELINE))
    named = {element.attrib["id"]: element.text or "" for element in svg if "id" in element.attrib}
    assert svg.attrib["aria-labelledby"].split() == list(named) == ["title", "desc"]
    assert "pingtime starts ping" in named["desc"]
    assert "image from ping is read by install and verify" in named["desc"]


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    text = picture.PICTURE.read_text("utf-8")
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(script|image|foreignObject)|@import|url\(|var\(", text)
    assert "@media (prefers-color-scheme: dark)" in text
