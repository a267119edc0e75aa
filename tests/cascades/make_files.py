"""Write `files/*.onnx`: classifiers of four classes as other people's tools export them.

    pip install skl2onnx keras && KERAS_BACKEND=torch python -m tests.cascades.make_files

The tests use the files, so that they need neither scikit-learn's converter nor Keras. Made with skl2onnx 1.20, Keras 3.15 on torch 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.cascades.samples import make_samples

FILES = Path(__file__).parent / "files"


def main() -> None:
    """Train on 2,000 samples and write."""
    x, y = make_samples(2000, seed=1)
    write_scikit_learn(x, y)
    write_keras(x, y)


def write_scikit_learn(x: Any, y: Any) -> None:
    """logistic.onnx with ZipMap, as skl2onnx writes it by default: a list of maps; forest.onnx without: an array."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    (FILES / "logistic.onnx").write_bytes(to_onnx(logistic, x[:1]).SerializeToString())
    forest = RandomForestClassifier(10, max_depth=7, random_state=0).fit(x, y)
    (FILES / "forest.onnx").write_bytes(to_onnx(forest, x[:1], options={"zipmap": False}).SerializeToString())


def write_keras(x: Any, y: Any) -> None:
    """keras.onnx: softmax outputs and Keras's names."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((x.shape[1],)), keras.layers.Dense(96, "relu"), keras.layers.Dense(96, "relu")]
    network = keras.Sequential([*layers, keras.layers.Dense(4, "softmax")])
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(x, y, epochs=30, batch_size=64, verbose=0)
    network.export(FILES / "keras.onnx", format="onnx")


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
