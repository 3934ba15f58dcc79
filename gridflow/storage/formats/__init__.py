"""Files of other formats: each becomes a stream of Arrow batches, and batches become a file.

``reading.open_source`` and ``writing.write_file`` are the way in. A reader holds a few batches at a time, whatever
the file's size (NPZ: one array of the file at a time), and tells the line or row of a value that does not fit.
"""
