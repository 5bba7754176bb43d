"""Opens a global model with Python's safetensors and prints its accuracy on MNIST's test images.

Usage: evaluate.py MODEL_OR_FOLDER TEST_FOLDER
A folder is searched for the one file in it.
"""

import gzip
import pathlib
import sys

import numpy
from safetensors.numpy import load_file


def idx(path, header):
    return numpy.frombuffer(gzip.open(path).read(), numpy.uint8, offset=header)


def main():
    model, data = map(pathlib.Path, sys.argv[1:])
    if model.is_dir():
        (model,) = [path for path in model.rglob("*") if path.is_file()]
    tensors = load_file(model)
    images = idx(data / "images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(numpy.float32) / 255
    labels = idx(data / "labels-idx1-ubyte.gz", 8)
    # Two dense layers, told apart by their shapes; weights are [inputs, outputs].
    by_shape = {tensor.shape: tensor for tensor in tensors.values()}
    (hidden,) = {shape[1] for shape in by_shape if len(shape) == 2 and shape[0] == 784}
    activations = numpy.maximum(images @ by_shape[784, hidden] + by_shape[hidden,], 0)
    scores = activations @ by_shape[hidden, 10] + by_shape[10,]
    print((scores.argmax(1) == labels).mean())


main()
