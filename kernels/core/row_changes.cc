#include "core/row_changes.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "core/operation.h"
#include "core/parallel.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

constexpr uint32_t kGap = 4096;             // rows: what lies between two that are closer is checked with them
constexpr size_t kRowsForThreads = 1 << 16;  // what a thread takes at a time

struct HashedPlace {
  uint64_t hash;
  uint32_t place;
};

bool IsKept(const RowChanges& changes, size_t column) { return changes.positions[column] < 0; }

bool Before(RowRef a, RowRef b) { return a.packed() < b.packed(); }

// Calls body(begin, end) for pieces of so many rows, on up to `threads` threads.
template <typename Body>
void InPieces(int threads, size_t rows, const Body& body) {
  ForEach(threads, (rows + kRowsForThreads - 1) / kRowsForThreads, [&](size_t piece) {
    const size_t begin = piece * kRowsForThreads;
    body(begin, std::min(rows, begin + kRowsForThreads));
  });
}

// The rows in the order of their addresses: a view of them if that is how they come, else of `owned`.
RowOrderView ByAddress(RowOrderView rows, std::vector<RowRef>* owned) {
  if (std::is_sorted(rows.data(), rows.data() + rows.size(), Before)) return rows;
  owned->assign(rows.data(), rows.data() + rows.size());
  std::sort(owned->begin(), owned->end(), Before);
  return *owned;
}

// That rows in the order of their addresses are live, each once, and that there is a new value for each.
Status CheckRows(const RowChanges& changes, RowOrderView rows, int threads) {
  if (!changes.removes) {
    uint64_t values = 0;
    for (const Source& source : changes.sources) values += source.empty() ? 0 : static_cast<uint64_t>(source[0].length);
    if (values != rows.size()) return Status::Invalid("not as many new values as rows");
  }
  std::vector<Status> statuses(rows.size() / kRowsForThreads + 1);
  const std::vector<SegmentRef>& segments = changes.seen->segments();
  InPieces(threads, rows.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const RowRef at = rows[i];
      const bool is_row = at.source < segments.size() && at.row < segments[at.source].segment->rows() &&
                          segments[at.source].Live(at.row);
      if (is_row && (i == 0 || at.packed() != rows[i - 1].packed())) continue;
      statuses[begin / kRowsForThreads] = Status::Invalid(is_row ? "a row is changed twice" : "there is no such row");
      return;
    }
  });
  for (const Status& status : statuses) GF_RETURN_IF_ERROR(status);
  return Status::Ok();
}

// Checks what is read of rows of one segment, from the first to the last: hashes, and those columns that `wanted` names.
Status CheckStretch(const TableSnapshot& seen, uint32_t segment, int64_t first, int64_t last,
                    const std::vector<bool>& wanted) {
  const Segment& file = *seen.segments()[segment].segment;
  GF_RETURN_IF_ERROR(file.CheckBytes(file.hashes() + first, static_cast<uint64_t>(last - first + 1) * 8));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const ColumnView& view = seen.columns(static_cast<int>(segment))[i];
    if (!wanted[i] || view.missing() || file.FindColumn(seen.schema().columns[i].id) < 0) continue;
    GF_RETURN_IF_ERROR(file.CheckRows(view, first, last + 1));
  }
  return Status::Ok();
}

// As CheckStretch, of rows in the order of their addresses. What they keep of their values is read, and their keys.
Status CheckBlocks(const RowChanges& changes, RowOrderView rows) {
  const TableSnapshot& seen = *changes.seen;
  const Schema& schema = seen.schema();
  std::vector<bool> wanted(schema.columns.size());
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = !changes.removes && IsKept(changes, i);
  for (const uint32_t position : schema.key) wanted[position] = true;
  bool checked = true;
  for (const SegmentRef& ref : seen.segments()) checked = checked && ref.segment->checked();
  for (size_t begin = 0, end = 0; !checked && begin < rows.size(); begin = end) {
    while (++end < rows.size() && rows[end].source == rows[begin].source &&
           rows[end].row - rows[end - 1].row <= kGap) {
    }
    GF_RETURN_IF_ERROR(CheckStretch(seen, rows[begin].source, rows[begin].row, rows[end - 1].row, wanted));
  }
  return Status::Ok();
}

