"""Tests of the picture of the import graph: complete, the same each time, and no arrow through a box."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from tools.import_graph import circle, inner_packages, module_imports, room_imports
from tools.import_picture import BOX_HEIGHT, against_the_order, picture, reduced

SVG = "{http://www.w3.org/2000/svg}"
SMALL = {
    "penstock.cli": {"engine.core", "schemas.values", "penstock.client"},
    "penstock.client": {"topics.log"},
    "engine.core": {"schemas.values"},
    "workers.worker": {"topics.log"},
    "topics.log": {"schemas.errors"},
    "schemas.values": {"schemas.errors"},
    "schemas.errors": set(),
}


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of every box."""
    found = [element for element in ET.fromstring(svg).iter(f"{SVG}rect") if element.get("class") == "box"]
    sides = [[float(element.get(name, "")) for name in ("x", "y", "width", "height")] for element in found]
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


def points(path: str) -> list[tuple[float, float]]:
    """Points along a path of the commands M, C and V, close enough together to meet any box in between."""
    found: list[tuple[float, float]] = []
    for command, text in re.findall(r"([MCV])([^MCV]*)", path):
        numbers = [float(number) for number in text.split()]
        if command == "M":
            found.append((numbers[0], numbers[1]))
        elif command == "V":
            x, y = found[-1]
            found += [(x, y + (numbers[0] - y) * step / 16) for step in range(1, 17)]
        else:
            start, one, other, end = found[-1], numbers[:2], numbers[2:4], numbers[4:]
            for step in range(1, 33):
                t = step / 32
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                ends = (start, one, other, end)
                found.append(tuple(sum(w * p[axis] for w, p in zip(weights, ends, strict=True)) for axis in (0, 1)))  # type: ignore
    return found


def arrows(svg: str) -> list[str]:
    ways = [element for element in ET.fromstring(svg).iter(f"{SVG}path") if "way" in element.get("class", "").split()]
    return [element.get("d", "") for element in ways]


@pytest.fixture(scope="module", params=["small", "real"])
def svg(request) -> str:
    """A picture of a few rooms, and that of the package without the imports against the order."""
    if request.param == "small":
        return picture(SMALL, {})
    modules = module_imports()
    rooms = {room: set(found) for room, found in room_imports(modules).items()}
    for importer, imported in against_the_order(rooms):
        rooms[importer].remove(imported)
    return picture(rooms, inner_packages(modules))


def test_no_arrow_passes_through_a_box(svg):
    """Between its ends, no arrow comes inside a box."""
    drawn = boxes(svg)
    for arrow in arrows(svg):
        for x, y in points(arrow)[1:]:
            inside = [box for box in drawn if box[0] < x < box[2] and box[1] + 0.1 < y < box[3] - 0.1]
            assert not inside, arrow


def test_every_arrow_points_down(svg):
    """An arrow ends below its beginning, by at least a box."""
    for arrow in arrows(svg):
        way = points(arrow)
        assert way[-1][1] > way[0][1]
        assert all(later[1] >= earlier[1] for earlier, later in itertools.pairwise(way))


def test_boxes_do_not_overlap(svg):
    """No two boxes share a point, and all lie inside the picture."""
    found = boxes(svg)
    width = float(ET.fromstring(svg).get("width", ""))
    assert all(left > 0 and right < width for left, _, right, _ in found)
    for one, other in itertools.combinations(found, 2):
        assert one[2] < other[0] or other[2] < one[0] or abs(one[1] - other[1]) >= BOX_HEIGHT


def test_every_room_is_drawn():
    """Each room has a box, with the packages inside it in brackets."""
    svg = picture(SMALL, {"engine.core": ["machines"]})
    texts = [element.text for element in ET.fromstring(svg).iter(f"{SVG}text") if element.get("class") == "room"]
    assert sorted(texts, key=str) == sorted(["cli", "client", "core (machines)", "worker", "log", "values", "errors"])


def test_arrows_that_follow_from_others_are_left_out():
    """What is reached by way of another room gets no arrow of its own."""
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]


def test_the_order_of_the_imports_does_not_matter():
    """The same imports, listed otherwise, give the same bytes."""
    backwards = {room: set(SMALL[room]) for room in sorted(SMALL, reverse=True)}
    assert picture(backwards, {}) == picture(SMALL, {})


def test_an_import_against_the_order_is_drawn_as_such():
    """Of a circle, the import from the lower folder is the one drawn in red."""
    rooms = {**SMALL, "schemas.values": {"schemas.errors", "engine.core"}}
    assert circle(rooms)
    assert against_the_order(rooms) == [("schemas.values", "engine.core")]
    assert 'class="way against"' in picture(rooms, {})
    assert 'class="way against"' not in picture(SMALL, {})
