#include "ops/read_ahead.h"

#include <algorithm>
#include <utility>

#include "core/mutex.h"

namespace gridflow {
namespace ops {
namespace {

// A window has so many bytes, where a batch has fewer.
constexpr int64_t kWindowBytes = 4 << 20;
// What is on its way, or waits for it: on a way of 50 ms at 1 GB/s there are 50 MiB at a time.
constexpr int64_t kAskedBytes = 96 << 20;
// So many rows at a time are looked for that are to be asked for.
constexpr int64_t kAskedRows = 8192;

}  // namespace

struct ReadAhead::Task {
  Mutex mutex;
  Condition ended;
  bool running GF_GUARDED_BY(mutex) = false;
  std::shared_ptr<const TableReader> reader GF_GUARDED_BY(mutex);  // null: there is nothing to do any more
  int64_t begin, end;
  int64_t ask_begin, ask_end;
  Window window;
};

void ReadAhead::Follow(const Workers& workers, const std::shared_ptr<const TableReader>& reader, int64_t place,
                       int64_t count, int64_t end, const Window& window) {
  if (place + count <= window_begin_ || !reader->gains_from_read_ahead()) return;
  const bool partial = reader->partial();
  if (workers.threads < 2 && !partial) return;
  End();
  const int64_t size = std::max(count, kWindowBytes / reader->row_bytes());
  window_begin_ = std::max(place + count, window_end_);
  window_end_ = std::min(window_begin_ + size, end);
  ask_begin_ = ask_end_;
  if (partial) {
    ask_begin_ = std::max(ask_end_, place);
    ask_end_ = std::max(ask_begin_, std::min(window_end_ + kAskedBytes / reader->read_bytes(), end));
  }
  if (workers.threads < 2 || place == 0) {  // before the first row is read
    AskFor(*reader, ask_begin_, ask_end_, window);
    ask_begin_ = ask_end_;
  }
  if (workers.threads >= 2 && window_begin_ < window_end_) Begin(workers, reader, window);
}

void ReadAhead::AskFor(const TableReader& reader, int64_t begin, int64_t end, const Window& window) {
  for (int64_t at = begin; at < end; at += kAskedRows) {
    std::vector<Run> runs;
    if (!window(at, std::min(at + kAskedRows, end), &runs).ok()) return;  // what is wrong, who reads will say
    reader.AskFor(runs);
  }
}

void ReadAhead::Begin(const Workers& workers, std::shared_ptr<const TableReader> reader, const Window& window) {
  task_ = std::make_shared<Task>();
  task_->begin = window_begin_;
  task_->end = window_end_;
  task_->ask_begin = ask_begin_;
  task_->ask_end = ask_end_;
  task_->window = window;
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
    AskFor(*reader, task->ask_begin, task->ask_end, task->window);
    std::vector<Run> runs;
    if (task->window(task->begin, task->end, &runs).ok()) reader->ReadAhead(runs);  // what is wrong, who reads will say
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
