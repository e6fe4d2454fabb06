"""Run an exported ONNX file on photos: ``python run_onnx.py FILE.onnx PHOTO …``; needs no torch."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def main() -> None:
    """Print the shape of every output, and the best class where there are classes."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model, *photos = sys.argv[1:]
    with open(f'{model}.json', encoding='utf-8') as file:
        note = json.load(file)
    height, width = note['input']['size']
    resized = [Image.open(path).convert('RGB').resize((width, height)) for path in photos]
    pixels = np.stack([np.asarray(photo).transpose(2, 0, 1) for photo in resized])
    if note['input']['dtype'] == 'float32':
        pixels = pixels.astype(np.float32) / 255
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {'pixels': pixels})))
    for name, value in outputs.items():
        print(name, value.dtype, value.shape)
    for path, scores in zip(photos, outputs.get('scores', ())):
        print(path, note['classes'][scores.argmax()], f'{scores.max():.3f}')


if __name__ == '__main__':
    main()
