#include "core/merge_order.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/row_codec.h"

namespace gridflow {
namespace {

// Where a run stands.
struct Head {
  uint64_t hash;
  uint32_t run;
};

// For a heap whose top is the smallest; runs of one hash come in their order.
bool Later(const Head& a, const Head& b) { return a.hash != b.hash ? a.hash > b.hash : a.run > b.run; }

// One run, read from its start to its end.
class Reader {
 public:
  Reader(const SortedRun& run, uint32_t source) : run_(run), source_(source) { SkipDeleted(); }
  bool ended() const { return at_ >= run_.rows; }
  uint64_t hash() const { return run_.hashes[at_]; }
  RowRef row() const { return run_.refs != nullptr ? run_.refs[at_] : RowRef{source_, static_cast<uint32_t>(at_)}; }
  void Next() {
    ++at_;
    SkipDeleted();
  }

 private:
  void SkipDeleted() {
    if (run_.deleted == nullptr) return;
    while (at_ < run_.rows && ((run_.deleted[at_ >> 3] >> (at_ & 7)) & 1)) ++at_;
  }

  SortedRun run_;
  uint32_t source_;
  int64_t at_ = 0;
};

}  // namespace

Status OrderTies(const Schema& schema, const std::vector<Source>& sources, RowRef* begin, RowRef* end) {
  std::vector<std::pair<std::string, RowRef>> rows;
  for (RowRef* it = begin; it != end; ++it) {
    rows.emplace_back(std::string(), *it);
    GF_RETURN_IF_ERROR(EncodeKey(schema, sources[it->source], it->row, &rows.back().first));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& row : rows) *begin++ = row.second;
  return Status::Ok();
}

Status MergeRuns(const Schema& schema, const std::vector<Source>& sources, const std::vector<SortedRun>& runs,
                 const std::atomic<bool>* cancelled, KeyOrder* out) {
  constexpr size_t kRowsBetweenLooks = 1 << 16;  // at whether it is cancelled
  std::vector<Reader> readers;
  std::vector<Head> heads;
  int64_t most = 0;
  for (uint32_t i = 0; i < runs.size(); ++i) {
    readers.emplace_back(runs[i], i);
    most += runs[i].rows;
    if (!readers[i].ended()) heads.push_back({readers[i].hash(), i});
  }
  out->order.clear();
  out->hashes.clear();
  out->order.reserve(static_cast<size_t>(most));
  out->hashes.reserve(static_cast<size_t>(most));
  std::make_heap(heads.begin(), heads.end(), Later);
  size_t ties = 0;  // where the rows begin that have the hash of the last one
  auto order_ties = [&] {
    if (out->order.size() - ties < 2) return Status::Ok();
    return OrderTies(schema, sources, out->order.data() + ties, out->order.data() + out->order.size());
  };
  while (!heads.empty()) {
    std::pop_heap(heads.begin(), heads.end(), Later);
    Head& head = heads.back();
    Reader& reader = readers[head.run];
    // As far as this run goes before the next one's turn.
    const bool alone = heads.size() == 1;
    const uint64_t limit = alone ? 0 : heads.front().hash;
    do {
      if (out->hashes.empty() || out->hashes.back() != head.hash) {
        GF_RETURN_IF_ERROR(order_ties());
        ties = out->order.size();
        if (cancelled != nullptr && ties % kRowsBetweenLooks == 0 && cancelled->load(std::memory_order_relaxed))
          return {Code::kCancelled, "the merge was cancelled", "", -1};
      }
      out->order.push_back(reader.row());
      out->hashes.push_back(head.hash);
      reader.Next();
      if (reader.ended()) break;
      head.hash = reader.hash();
    } while (alone || head.hash <= limit);
    if (reader.ended()) {
      heads.pop_back();
    } else {
      std::push_heap(heads.begin(), heads.end(), Later);
    }
  }
  return order_ties();
}

}  // namespace gridflow