// Merges neighbouring runs, each sorted by hash, until one is left; starts[i] is where the i-th begins.
void MergeRuns(std::vector<size_t> starts, std::vector<HashedPlace>* rows) {
  auto before = [](const HashedPlace& a, const HashedPlace& b) { return a.hash < b.hash; };
  std::vector<HashedPlace> merged(rows->size());
  starts.push_back(rows->size());
  while (starts.size() > 2) {
    std::vector<size_t> left = {0};
    for (size_t i = 0; i + 1 < starts.size(); i += 2) {
      const auto begin = rows->begin() + static_cast<int64_t>(starts[i]);
      const auto middle = rows->begin() + static_cast<int64_t>(starts[i + 1]);
      const size_t end = starts[std::min(i + 2, starts.size() - 1)];
      std::merge(begin, middle, middle, rows->begin() + static_cast<int64_t>(end),
                 merged.begin() + static_cast<int64_t>(starts[i]), before);
      left.push_back(end);
    }
    rows->swap(merged);
    starts = std::move(left);
  }
}

// Orders rows of one hash by their encoded keys.
Status OrderTies(const RowChanges& changes, std::vector<HashedPlace>* rows) {
  const TableSnapshot& seen = *changes.seen;
  for (size_t begin = 0, end = 0; begin < rows->size(); begin = end) {
    while (++end < rows->size() && (*rows)[end].hash == (*rows)[begin].hash) {
    }
    if (end - begin < 2) continue;
    std::vector<std::pair<std::string, HashedPlace>> ties;
    for (size_t i = begin; i < end; ++i) {
      const RowRef at = changes.rows[(*rows)[i].place];
      ties.emplace_back(std::string(), (*rows)[i]);
      GF_RETURN_IF_ERROR(EncodeKey(seen.schema(), seen.columns(static_cast<int>(at.source)), at.row, &ties.back().first));
    }
    std::sort(ties.begin(), ties.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = begin; i < end; ++i) (*rows)[i] = ties[i - begin].second;
  }
  return Status::Ok();
}

// Finds the source of a place, and the row there; quick for places that rise.
class SourceOf {
 public:
  explicit SourceOf(const std::vector<Source>& sources) {
    for (const Source& source : sources) starts_.push_back(starts_.back() + static_cast<uint64_t>(source[0].length));
  }
  RowRef operator()(size_t place) {
    if (place < starts_[at_] || place >= starts_[at_ + 1])
      at_ = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), place) - starts_.begin() - 1);
    return {static_cast<uint32_t>(at_), static_cast<uint32_t>(place - starts_[at_])};
  }

 private:
  std::vector<uint64_t> starts_ = {0};
  size_t at_ = 0;
};

}  // namespace

Status CheckChanges(const RowChanges& changes, int threads) {
  std::vector<RowRef> owned;
  return CheckRows(changes, ByAddress(changes.rows, &owned), threads);
}

