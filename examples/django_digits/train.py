"""Train the digits model for hand-drawn digits: scikit-learn's scanned ones, and strokes drawn as the page's are.

    python -m examples.django_digits.train DIRECTORY

Owns what the network of `examples/digits` learns here: all 1,797 scans, and each style of `handwriting.py` by some
hands. TensorFlow lives in this process alone and ends with it. Leaves `digits.keras`; prints `epoch N of M` as it goes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from examples.digits import MODEL_FILE
from examples.digits.train import EPOCHS, SEED, EpochLines, build
from examples.django_digits.drawing import picture
from examples.django_digits.handwriting import samples

#: Hands from here on; tests and whoever judges take those before.
FIRST_HAND, HANDS = 1000, 25


def main() -> None:
    """Train and save."""
    keras.utils.set_random_seed(SEED)
    scanned = load_digits()
    drawn = samples(range(FIRST_HAND, FIRST_HAND + HANDS))
    images = np.concatenate([(scanned.images / 16)[..., np.newaxis], [picture(strokes) for _, strokes in drawn]])
    labels = np.concatenate([scanned.target, [digit for digit, _ in drawn]])
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images.astype(np.float32), labels, epochs=EPOCHS, verbose=0, callbacks=[EpochLines()])
    model.save(Path(sys.argv[1]) / MODEL_FILE)


if __name__ == "__main__":
    main()
