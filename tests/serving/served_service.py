"""The service that the tests of the online server serve. What its apis do depends on the rows alone, so that a test can
make them slow or wrong from another process."""

import os
import tempfile
import time

import numpy as np
import pandas as pd

import bentobatch
from bentobatch.adapters import (
    DataframeInput,
    DataframeOutput,
    FileInput,
    ImageInput,
    JsonInput,
    MultiFileInput,
    NumpyInput,
    StringInput,
    TfTensorInput,
)
from bentobatch.frameworks.pickle import PickleArtifact
from bentobatch.tasks import InferenceError, InferenceResult

RAISES, WRONG_LENGTH, NAN = 666.0, 777.0, 999.0
HELD = 555.0
"""The api waits until the file ``gate_of`` the row's second value is there."""
NAMES = ["a", "b", "c"]


def gate_of(number):
    """The file that lets a held row go."""
    return os.path.join(tempfile.gettempdir(), f"bentobatch-gate-{int(number)}")


@bentobatch.artifacts([PickleArtifact("factor")])
class ServedService(bentobatch.BentoService):
    """What the tests serve: <b>no markup</b>."""

    @bentobatch.api(
        input=DataframeInput(columns=NAMES, dtype="float64", http_input_example=[[1.0, 2.0, 3.0]]),
        batch=True,
        output_schema={"total": "float64"},
    )
    def predict(self, df):
        """The sum of each row."""
        if (df.a == RAISES).any():
            raise ValueError("the model does not like 666")
        if (df.a == WRONG_LENGTH).any():
            return [1.0] * (len(df) + 1)
        for number in df.b[df.a == HELD]:
            while not os.path.exists(gate_of(number)):
                time.sleep(0.01)
        total = df.a + df.b + df.c
        total[df.a == NAN] = np.nan
        return total

    @bentobatch.api(input=DataframeInput(), batch=True)
    def anything(self, df):
        return [f"{len(df.columns)} columns: {', '.join(map(str, df.dtypes))}"] * len(df)

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True, route="models/product")
    def product(self, df):
        return df.x * self.artifacts.factor

    @bentobatch.api(input=NumpyInput(columns=NAMES, dtype="float64"), batch=True)
    def proba(self, rows):
        return rows / rows.sum(axis=1, keepdims=True)

    @bentobatch.api(
        input=DataframeInput(columns=NAMES, dtype="float64"), output=DataframeOutput(output_orient="split"), batch=True
    )
    def frame(self, df):
        return pd.DataFrame({"low": df.min(axis=1), "who": ["x"] * len(df)})

    @bentobatch.api(input=JsonInput())
    def echo(self, value, task):
        return {"value": value, "header": task.http_headers["x-color"], "method": task.http_method}

    @bentobatch.api(input=JsonInput(), batch=True)
    def refusing(self, values, tasks):
        results = []
        for value, task in zip(values, tasks, strict=True):
            if value == "discard":
                task.discard("not this one", http_status=422)
            elif value == "error":
                results.append(InferenceError(err_msg="we are closed", http_status=451, http_headers={"X-Why": "law"}))
            elif value == "created":
                results.append(InferenceResult(data="made", http_status=201, http_headers={"Location": "/made/1"}))
            else:
                results.append(value)
        return results

    @bentobatch.api(input=StringInput(), batch=True)
    def upper(self, texts):
        return [text.upper() for text in texts]

    @bentobatch.api(input=FileInput())
    def size(self, file):
        return {"bytes": len(file.read()), "name": file.name, "path": file.path}

    @bentobatch.api(input=ImageInput(), batch=True)
    def picture(self, images):
        return [list(image.shape) for image in images]

    @bentobatch.api(input=MultiFileInput(input_names=["left", "right"], allow_none=True), batch=True)
    def pair(self, left, right):
        return [
            [None if file is None else file.read().decode() for file in files]
            for files in zip(left, right, strict=True)
        ]

    @bentobatch.api(input=TfTensorInput(), batch=True)
    def tensor(self, rows):
        return rows.reshape(len(rows), -1).sum(axis=1)
