"""The assigners as slow loops over plain numbers, a line for each part of a rule: to compare with.

Each takes one image's lists and gives, for each prediction, the number of its box or None. Written from the
rules of the upstreams, and apart from what they are compared with.
"""

import math
from collections.abc import Sequence

Box = Sequence[float]
Matches = list[int | None]


def area(a: Box) -> float:
    """Width times height."""
    return (a[2] - a[0]) * (a[3] - a[1])


def iou(a: Box, b: Box, eps: float = 0.0) -> float:
    """Intersection over union, which `eps` is added to."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return width * height / (area(a) + area(b) - width * height + eps)


def middle(a: Box) -> tuple[float, float]:
    """The centre."""
    return (a[0] + a[2]) / 2, (a[1] + a[3]) / 2


def depth(point: Box, a: Box) -> float:
    """Distance to the nearest side; negative outside."""
    return min(point[0] - a[0], point[1] - a[1], a[2] - point[0], a[3] - point[1])


def square(point: Box, half: float) -> Box:
    """A square about a point."""
    return (point[0] - half, point[1] - half, point[0] + half, point[1] + half)


def atss(anchors: list[Box], strides: list[float], truth: list[Box], flavor: str, topk: int) -> Matches:
    """Zhang et al. 2020, as mmdet and PaddleDetection have it."""
    eps = 1e-10 if flavor == "ppdet" else 0.0
    claims: list[set[int]] = [set() for _ in anchors]
    for number, box in enumerate(truth):
        cx, cy = middle(box)
        chosen: list[int] = []
        for stride in dict.fromkeys(strides):
            level = [n for n in range(len(anchors)) if strides[n] == stride]
            level.sort(key=lambda n: (middle(anchors[n])[0] - cx) ** 2 + (middle(anchors[n])[1] - cy) ** 2)
            chosen += level[:topk]
        overlaps = [iou(anchors[n], box, eps) for n in chosen]
        if len(chosen) < 2:
            continue
        mean = math.fsum(overlaps) / len(chosen)
        threshold = mean + math.sqrt(math.fsum((u - mean) ** 2 for u in overlaps) / (len(chosen) - 1))
        for n, overlap in zip(chosen, overlaps, strict=True):
            inside = depth(middle(anchors[n]), box) > (0.01 if flavor == "mmdet" else 1e-9)
            enough = overlap >= threshold if flavor == "mmdet" else overlap > threshold
            if inside and enough:
                claims[n].add(number)
    return [
        _winner(claim, [iou(anchors[n], b, eps) for b in truth], flavor == "ppdet")
        for n, claim in enumerate(claims)
    ]


def _winner(claim: set[int], value: list[float], anyone: bool) -> int | None:
    """The one claimant, or the largest value among several (or, contested, among all boxes)."""
    if len(claim) < 2:
        return next(iter(claim), None)
    entitled = range(len(value)) if anyone else sorted(claim)
    return max(entitled, key=lambda g: (value[g], -g))


def center_sampling(
    points: list[Box], strides: list[float], truth: list[Box], flavor: str, radius: float | None
) -> Matches:
    """Tian et al. 2019, as torchvision and mmdet have it, with ranges of 4 to 8 strides."""
    levels = list(dict.fromkeys(strides))
    matches: Matches = []
    for point, stride in zip(points, strides, strict=True):
        low = 0.0 if stride == levels[0] else 4 * stride
        high = math.inf if stride == levels[-1] else 8 * stride
        suitable = []
        for number, box in enumerate(truth):
            longest = max(point[0] - box[0], point[1] - box[1], box[2] - point[0], box[3] - point[1])
            near = radius is None or depth(point, square(middle(box), radius * stride)) > 0
            fits = low < longest < high if flavor == "torchvision" else low <= longest <= high
            if depth(point, box) > 0 and near and fits:
                suitable.append((area(box), number))
        matches.append(min(suitable)[1] if suitable else None)
    return matches


def dynamic_k(
    candidate: list[bool], overlap: list[list[float]], cost: list[list[float]], topk: int
) -> Matches:
    """The k cheapest of each box, a contested one to the cheapest box; lists by box, then by prediction."""
    chosen = [n for n, one in enumerate(candidate) if one]
    claims: list[set[int]] = [set() for _ in candidate]
    if not chosen:
        return [None for _ in candidate]
    for number, costs in enumerate(cost):
        best = sorted((overlap[number][n] for n in chosen), reverse=True)[:topk]
        k = max(int(math.fsum(best)), 1)
        for n in sorted(chosen, key=lambda n: costs[n])[:k]:
            claims[n].add(number)
    return [_winner(claim, [-costs[n] for costs in cost], anyone=True) for n, claim in enumerate(claims)]


def entropy(p: float, target: float) -> float:
    """Binary cross-entropy of a probability, logarithms at least -100."""
    present = max(math.log(p), -100) if p > 0 else -100
    absent = max(math.log(1 - p), -100) if p < 1 else -100
    return -(target * present + (1 - target) * absent)


def simota(
    boxes: list[Box],
    points: list[Box],
    strides: list[float],
    probabilities: list[list[float]],
    truth: list[Box],
    labels: list[int],
    flavor: str,
) -> Matches:
    """Ge et al. 2021, as YOLOX and mmdet have it; `probabilities` hold the objectness already."""
    radius, penalty, eps = (1.5, 1e6, 1e-8) if flavor == "yolox" else (2.5, 1e5, 1e-7)
    candidate = [False] * len(boxes)
    overlap: list[list[float]] = []
    cost: list[list[float]] = []
    for box, label in zip(truth, labels, strict=True):
        overlap.append([iou(predicted, box) for predicted in boxes])
        cost.append([])
        for n, point in enumerate(points):
            near = depth(point, square(middle(box), radius * strides[n])) > 0
            inside = depth(point, box) > 0
            candidate[n] |= near if flavor == "yolox" else near or inside
            fits = near if flavor == "yolox" else near and inside
            classes = sum(entropy(p, float(c == label)) for c, p in enumerate(probabilities[n]))
            cost[-1].append(classes - 3 * math.log(overlap[-1][n] + eps) + penalty * (not fits))
    return dynamic_k(candidate, overlap, cost, 10)


def dynamic_soft_label(
    boxes: list[Box],
    points: list[Box],
    strides: list[float],
    logits: list[list[float]],
    truth: list[Box],
    labels: list[int],
) -> Matches:
    """Lyu et al. 2022, as mmdet has it."""
    candidate = [any(depth(point, box) > 0 for box in truth) for point in points]
    overlap: list[list[float]] = []
    cost: list[list[float]] = []
    for box, label in zip(truth, labels, strict=True):
        overlap.append([iou(predicted, box) for predicted in boxes])
        cost.append([])
        for n, point in enumerate(points):
            classes = 0.0
            for number, x in enumerate(logits[n]):
                p, y = 1 / (1 + math.exp(-x)), overlap[-1][n] * (number == label)
                classes += entropy(p, y) * (y - p) ** 2
            distance = math.dist(point, middle(box)) / strides[n]
            cost[-1].append(classes - 3 * math.log(overlap[-1][n] + 1e-7) + 10 ** (distance - 3))
    return dynamic_k(candidate, overlap, cost, 13)
