"""Picture of the import graph as SVG: rooms as boxes in rows, importers above what they import.

The method is Sugiyama's: rows by the longest path, a bend in every row that an arrow passes (so that no arrow crosses
a box), rows ordered by the means of their neighbours, positions by isotonic regression. Nothing is left to chance, so
the same imports give the same bytes.

Only the arrows of the transitive reduction are drawn: where `a` imports `b`, and `b` imports `c`, an import of `c` by
`a` adds no order. Arrows from other folders to `schemas.errors`, which nearly every room imports, are left out too. An
import against the order, which is part of a circle, is drawn red and dashed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from tools.import_graph import FACE, FOLDERS, Imports, circle, folder_of

BANDS = (("penstock",), ("engine", "workers"), ("topics",), ("schemas",))
COMMON = "schemas.errors"
BOX_HEIGHT = 32
ROW_PITCH = 78
BAND_GAP = 26
MARGIN = 18
TITLE_WIDTH = 84
PANEL_TOP = 16
LETTER_WIDTH = 7.6
GAP = 20.0
BEND_WIDTH = 2.0
WIDTH_MIN = 960.0
ARROW = 7
SWEEPS = 48
FIXED = 1e9


class Bend(NamedTuple):
    """Where an arrow passes a row; or, with `WALL` as importer, where a panel begins or ends."""

    importer: str
    imported: str
    row: int


WALL = "|"
Node = str | Bend
"""A room, a bend or a wall."""
Edge = tuple[str, str]


class Layout(NamedTuple):
    """Where everything lies: rows from the top, x of each node, y of each row's upper edge, the way of each arrow."""

    rows: list[list[Node]]
    x: dict[Node, float]
    y: list[float]
    ways: dict[Edge, list[Node]]
    width: float
    split: float


def picture(rooms: Imports, inner: Mapping[str, Sequence[str]]) -> str:
    """The import graph of the rooms as an SVG document; `inner` names the packages inside a room."""
    against = against_the_order(rooms)
    acyclic = {room: {name for name in rooms[room] if (room, name) not in against} for room in sorted(rooms)}
    labels = {room: _label(room, inner) for room in acyclic}
    return "\n".join(_drawn(_laid_out(acyclic, labels), labels, against)) + "\n"


def against_the_order(rooms: Imports) -> list[Edge]:
    """Imports without which there would be no circle; of each circle the one that sorts first."""
    left = {room: set(rooms[room]) for room in sorted(rooms)}
    found = []
    while way := circle(left):
        importer, imported = min(itertools.pairwise(way), key=lambda edge: (_height(*edge), edge))
        left[importer].remove(imported)
        found.append((importer, imported))
    return sorted(found)


def _height(importer: str, imported: str) -> int:
    """An import from a low folder to a high one is the likelier mistake."""
    return FOLDERS.index(folder_of(imported)) - FOLDERS.index(folder_of(importer))


def _label(room: str, inner: Mapping[str, Sequence[str]]) -> str:
    short = room.rpartition(".")[2] if room != FACE else "penstock/__init__"
    return f"{short} ({', '.join(inner[room])})" if room in inner else short


def reduced(imports: Imports) -> list[Edge]:
    """The transitive reduction of an acyclic graph: without the imports that follow from others."""
    below: dict[str, set[str]] = {}

    def reached(room: str) -> set[str]:
        if room not in below:
            below[room] = set().union(*({name} | reached(name) for name in imports[room]))
        return below[room]

    return [
        (importer, imported)
        for importer in sorted(imports)
        for imported in sorted(imports[importer])
        if not any(imported in reached(other) for other in imports[importer] - {imported})
    ]


# --- rows and ways -----------------------------------------------------------------------------------------------


