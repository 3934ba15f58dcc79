"""Files of other formats: readers make a stream of Arrow batches of a file, writers make a file of batches.

``reading.open_source`` and ``writing.write_file`` are the entry points. A reader has a few batches in
memory at a time, whatever the file's size (NPZ: all arrays), and errors name the line or row of a value that does not
fit.
"""
