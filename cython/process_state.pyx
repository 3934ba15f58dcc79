"""What the compiled modules of a process share, though each has a copy of ``core``; see ``core/process_state.h``."""
from gridflow._native cimport core
from gridflow._native.core cimport ProcessState


cdef ProcessState* shared_state() noexcept:
    """For a module's first statement: ``core.process_state = shared_state()``."""
    return core.process_state