def _laid_out(imports: Imports, labels: Mapping[str, str]) -> Layout:
    row_of, bands = _rows(imports)
    ways = {edge: _way(edge, row_of) for edge in reduced(imports) if _is_drawn(edge)}
    rows: list[list[Node]] = [[] for _ in bands]
    for room in sorted(row_of):
        rows[row_of[room]].append(room)
    for way in ways.values():
        for bend in way[1:-1]:
            assert isinstance(bend, Bend)
            rows[bend.row].append(bend)
    width, split = _widths(rows, bands, labels)
    ordering = _Ordering(rows, bands, ways, labels, width, split)
    ordering.run()
    y = [MARGIN + PANEL_TOP + row * ROW_PITCH + bands[row] * BAND_GAP for row in range(len(rows))]
    return Layout(ordering.rows, ordering.x, [float(each) for each in y], ways, width, split)


def _rows(imports: Imports) -> tuple[dict[str, int], list[int]]:
    """Row of each room, and the band of each row, counted from the top."""
    heights: dict[str, int] = {}

    def height(room: str) -> int:
        """Rows below the room inside its own folder."""
        if room not in heights:
            own = [name for name in imports[room] if folder_of(name) == folder_of(room)]
            heights[room] = 1 + max(map(height, own), default=-1)
        return heights[room]

    row_of: dict[str, int] = {}
    bands: list[int] = []
    for number, folders in enumerate(BANDS):
        inside = [room for room in imports if folder_of(room) in folders]
        rows = 1 + max(map(height, inside), default=-1)
        row_of |= {room: len(bands) + rows - 1 - height(room) for room in inside}
        bands += [number] * rows
    return row_of, bands


def _is_drawn(edge: Edge) -> bool:
    importer, imported = edge
    return imported != COMMON or folder_of(importer) == folder_of(COMMON)


def _way(edge: Edge, row_of: Mapping[str, int]) -> list[Node]:
    importer, imported = edge
    between = range(row_of[importer] + 1, row_of[imported])
    return [importer, *(Bend(importer, imported, row) for row in between), imported]


def _is_room(node: Node) -> bool:
    return isinstance(node, str)


def _breadth(node: Node, labels: Mapping[str, str]) -> float:
    if isinstance(node, str):
        return max(84.0, len(labels[node]) * LETTER_WIDTH + 26)
    return BEND_WIDTH if node.importer != WALL else 2.0 * TITLE_WIDTH


def _widths(rows: list[list[Node]], bands: list[int], labels: Mapping[str, str]) -> tuple[float, float]:
    """Width of the picture, and where the folders of the divided band meet."""
    divided = max(range(len(BANDS)), key=lambda band: len(BANDS[band]))
    left = BANDS[divided][0]
    whole, first, second = WIDTH_MIN, 0.0, 0.0
    for row, nodes in enumerate(rows):
        need = {node: _breadth(node, labels) + GAP for node in nodes}
        if bands[row] == divided:
            bends = sum(need[node] for node in nodes if not _is_room(node)) / 2
            mine = sum(need[node] for node in nodes if isinstance(node, str) and folder_of(node) == left)
            first = max(first, mine + bends)
            second = max(second, sum(need.values()) - mine - bends)
        whole = max(whole, sum(need.values()) + 3 * TITLE_WIDTH)
    whole = max(whole, first + second + 4 * TITLE_WIDTH)
    return whole, round(whole * first / (first + second)) if first + second else whole / 2


# --- order within the rows ---------------------------------------------------------------------------------------


