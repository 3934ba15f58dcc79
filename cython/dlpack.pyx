"""Arrays on any device as DLPack capsules; the structures are those of ``dlpack.h`` 1.0.

Not made with ctypes, as a capsule or an array of another library may die while an exception is on its way: a callback
in Python would lose it, and C takes no notice.
"""
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from "Python.h":
    object PyCapsule_New(void* pointer, const char* name, void (*destructor)(PyObject*) noexcept)
    int PyCapsule_IsValid(PyObject* capsule, const char* name)
    void* PyCapsule_GetPointer(PyObject* capsule, const char* name)

cdef struct Tensor:
    void* data
    int32_t device_type, device_id
    int32_t ndim
    uint8_t code, bits
    uint16_t lanes
    int64_t* shape
    int64_t* strides
    uint64_t byte_offset

cdef struct Plain:  # DLManagedTensor
    Tensor tensor
    void* owner
    void (*deleter)(Plain*) noexcept

cdef struct Versioned:  # DLManagedTensorVersioned
    uint32_t major, minor
    void* owner
    void (*deleter)(Versioned*) noexcept
    uint64_t flags
    Tensor tensor

cdef enum:
    READ_ONLY = 1
    COPIED = 2


cdef void delete_plain(Plain* it) noexcept with gil:
    Py_DECREF(<object>it.owner)
    free(it)


cdef void delete_versioned(Versioned* it) noexcept with gil:
    Py_DECREF(<object>it.owner)
    free(it)


cdef void destroy(PyObject* capsule) noexcept:
    """Of a capsule that nobody took anything from: who does gives it another name."""
    cdef Plain* plain
    cdef Versioned* versioned
    if PyCapsule_IsValid(capsule, b"dltensor"):
        plain = <Plain*>PyCapsule_GetPointer(capsule, b"dltensor")
        plain.deleter(plain)
    elif PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        versioned = <Versioned*>PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        versioned.deleter(versioned)


def capsule(
    object owner not None, uintptr_t pointer, tuple device, tuple shape, tuple kind, bint read_only, bint copied,
    bint versioned,
):
    """A capsule with a C-contiguous array in it, for ``__dlpack__`` to return.

    Args:
        owner: is kept until nobody uses the array any more.
        pointer: where it lies.
        device: type and number, as ``__dlpack_device__`` returns them.
        kind: code and bits of the numbers.
        versioned: whether the taker knows DLPack 1.0; else it is not told that the array is ``read_only`` or ``copied``.
    """
    cdef size_t ndim = len(shape), size = sizeof(Versioned) if versioned else sizeof(Plain)
    cdef void* memory = malloc(size + 2 * ndim * sizeof(int64_t))
    if memory == NULL:
        raise MemoryError()
    cdef Plain* plain = <Plain*>memory
    cdef Versioned* full = <Versioned*>memory
    cdef Tensor* tensor = &full.tensor if versioned else &plain.tensor
    cdef int64_t step = 1
    cdef size_t i
    try:
        tensor.data = <void*>pointer
        tensor.device_type, tensor.device_id = device
        tensor.ndim = ndim
        tensor.code, tensor.bits = kind
        tensor.lanes = 1
        tensor.shape = <int64_t*>(<char*>memory + size)
        tensor.strides = tensor.shape + ndim
        tensor.byte_offset = 0
        for i in range(ndim):
            tensor.shape[i] = shape[i]
        for i in range(ndim, 0, -1):
            tensor.strides[i - 1] = step
            step *= tensor.shape[i - 1]
        if step == 0:
            tensor.data = NULL
        if versioned:
            full.major, full.minor = 1, 0
            full.owner = <void*>owner
            full.deleter = delete_versioned
            full.flags = (READ_ONLY if read_only else 0) | (COPIED if copied else 0)
            capsule = PyCapsule_New(memory, b"dltensor_versioned", destroy)
        else:
            plain.owner = <void*>owner
            plain.deleter = delete_plain
            capsule = PyCapsule_New(memory, b"dltensor", destroy)
    except BaseException:
        free(memory)
        raise
    Py_INCREF(owner)
    return capsule
