// Which lock guards what, in words that a compiler checks: clang's -Wthread-safety, which `make lint` runs where clang is
// there. Elsewhere they are comments.
#ifndef GRIDFLOW_CORE_THREAD_ANNOTATIONS_H_
#define GRIDFLOW_CORE_THREAD_ANNOTATIONS_H_

#if defined(__clang__)
#define GF_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define GF_THREAD_ATTRIBUTE(attribute)
#endif

// Of a field: read and written with the mutex; what a pointer points to.
#define GF_GUARDED_BY(mutex) GF_THREAD_ATTRIBUTE(guarded_by(mutex))
#define GF_PT_GUARDED_BY(mutex) GF_THREAD_ATTRIBUTE(pt_guarded_by(mutex))
// Of a function: whoever calls it holds the mutex.
#define GF_REQUIRES(...) GF_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
// Of a function that takes the mutex itself: whoever calls it does not hold it.
#define GF_EXCLUDES(...) GF_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

// What a mutex is made of: see mutex.h.
#define GF_CAPABILITY(name) GF_THREAD_ATTRIBUTE(capability(name))
#define GF_SCOPED_CAPABILITY GF_THREAD_ATTRIBUTE(scoped_lockable)
#define GF_ACQUIRE(...) GF_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define GF_RELEASE(...) GF_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))

#endif  // GRIDFLOW_CORE_THREAD_ANNOTATIONS_H_
