"""Write film.png, film.pgm and turned.png: a real film of 8 bits for the other examples, and its quarter turn.

pip install '.[sample]', in a clone and in an environment without another ONNX Runtime
python sample_pictures.py
"""

from PIL import Image

import xraytransfer
from xraytransfer.cli.film_list import sample_film

film = Image.fromarray(xraytransfer.read_radiograph(sample_film()).pixels)
film.save("film.png")
film.save("film.pgm")
film.transpose(Image.Transpose.ROTATE_90).save("turned.png")
