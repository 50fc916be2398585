"""Geometry of axis-aligned boxes, xyxy, pair by pair: row i of one tensor against row i of the other.

The overlap functions of the frameworks differ in where they add which epsilon, which decides golden vectors
at the 1e-6 level and what a degenerate box gives. Each variant is its own function, named after its origin.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Boxes = Float[Tensor, "*#P 4"]
Values = Float[Tensor, "*#P"]
Points = Float[Tensor, "*#P 2"]

DELTA_CLIP = math.log(1000 / 16)  # log ratios beyond this are clipped before exp, as torchvision does


def extents(boxes: Boxes) -> tuple[Values, Values]:
    """Widths and heights, negative for an inverted box."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def area(boxes: Boxes) -> Values:
    """Width times height."""
    width, height = extents(boxes)
    return width * height


def centers(boxes: Boxes) -> Points:
    """Centre points (x, y)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def intersection(a: Boxes, b: Boxes) -> Values:
    """Shared area, 0 for boxes apart."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp(min=0).prod(-1)


def hull_extents(a: Boxes, b: Boxes) -> tuple[Values, Values]:
    """Width and height of the smallest box around both."""
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    width, height = (high - low).unbind(-1)
    return width, height


def iou(a: Boxes, b: Boxes) -> Values:
    """Intersection over union; 0 where the union is empty. torchvision's `box_iou` but for its NaN there."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1), 0)


def iou_mmdet(a: Boxes, b: Boxes) -> Values:
    """mmdet `bbox_overlaps`: the union is at least 1e-6."""
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared).clamp(min=1e-6)


def iou_ppdet(a: Boxes, b: Boxes, *, eps: float = 1e-9) -> Values:
    """PaddleDetection `batch_iou_similarity`: extents at least 0, `eps` added to the union."""
    shared = intersection(a, b)
    areas = [w.clamp(min=0) * h.clamp(min=0) for w, h in (extents(a), extents(b))]
    return shared / (areas[0] + areas[1] - shared + eps)


def iof(a: Boxes, b: Boxes) -> Values:
    """Intersection over the area of `a`, which is at least 1e-6 (mmdet, mode `iof`)."""
    return intersection(a, b) / area(a).clamp(min=1e-6)


def center_distance_squared(a: Boxes, b: Boxes) -> Values:
    """Squared distance of the centres."""
    return ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4


def union_ultralytics(a: Boxes, b: Boxes, shared: Values, *, eps: float = 1e-7) -> Values:
    """Area of both as in ultralytics' `bbox_iou`: `eps` on the heights, not the widths, and on the sum."""
    (width_a, height_a), (width_b, height_b) = extents(a), extents(b)
    return width_a * (height_a + eps) + width_b * (height_b + eps) - shared + eps


def iou_flavored(a: Boxes, b: Boxes, flavor: str, *, eps: float = 1e-7) -> Values:
    """IoU with the epsilon where the framework's distance and complete IoU losses have it.

    `ultralytics` as `union_ultralytics`; `mmdet` adds it to the union; `torchvision` too, but counts an
    intersection only where both extents are positive, which here they always are.
    """
    shared = intersection(a, b)
    if flavor == "ultralytics":
        return shared / union_ultralytics(a, b, shared, eps=eps)
    return shared / (area(a) + area(b) - shared + eps)


def distance_penalty(a: Boxes, b: Boxes, *, eps: float = 1e-7) -> Values:
    """Squared distance of the centres over the squared diagonal of the hull (plus `eps`)."""
    hull_width, hull_height = hull_extents(a, b)
    return center_distance_squared(a, b) / (hull_width**2 + hull_height**2 + eps)


def aspect_difference(a: Boxes, b: Boxes, *, eps: float) -> Values:
    """4/π² · (atan(w_b/h_b) - atan(w_a/h_a))², `eps` added to the heights; 0 where a ratio is 0/0."""

    def angle(boxes: Boxes) -> Values:
        width, height = extents(boxes)
        height = height + eps
        sign = torch.where(height < 0, -1.0, 1.0).to(height.dtype)
        return torch.atan2(width * sign, height * sign)  # atan(w / h), with a gradient where h is 0

    return 4 / math.pi**2 * (angle(b) - angle(a)) ** 2


def ciou_ultralytics(a: Boxes, b: Boxes, *, eps: float = 1e-7) -> Values:
    """Complete IoU as ultralytics' `bbox_iou` computes it.

    The trade-off factor is a constant for the gradient. Zheng et al., AAAI 2020, arXiv:1911.08287, equations
    10 and 11.
    """
    overlap = iou_flavored(a, b, "ultralytics", eps=eps)
    aspect = aspect_difference(a, b, eps=eps)
    with torch.no_grad():
        trade_off = aspect / (aspect - overlap + (1 + eps))
    return overlap - (distance_penalty(a, b, eps=eps) + aspect * trade_off)


def inside_distance(points: Points, boxes: Boxes) -> Values:
    """Distance from a point to the nearest side of its box; negative outside."""
    return to_distances(points, boxes).amin(-1)


def grow_sides(boxes: Boxes, minimum: Values) -> Boxes:
    """Boxes whose sides below `minimum` are replaced by it about the centre, each axis by itself."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    floor = minimum.unsqueeze(-1)
    half = torch.where(size < floor, floor, size) / 2
    center = centers(boxes)
    return torch.cat([center - half, center + half], -1)


def to_distances(points: Points, boxes: Boxes) -> Boxes:
    """Distances left, top, right, bottom from each point to the sides of its box."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def from_distances(points: Points, distances: Boxes) -> Boxes:
    """Boxes from distances left, top, right, bottom."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)


def to_deltas(anchors: Boxes, boxes: Boxes, *, scale: tuple[float, float] = (1.0, 1.0)) -> Boxes:
    """Offsets (dx, dy, dw, dh) of boxes from anchors: centres over anchor size, log ratios, over `scale`.

    Ren et al., NeurIPS 2015, arXiv:1506.01497, equation 2; SSD and ATSS have a scale of (0.1, 0.2). Extents
    of 0 give infinities.
    """
    anchor_size, size = anchors[..., 2:] - anchors[..., :2], boxes[..., 2:] - boxes[..., :2]
    offset = (centers(boxes) - centers(anchors)) / anchor_size
    return torch.cat([offset / scale[0], torch.log(size / anchor_size) / scale[1]], -1)


def from_deltas(
    anchors: Boxes, deltas: Boxes, *, scale: tuple[float, float] = (1.0, 1.0), bounded: bool = False
) -> Boxes:
    """Boxes from offsets times `scale`, log ratios at most ln(1000/16), and `bounded` from below too."""
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    center = centers(anchors) + deltas[..., :2] * scale[0] * anchor_size
    ratio = (deltas[..., 2:] * scale[1]).clamp(-DELTA_CLIP if bounded else None, DELTA_CLIP)
    half = anchor_size * ratio.exp() / 2
    return torch.cat([center - half, center + half], -1)


def to_centered(boxes: Boxes) -> Boxes:
    """Centre and size (cx, cy, w, h) of each box."""
    return torch.cat([centers(boxes), boxes[..., 2:] - boxes[..., :2]], -1)
