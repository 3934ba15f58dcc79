"""Nested objects by key: the cache takes its structure from the first value, and the dataset has the same.

Uses the default grid; set GRIDFLOW_HOME for another one.
"""

import os
from pprint import pprint

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import gridflow

y, x = np.mgrid[-300:300, -400:400]
ball_of_fur = np.where(np.hypot(y, x) < 200, 255, 0).astype(np.uint8)

kitten = {
    "metadata": {"file_name": "kitten.png", "label": "little ball of fur", "width": 800, "height": 600},
    "pixels": ball_of_fur,
}

with gridflow.connect() as grid:
    grid.drop_table("IMAGES", if_exists=True)
    images = grid.cache("IMAGES")
    images.put("kitten.png", kitten)
    print("the cache holds", images.table.schema)
    print("by key:", images.get("kitten.png")["metadata"])

    # A value of another structure is refused, and the message shows both.
    try:
        images.put("dog.png", {**kitten, "pixels": ball_of_fur[:480, :640]})
    except gridflow.StructureError as error:
        print("refused:", error)

dataset = gridflow.Dataset("IMAGES")
print("elements are")
pprint(dataset.element_spec)
for element in dataset.take(1):
    print("the first one is", element["key"].numpy().decode())
    for name, value in element["val"]["metadata"].items():
        print(f"  {name:<10}", value.numpy())
    print(
        "  pixels    ",
        element["val"]["pixels"].shape,
        "of which bright:",
        int((element["val"]["pixels"] > 0).numpy().sum()),
    )
