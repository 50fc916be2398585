"""The body of POST /v1/assignments and POST /v1/losses: what /openapi.json shows, and which names are known.

Pydantic checks the options. The images are documented here and their field names come from here, but their
numbers take the fast way (`images`, `coco`), where each bad element is pointed at.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from posneg.service.schemas.loss_input import BoxFormat, Detail, Dtype

Id = str | int
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Row = list[float]
GroupKey = Literal["image", "class", "size", "level", "ground_truth"]

EXAMPLE: dict[str, Any] = {
    "images": [
        {
            "id": "street-1",
            "size": [480, 640],
            "ground_truth": [
                {"id": "GT1", "label": "car", "box": [100, 50, 210, 150]},
                {"id": "GT2", "label": "person", "box": [300, 50, 370, 250]},
            ],
            "predictions": [
                {"id": "A", "box": [127.5, 50, 237.5, 150], "label": "car", "score": 0.9},
                {"id": "B", "box": [330, 50, 400, 250], "label": "person", "score": 0.3},
                {"id": "C", "box": [10, 50, 120, 150], "scores": {"car": 0.2, "person": 0.0}},
            ],
        }
    ],
    "classes": ["car", "person"],
    "box_format": "xyxy",
    "preset": "textbook",
    "assigner": {"topk": 13},
    "loss": {"classification": {"weight": 1.0}, "box": {"name": "smooth_l1", "beta": 1.0}},
    "dtype": "float64",
    "gradients": False,
    "detail": "full",
}


class Strict(BaseModel):
    """No field beside those named."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Open(BaseModel):
    """As other tools write it: further fields are left alone."""

    model_config = ConfigDict(extra="allow")


class Grid(Strict):
    """Points in raster order, level by level, at (i + offset) · stride; a level has ⌈size / stride⌉ cells."""

    strides: list[float] = Field(description="Pixels, one a level, in the order of the levels.")
    offset: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Cells; 0.5 is a cell's centre. Left out: as the preset's upstream has it.",
    )


class GroundTruthElement(Strict):
    """One box that predictions answer for."""

    id: Id | None = None
    label: Id = Field(description="A class name, or an index into `classes`.")
    box: Box
    ignore: bool = Field(False, description="Matched to nothing, counts in no normalizer.")
    weight: float = Field(
        1.0,
        ge=0,
        description="Multiplies the loss of the predictions that this box gets, not the normalizer.",
    )
    soft_label: dict[str, float] | None = Field(
        None, description="Class name → share, in place of 1 for `label`."
    )


class PredictionElement(Strict):
    """One prediction: `label` and `score`, or `scores` by class name; probabilities."""

    id: Id | None = None
    box: Box
    label: Id | None = None
    score: float | None = Field(None, ge=0, le=1)
    scores: dict[str, float] | None = None


class Columns(Strict):
    """The N predictions of a dense head: `boxes` or what the head emits for them, `scores` or `logits`."""

    boxes: list[Box] | None = None
    scores: list[Row] | None = Field(None, description="N rows of C probabilities.")
    logits: list[Row] | None = Field(None, description="N rows of C, before the sigmoid (or softmax: C + 1).")
    points: list[Annotated[Row, Field(min_length=2, max_length=2)]] | None = Field(
        None, description="N rows of x, y; pixels."
    )
    strides: list[float] | None = Field(None, description="N, pixels; a level is a run of equal ones.")
    anchors: list[Box] | None = None
    dfl: list[Annotated[list[Row], Field(min_length=4, max_length=4)]] | None = Field(
        None, description="N rows of R logits each for left, top, right, bottom, in strides."
    )
    ltrb: list[Box] | None = Field(None, description="Left, top, right, bottom of the point, in strides.")
    deltas: list[Box] | None = Field(None, description="What an anchor-based head emits; needs `anchors`.")
    raw: list[Box] | None = Field(None, description="YOLOX's dx, dy, log w, log h.")
    objectness: list[float] | None = Field(None, description="N logits.")
    centerness: list[float] | None = Field(None, description="N logits.")
    sampled: list[int] | None = Field(None, description="Rows that a sampler took; fixes its draw.")
    grid: Grid | None = Field(
        None, description="In place of `points` and `strides`; needs the image's `size`."
    )


class Image(Strict):
    """One image; boxes in its pixels."""

    id: Id | None = Field(None, description="Its index where left out.")
    size: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Height, width."
    )
    ground_truth: list[GroundTruthElement] = Field(default_factory=list)
    predictions: list[PredictionElement] | Columns = Field(default_factory=list)
    grid: Grid | None = Field(None, description="For columns that have none of their own.")


class CocoImage(Open):
    """An image of a COCO data set."""

    id: Id
    file_name: str | None = None
    height: float | None = None
    width: float | None = None


class CocoCategory(Open):
    """A class; ids may be sparse, and 0 is one."""

    id: Id
    name: str


class CocoAnnotation(Open):
    """A box, xywh; `iscrowd` is `ignore`."""

    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: Box
    iscrowd: Literal[0, 1] = 0


class CocoResult(Open):
    """A prediction, xywh."""

    image_id: Id
    category_id: Id
    bbox: Box
    score: float = Field(ge=0, le=1)


class CocoDataset(Open):
    """A COCO annotation file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


class CocoResults(Open):
    """Results as a data set; where both files have names, images join on file name and categories on name."""

    images: list[CocoImage] = Field(default_factory=list)
    annotations: list[CocoResult]
    categories: list[CocoCategory] = Field(default_factory=list)


class Coco(Strict):
    """A COCO pair as it is: sparse category ids, `iscrowd` = ignore."""

    ground_truth: CocoDataset
    predictions: list[CocoResult] | CocoResults = Field(default_factory=list)


class LossRequest(Strict):
    """Ground truth, predictions, how to match and weigh them: `images` or `coco`, the rest is optional."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": EXAMPLE})

    images: Annotated[list[Image] | None, SkipValidation] = None
    coco: Annotated[Coco | None, SkipValidation] = None
    classes: Annotated[list[str] | None, SkipValidation] = Field(
        None, description="Class names, no background. Left out: as they are used first."
    )
    grid: Annotated[Grid | None, SkipValidation] = Field(
        None, description="For every image whose columns have none of their own."
    )
    box_format: BoxFormat = Field("xyxy", description="Of every box in `images`; COCO's are xywh.")
    preset: str | None = Field(
        None, description="A published recipe. Left out: `yolov8` for columns with points, else `textbook`."
    )
    assigner: Annotated[dict[str, Any], SkipValidation] = Field(
        default_factory=dict, description="Overrides the preset's, field by field."
    )
    loss: Annotated[dict[str, dict[str, Any]], SkipValidation] = Field(
        default_factory=dict, description="Term → what overrides the preset's, field by field."
    )
    head: Literal["one_to_one", "one_to_many"] | None = Field(None, description="Of `yolov10`.")
    dtype: Dtype = "float64"
    gradients: bool = False
    detail: Detail = "full"
    group_by: Annotated[list[GroupKey], Field(max_length=5)] = Field(default_factory=list)


def inlined_schema(model: type[BaseModel] = LossRequest) -> dict[str, Any]:
    """The JSON schema of a request, each definition written where it is used, as an operation needs it."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined = _inline(schema, definitions)
    assert isinstance(inlined, dict)
    return inlined


def _inline(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(node, list):
        return [_inline(element, definitions) for element in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        own = {key: value for key, value in node.items() if key != "$ref"}
        return {**_inline(definitions[name], definitions), **own}
    return {key: _inline(value, definitions) for key, value in node.items()}
