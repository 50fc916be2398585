"""What the contract says of models: the bodies that are read, and examples of what is answered."""

from typing import Any

Json = dict[str, Any]
BINARY: Json = {"schema": {"type": "string", "format": "binary"}}

TENSOR: Json = {"name": "images", "datatype": "FP32", "shape": [-1, 3, 320, 320]}
VERSION_EXAMPLE: Json = {
    "name": "cells",
    "version": 2,
    "sha256": "5fff45ec3a7d40c2261327f6e295136939260eb5a00442778c07ce3244b95ff3",
    "labels": ["RBC", "WBC", "Platelets"],
    "layout": "yolov8",
    "input_size": [320, 320],
    "inputs": [TENSOR],
    "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 7, 2100]}],
    "parity": {"ok": True, "max_box_px": 0.00003, "max_score": 0.0000001, "unmatched_file": 0},
    "job": "0e6f1e5e-7d1b-4a2c-9d0e-5f3f6f0d7a11",
    "dataset": {"name": "bccd", "etag": "9f2c"},
    "metrics": {"map": 0.55, "map50": 0.86},
    "preprocessing": {
        "color": "RGB",
        "scale": 0.00392156862745098,
        "letterbox": "center",
        "fill": 114,
        "resample": "bilinear",
    },
    "warnings": [],
    "size_bytes": 4590507,
    "created_at": 1795527660.68,
    "links": {
        "self": "/v1/models/cells/versions/2",
        "file": "/v1/models/cells/versions/2/files/model.onnx",
        "model": "/v1/models/cells",
        "predict": "/v1/models/cells/predict?version=2",
    },
}
MODEL_EXAMPLE: Json = {
    **VERSION_EXAMPLE,
    "versions": [
        {
            "version": 2,
            "sha256": VERSION_EXAMPLE["sha256"],
            "created_at": VERSION_EXAMPLE["created_at"],
            "job": VERSION_EXAMPLE["job"],
            "links": {"self": "/v1/models/cells/versions/2"},
        }
    ],
    "links": {
        "self": "/v1/models/cells",
        "predict": "/v1/models/cells/predict",
        "protocol": "/v2/models/cells",
        "versions": "/v1/models/cells/versions",
    },
}
PREDICTION_EXAMPLE: Json = {
    "images": [
        {
            "id": "BloodImage_00007.jpg",
            "size": [480, 640],
            "detections": [
                {"box": [68.0, 315.5, 286.0, 480.0], "label": "WBC", "class_id": 1, "score": 0.97}
            ],
        }
    ],
    "model": "cells",
    "version": 2,
    "timing": {
        "decode_ms": 3.1,
        "queue_ms": 0.1,
        "inference_ms": 9.4,
        "postprocess_ms": 0.6,
        "total_ms": 13.9,
    },
}
COCO_EXAMPLE: list[Json] = [
    {"image_id": 139, "category_id": 2, "bbox": [68.0, 315.5, 218.0, 164.5], "score": 0.97}
]
INFER_EXAMPLE: Json = {
    "id": "1",
    "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1.5]}],
    "outputs": [{"name": "y"}],
}
INFERRED_EXAMPLE: Json = {
    "id": "1",
    "model_name": "identity",
    "model_version": "1",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}],
}

PUT_BODY: Json = {
    "requestBody": {
        "required": True,
        "description": "The ONNX file, weights included.",
        "content": {"application/octet-stream": BINARY},
    }
}
PREDICT_BODY: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": BINARY,
            "image/png": BINARY,
            "image/webp": BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "format": "binary"},
                    "description": "Each file is an image; its name comes back as the image's id.",
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["data"],
                                "properties": {
                                    "data": {"type": "string", "description": "Base64, or a data URI."},
                                    "id": {"type": ["string", "integer"]},
                                },
                            },
                        }
                    },
                },
                "example": {"images": [{"id": "street-1", "data": "data:image/png;base64,iVBORw0KGgo="}]},
            },
        },
    }
}
INFER_BODY: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": INFER_EXAMPLE},
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "JSON and raw tensors behind it; Inference-Header-Content-Length is the "
                    "length of the JSON.",
                }
            },
        },
    }
}
OPTIONAL_OBJECT: Json = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
}


def answered(example: object, *, status: int = 200) -> dict[int | str, Json]:
    """The part of an operation that shows what is answered, as FastAPI takes it."""
    return {status: {"content": {"application/json": {"example": example}}}}
