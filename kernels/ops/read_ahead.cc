#include "ops/read_ahead.h"

#include <algorithm>
#include <utility>

#include "core/mutex.h"

namespace gridflow {
namespace ops {
namespace {

// A window has so many bytes, where a batch has fewer.
constexpr int64_t kWindowBytes = 4 << 20;

}  // namespace

struct ReadAhead::Task {
  Mutex mutex;
  Condition ended;
  bool running GF_GUARDED_BY(mutex) = false;
  std::shared_ptr<const TableReader> reader GF_GUARDED_BY(mutex);  // null: there is nothing to do any more
  std::vector<Run> runs;
};

void ReadAhead::Follow(const Workers& workers, const std::shared_ptr<const TableReader>& reader, int64_t ordinal,
                       int64_t count, int64_t end) {
  if (workers.threads < 2 || ordinal + count <= window_begin_ || reader->checked()) return;
  End();
  const int64_t size = std::max(count, kWindowBytes / reader->row_bytes());
  window_begin_ = std::max(ordinal + count, window_end_);
  window_end_ = std::min(window_begin_ + size, end);
  if (window_begin_ >= window_end_) return;
  std::vector<Run> runs;
  RowPlan::Cursor cursor = reader->plan().Seek(window_begin_);
  reader->plan().Take(window_end_ - window_begin_, &cursor, &runs);
  Begin(workers, reader, std::move(runs));
}

void ReadAhead::Begin(const Workers& workers, std::shared_ptr<const TableReader> reader, std::vector<Run> runs) {
  task_ = std::make_shared<Task>();
  task_->runs = std::move(runs);
  {
    MutexLock lock(&task_->mutex);
    task_->reader = std::move(reader);
  }
  (*workers.runner)([task = task_] {
    std::shared_ptr<const TableReader> reader;
    {
      MutexLock lock(&task->mutex);
      if (task->reader == nullptr) return;
      task->running = true;
      reader = task->reader;
    }
    reader->ReadAhead(task->runs);
    reader.reset();  // before End() returns: nobody reads any more then
    MutexLock lock(&task->mutex);
    task->reader.reset();
    task->running = false;
    task->ended.NotifyAll();
  });
}

void ReadAhead::End() {
  if (task_ == nullptr) return;
  {
    MutexLock lock(&task_->mutex);
    while (task_->running) task_->ended.Wait(&task_->mutex);
    task_->reader.reset();
  }
  task_.reset();
}

}  // namespace ops
}  // namespace gridflow