class _Ordering:
    """Rows in the order with the fewest crossings that the sweeps have met."""

    def __init__(
        self,
        rows: list[list[Node]],
        bands: list[int],
        ways: Mapping[Edge, list[Node]],
        labels: Mapping[str, str],
        width: float,
        split: float,
    ) -> None:
        self.rows = rows
        self.x: dict[Node, float] = {}
        self._bands = bands
        self._labels = labels
        self._walls = {row: self._walls_of(row, width, split) for row in range(len(rows))}
        self._up: dict[Node, list[Node]] = {}
        self._down: dict[Node, list[Node]] = {}
        for way in ways.values():
            for upper, lower in itertools.pairwise(way):
                self._down.setdefault(upper, []).append(lower)
                self._up.setdefault(lower, []).append(upper)
        self._split = split

    def run(self) -> None:
        """Order and place all rows."""
        for row, nodes in enumerate(self.rows):
            nodes.sort(key=lambda node: (self._side(node, row), str(node)))
            self._place(row, {})
        best = (self._crossings(), [list(nodes) for nodes in self.rows])
        for sweep in range(SWEEPS):
            downwards = sweep % 2 == 0
            for row in range(len(self.rows)) if downwards else reversed(range(len(self.rows))):
                self._sort(row, self._up if downwards else self._down)
            self._swap()
            found = self._crossings()
            if found < best[0]:
                best = (found, [list(nodes) for nodes in self.rows])
        self.rows[:] = best[1]
        for _ in range(SWEEPS):
            for row in (*range(len(self.rows)), *reversed(range(len(self.rows)))):
                self._place(row, {node: self._wish(node) for node in self.rows[row]})

    def _walls_of(self, row: int, width: float, split: float) -> list[tuple[Node, float]]:
        places = [0.0, split, width] if len(BANDS[self._bands[row]]) > 1 else [0.0, width]
        return [(Bend(WALL, str(number), row), place) for number, place in enumerate(places)]

    def _side(self, node: Node, row: int) -> int:
        """0 left of the wall, 1 right of it; all 0 where there is no wall."""
        folders = BANDS[self._bands[row]]
        if len(folders) == 1:
            return 0
        if isinstance(node, str):
            return folders.index(folder_of(node))
        if folder_of(node.importer) in folders:
            return folders.index(folder_of(node.importer))
        return int(self.x.get(node, 0.0) > self._split)

    def _sort(self, row: int, neighbours: Mapping[Node, list[Node]]) -> None:
        wish = {node: self._mean(neighbours.get(node, []), self.x[node]) for node in self.rows[row]}
        self.x |= {node: wish[node] for node in self.rows[row] if not _is_room(node)}
        self.rows[row].sort(key=lambda node: (self._side(node, row), wish[node], str(node)))
        self._place(row, wish)

    def _mean(self, nodes: Sequence[Node], otherwise: float) -> float:
        return sum(self.x[node] for node in nodes) / len(nodes) if nodes else otherwise

    def _wish(self, node: Node) -> float:
        """The mean of the neighbours; arrows shall be straight where they pass, so bends pull more."""
        pulls = [
            (16.0 if not _is_room(node) and not _is_room(other) else 1.0, self.x[other])
            for other in (*self._up.get(node, ()), *self._down.get(node, ()))
        ]
        total = sum(weight for weight, _ in pulls)
        return sum(weight * place for weight, place in pulls) / total if pulls else self.x[node]

    def _place(self, row: int, wish: Mapping[Node, float]) -> None:
        """Put the row's nodes as near to their wishes as their order and their breadths allow."""
        walls = self._walls[row]
        items: list[tuple[Node, float, float]] = [(walls[0][0], walls[0][1], FIXED)]
        for side in range(len(walls) - 1):
            inside = [node for node in self.rows[row] if self._side(node, row) == side]
            step = (walls[side + 1][1] - walls[side][1]) / (len(inside) + 1)
            for number, node in enumerate(inside, 1):
                items.append((node, wish.get(node, walls[side][1] + step * number), 1.0))
            items.append((*walls[side + 1], FIXED))
        self.x |= dict(zip((item[0] for item in items), self._regressed(items), strict=True))

    def _regressed(self, items: Sequence[tuple[Node, float, float]]) -> list[float]:
        """Isotonic regression by pooling adjacent violators, with the least distances taken out beforehand."""
        breadths = [_breadth(item[0], self._labels) / 2 for item in items]
        steps = [one + other + GAP for one, other in itertools.pairwise(breadths)]
        offsets = [0.0, *itertools.accumulate(steps)]
        pools: list[tuple[float, float, int]] = []
        for (_, wish, weight), offset in zip(items, offsets, strict=True):
            mean, heavy, count = wish - offset, weight, 1
            while pools and pools[-1][0] >= mean:
                before, more, others = pools.pop()
                mean = (mean * heavy + before * more) / (heavy + more)
                heavy, count = heavy + more, count + others
            pools.append((mean, heavy, count))
        means = [mean for mean, _, count in pools for _ in range(count)]
        return [mean + offset for mean, offset in zip(means, offsets, strict=True)]

    def _swap(self) -> None:
        """Exchange neighbours in a row wherever that takes crossings away."""
        for row, nodes in enumerate(self.rows):
            for place in range(len(nodes) - 1):
                one, other = nodes[place], nodes[place + 1]
                if self._side(one, row) == self._side(other, row) and self._gain(one, other) > 0:
                    nodes[place : place + 2] = [other, one]
                    self.x[one], self.x[other] = self.x[other], self.x[one]
            self._place(row, {node: self.x[node] for node in nodes})

    def _gain(self, left: Node, right: Node) -> int:
        gain = 0
        for neighbours in (self._up, self._down):
            for one, other in itertools.product(neighbours.get(left, ()), neighbours.get(right, ())):
                gain += (self.x[one] > self.x[other]) - (self.x[one] < self.x[other])
        return gain

    def _crossings(self) -> int:
        found = 0
        for nodes in self.rows:
            pairs = [(self.x[node], self.x[other]) for node in nodes for other in self._down.get(node, ())]
            found += sum(
                (one[0] - other[0]) * (one[1] - other[1]) < 0 for one, other in itertools.combinations(pairs, 2)
            )
        return found


