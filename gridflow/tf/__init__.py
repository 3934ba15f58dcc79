"""TensorFlow's side of Gridflow: datasets over the mapped files of a grid. The only importer of TensorFlow.

dataset.py      Dataset, a tf.data source
arguments.py    what it is asked for: its arguments, and Share, Draw and Follow, which hold several
reading.py      what it reads and how: all that its op is told
device_table.py DeviceTable: rows by number, as tensors on a GPU
placing.py      TensorFlow's names of devices and CUDA's numbers of GPUs
compat.py       IgniteDataset: the same for programs that were written for Apache Ignite
stages.py       what is called on one that its op does itself: shuffle, batch and so on
selection.py    which rows an SQL condition means, for the op
mixing.py       sample_from, rows of several datasets by ratio
iterator.py     its elements for a Python loop
specs.py        a table's schema as the structure of a dataset's elements
nulls.py        what becomes of nulls
description.py  what a dataset reads and how, as text
sharding.py     which part of a table one of several workers reads
resolving.py    which grid and table is meant, and flushing it before an iterator reads it
ops.py          loads the op library, kernels/ops
"""

from ..cuda.convert import Convert
from .arguments import Draw, Follow, Share
from .dataset import Dataset
from .device_table import DeviceTable
from .mixing import sample_from
from .resolving import install

__all__ = ["Convert", "Dataset", "DeviceTable", "Draw", "Follow", "Share", "sample_from"]

install()  # so that a process can execute datasets that others have made