Status OrderChanges(const RowChanges& changes, int threads, ChangeOrder* out) {
  const size_t rows = changes.rows.size();
  if (rows > GF_MAX_SEGMENT_ROWS) return Status::Invalid("too many rows for one statement");
  std::vector<RowRef> owned;
  const RowOrderView sorted = ByAddress(changes.rows, &owned);
  GF_RETURN_IF_ERROR(CheckRows(changes, sorted, threads));
  GF_RETURN_IF_ERROR(CheckBlocks(changes, sorted));
  const std::vector<SegmentRef>& segments = changes.seen->segments();
  out->hashes = HugeArray<uint64_t>(rows);
  out->places.clear();
  if (rows == 0 || (owned.empty() && sorted[0].source == sorted[rows - 1].source)) {  // one segment's order is that of hashes
    InPieces(threads, rows, [&](size_t begin, size_t end) {
      const uint64_t* hashes = segments[sorted[0].source].segment->hashes();
      for (size_t i = begin; i < end; ++i) out->hashes[i] = hashes[sorted[i].row];
    });
    return Status::Ok();
  }
  std::vector<uint32_t> places(rows);
  std::iota(places.begin(), places.end(), 0);
  if (!owned.empty())
    std::sort(places.begin(), places.end(),
              [&](uint32_t a, uint32_t b) { return Before(changes.rows[a], changes.rows[b]); });
  std::vector<size_t> starts;
  std::vector<HashedPlace> hashed(rows);
  for (size_t i = 0; i < rows; ++i) {
    if (i == 0 || sorted[i].source != sorted[i - 1].source) starts.push_back(i);
    hashed[i] = {segments[sorted[i].source].segment->hashes()[sorted[i].row], places[i]};
  }
  MergeRuns(std::move(starts), &hashed);
  GF_RETURN_IF_ERROR(OrderTies(changes, &hashed));
  for (size_t i = 0; i < rows; ++i) {
    out->hashes[i] = hashed[i].hash;
    places[i] = hashed[i].place;
  }
  out->places = std::move(places);
  return Status::Ok();
}

ChangedColumns::ChangedColumns(const RowChanges& changes, const ChangeOrder& order, size_t begin, size_t end,
                               int threads) {
  const bool as_they_come = order.places.empty();
  const RowRef* rows = changes.rows.data() + begin;
  if (!as_they_come) kept_ = HugeArray<RowRef>(end - begin);
  changed_ = HugeArray<RowRef>(end - begin);
  InPieces(threads, end - begin, [&](size_t first, size_t last) {
    SourceOf source_of(changes.sources);
    for (size_t i = first; i < last; ++i) {
      const size_t place = as_they_come ? begin + i : order.places[begin + i];
      if (!as_they_come) kept_[i] = changes.rows[place];
      changed_[i] = source_of(place);
    }
  });
  const RowOrderView kept(as_they_come ? rows : kept_.data(), end - begin), changed(changed_.data(), end - begin);
  for (size_t i = 0; i < changes.positions.size(); ++i) {
    ColumnRows column;
    column.order = IsKept(changes, i) ? kept : changed;
    if (IsKept(changes, i)) {
      for (size_t s = 0; s < changes.seen->segments().size(); ++s)
        column.views.push_back(&changes.seen->columns(static_cast<int>(s))[i]);
    } else {
      for (const Source& source : changes.sources)
        column.views.push_back(&source[static_cast<size_t>(changes.positions[i])]);
    }
    columns_.push_back(std::move(column));
  }
}

Status AppendOperations(const RowChanges& changes, uint32_t table_id, std::string* out) {
  const TableSnapshot& seen = *changes.seen;
  const Schema& schema = seen.schema();
  std::vector<RowRef> owned;
  const RowOrderView sorted = ByAddress(changes.rows, &owned);
  GF_RETURN_IF_ERROR(CheckRows(changes, sorted, 1));
  GF_RETURN_IF_ERROR(CheckBlocks(changes, sorted));
  SourceOf source_of(changes.sources);
  for (size_t place = 0; place < changes.rows.size(); ++place) {
    const RowRef at = changes.rows[place];
    const Source& kept = seen.columns(static_cast<int>(at.source));
    OperationBuilder builder(out);
    GF_RETURN_IF_ERROR(EncodeKey(schema, kept, at.row, out));
    builder.EndKey();
    if (changes.removes) {
      builder.EndRemoval(table_id);
      continue;
    }
    const RowRef value = source_of(place);
    GF_RETURN_IF_ERROR(EncodeValue(
        schema,
        [&](uint32_t position) -> Cell {
          if (IsKept(changes, position)) return {&kept[position], at.row};
          return {&changes.sources[value.source][static_cast<size_t>(changes.positions[position])], value.row};
        },
        out));
    if (!builder.EndPut(table_id)) return Status::Invalid("a row has at most 4 GiB - 2");
  }
  return Status::Ok();
}

}  // namespace gridflow
