"""The stack of this thread, which others than Python may fill: DuckDB calls itself for what is nested."""

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <pthread.h>
    #include <stddef.h>

    // The end of this thread's stack, which for the main thread is found by reading /proc; NULL where nobody knows.
    static char* gf_stack_end(void) {
      pthread_attr_t attributes;
      if (pthread_getattr_np(pthread_self(), &attributes) != 0) return NULL;
      void* end = NULL;
      size_t size = 0;
      const int failed = pthread_attr_getstack(&attributes, &end, &size);
      pthread_attr_destroy(&attributes);
      return failed ? NULL : (char*)end;
    }

    // Bytes from this frame to the end of the stack; 0 where nobody knows.
    static size_t gf_stack_left(void) {
      static __thread char* end = NULL;
      if (end == NULL) end = gf_stack_end();
      char* here = (char*)__builtin_frame_address(0);
      return end == NULL || here < end ? 0 : (size_t)(here - end);
    }
    """
    size_t gf_stack_left()


def stack_left() -> int:
    """Bytes that are left of this thread's stack; 0 where nobody knows."""
    return gf_stack_left()