# --- drawing -----------------------------------------------------------------------------------------------------

STYLE = """\
text { font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff }
.panel { fill: #f6f8fa; stroke: #d1d9e0 }
.title { font-weight: 600; fill: #59636e }
.box { fill: #ffffff; stroke: #818b98 }
.room { text-anchor: middle }
.way { fill: none; stroke-width: 1.4 }
.penstock { stroke: #8250df } .penstock-head { fill: #8250df }
.engine { stroke: #0969da } .engine-head { fill: #0969da }
.workers { stroke: #1a7f37 } .workers-head { fill: #1a7f37 }
.topics { stroke: #bc4c00 } .topics-head { fill: #bc4c00 }
.schemas { stroke: #59636e } .schemas-head { fill: #59636e }
.against { stroke: #d1242f; stroke-dasharray: 5 4 } .against-head { fill: #d1242f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.ground { fill: #0d1117 }
.panel { fill: #151b23; stroke: #3d444d }
.title { fill: #9198a1 }
.box { fill: #0d1117; stroke: #656c76 }
.penstock { stroke: #ab7df8 } .penstock-head { fill: #ab7df8 }
.engine { stroke: #4493f8 } .engine-head { fill: #4493f8 }
.workers { stroke: #3fb950 } .workers-head { fill: #3fb950 }
.topics { stroke: #f0883e } .topics-head { fill: #f0883e }
.schemas { stroke: #9198a1 } .schemas-head { fill: #9198a1 }
.against { stroke: #f85149 } .against-head { fill: #f85149 }
}"""


def _drawn(layout: Layout, labels: Mapping[str, str], against: Sequence[Edge]) -> Iterator[str]:
    height = layout.y[-1] + BOX_HEIGHT + PANEL_TOP + MARGIN
    size = f'width="{layout.width:.0f}" height="{height:.0f}" viewBox="0 0 {layout.width:.0f} {height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield "<title>Imports between the rooms of Penstock</title>"
    yield f"<style>\n{STYLE}\n</style>"
    yield f'<rect class="ground" width="{layout.width:.0f}" height="{height:.0f}"/>'
    row_of = {node: row for row, nodes in enumerate(layout.rows) for node in nodes if isinstance(node, str)}
    yield from _panels(layout, row_of)
    ports = _ports(layout, labels)
    for edge in layout.ways:
        points = [(x, layout.y[row_of[edge[0]] + step]) for step, x in enumerate(ports[edge])]
        yield from _arrow(points, folder_of(edge[0]), f"{edge[0]} imports {edge[1]}")
    for importer, imported in against:
        ends = [(layout.x[room], layout.y[row_of[room]]) for room in (importer, imported)]
        yield from _arrow_against(ends, f"{importer} imports {imported}, against the order")
    for room, row in sorted(row_of.items()):
        breadth = _breadth(room, labels)
        left, top = layout.x[room] - breadth / 2, layout.y[row]
        yield f'<rect class="box" x="{left:.1f}" y="{top:.1f}" width="{breadth:.1f}" height="{BOX_HEIGHT}" rx="6"/>'
        yield f'<text class="room" x="{layout.x[room]:.1f}" y="{top + 21:.1f}">{escape(labels[room])}</text>'
    yield "</svg>"


def _panels(layout: Layout, row_of: Mapping[str, int]) -> Iterator[str]:
    for folders in BANDS:
        rows = [row for room, row in row_of.items() if folder_of(room) in folders]
        if not rows:
            continue
        top = layout.y[min(rows)] - PANEL_TOP
        bottom = layout.y[max(rows)] + BOX_HEIGHT + PANEL_TOP
        edges = [MARGIN / 2, layout.split, layout.width - MARGIN / 2] if len(folders) > 1 else None
        edges = edges or [MARGIN / 2, layout.width - MARGIN / 2]
        for folder, (left, right) in zip(folders, itertools.pairwise(edges), strict=True):
            inset = 4 if len(folders) > 1 else 0
            start, end = left + inset * (folder != folders[0]), right - inset * (folder != folders[-1])
            yield (
                f'<rect class="panel" x="{start:.1f}" y="{top:.1f}" width="{end - start:.1f}" '
                f'height="{bottom - top:.1f}" rx="10"/>'
            )
            yield f'<text class="title" x="{start + 12:.1f}" y="{top + PANEL_TOP + 21:.1f}">{folder}</text>'


def _ports(layout: Layout, labels: Mapping[str, str]) -> dict[Edge, list[float]]:
    """x at each row of each arrow; arrows at one side of a box are spread in the order of their other ends."""
    ports = {edge: [layout.x[node] for node in way] for edge, way in layout.ways.items()}
    for end, inward in ((0, 1), (-1, -2)):
        at: dict[str, list[Edge]] = {}
        for edge, way in layout.ways.items():
            at.setdefault(str(way[end]), []).append(edge)
        for room, edges in at.items():
            edges.sort(key=lambda edge: (layout.x[layout.ways[edge][inward]], edge))
            step = min(18.0, (_breadth(room, labels) - 20) / len(edges))
            for number, edge in enumerate(edges):
                ports[edge][end] = layout.x[room] + step * (number - (len(edges) - 1) / 2)
    return ports


def _arrow(points: Sequence[tuple[float, float]], kind: str, title: str) -> Iterator[str]:
    path = f"M{points[0][0]:.1f} {points[0][1] + BOX_HEIGHT:.1f}"
    for number, ((x, y), (next_x, next_y)) in enumerate(itertools.pairwise(points), 1):
        last = number == len(points) - 1
        start, end = y + BOX_HEIGHT, next_y - (ARROW if last else 0)
        half = (end - start) / 2
        path += f"C{x:.1f} {start + half:.1f} {next_x:.1f} {end - half:.1f} {next_x:.1f} {end:.1f}"
        path += "" if last else f"V{next_y + BOX_HEIGHT:.1f}"
    x, y = points[-1]
    yield f'<path class="way {kind}" d="{path}"><title>{escape(title)}</title></path>'
    yield f'<path class="{kind}-head" d="M{x:.1f} {y:.1f}l-4 -{ARROW + 1}h8z"/>'


def _arrow_against(ends: Sequence[tuple[float, float]], title: str) -> Iterator[str]:
    """An arrow upwards, from the top of one box to the bottom of another."""
    (x, y), (next_x, next_y) = ends
    end = next_y + BOX_HEIGHT + ARROW
    path = (
        f"M{x - 12:.1f} {y:.1f}C{x - 12:.1f} {y - 40:.1f} {next_x + 12:.1f} {end + 40:.1f} {next_x + 12:.1f} {end:.1f}"
    )
    yield f'<path class="way against" d="{path}"><title>{escape(title)}</title></path>'
    yield f'<path class="against-head" d="M{next_x:.1f} {end - ARROW:.1f}l-4 {ARROW + 1}h8z"/>'
