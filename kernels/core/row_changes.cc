#include "core/row_changes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/operation.h"
#include "core/parallel.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

constexpr uint32_t kGap = 4096;             // rows: what lies between two that are closer is checked with them
constexpr size_t kRowsForThreads = 1 << 16;  // what a thread takes at a time

// A row's address or hash, and where it stands among the changed rows.
struct KeyedPlace {
  uint64_t key;
  uint32_t place;
};

bool IsKept(const RowChanges& changes, size_t column) { return changes.positions[column] < 0; }

// Calls body(begin, end) for pieces of so many rows, on up to `threads` threads.
template <typename Body>
void InPieces(int threads, size_t rows, const Body& body) {
  ForEach(threads, (rows + kRowsForThreads - 1) / kRowsForThreads, [&](size_t piece) {
    const size_t begin = piece * kRowsForThreads;
    body(begin, std::min(rows, begin + kRowsForThreads));
  });
}

// Merges two neighbouring runs, each sorted by key, the share'th of so many shares of them.
void MergeShare(const KeyedPlace* begin, const KeyedPlace* middle, const KeyedPlace* end, size_t share, size_t shares,
                KeyedPlace* out) {
  auto before = [](const KeyedPlace& a, const KeyedPlace& b) { return a.key < b.key; };
  const auto first_of = [&](size_t i) {
    return begin + (middle - begin) * static_cast<int64_t>(i) / static_cast<int64_t>(shares);
  };
  const auto second_of = [&](size_t i, const KeyedPlace* first) {
    return i == 0 ? middle : first == middle ? end : std::lower_bound(middle, end, *first, before);
  };
  const KeyedPlace *first = first_of(share), *first_end = first_of(share + 1);
  const KeyedPlace *second = second_of(share, first), *second_end = share + 1 == shares ? end : second_of(share + 1, first_end);
  std::merge(first, first_end, second, second_end, out + (first - begin) + (second - middle), before);
}

// Merges neighbouring runs, each sorted by key, until one is left; starts[i] is where the i-th begins.
void MergeRuns(int threads, std::vector<size_t> starts, HugeArray<KeyedPlace>* rows) {
  if (starts.size() < 2) return;
  const size_t shares = rows->size() < kRowsForThreads ? 1 : static_cast<size_t>(std::max(1, threads));
  HugeArray<KeyedPlace> merged(rows->size());
  starts.push_back(rows->size());
  while (starts.size() > 2) {
    std::vector<size_t> left;
    for (size_t i = 0; i + 1 < starts.size(); i += 2) left.push_back(starts[i]);
    left.push_back(rows->size());
    ForEach(threads, (left.size() - 1) * shares, [&](size_t piece) {
      const size_t pair = piece / shares;
      const KeyedPlace* all = rows->data();
      MergeShare(all + left[pair], all + starts[std::min(2 * pair + 1, starts.size() - 1)], all + left[pair + 1],
                 piece % shares, shares, merged.data() + left[pair]);
    });
    std::swap(*rows, merged);
    starts = std::move(left);
  }
}

// Rows in the order of their addresses. They mostly come in a few stretches that are in order: one for each part of the
// table that a statement reads by itself.
struct ByAddress {
  ByAddress(RowOrderView rows, int threads) : sorted(rows) {
    std::vector<size_t> starts;
    for (size_t i = 0; i < rows.size(); ++i)
      if (i == 0 || rows[i].packed() < rows[i - 1].packed()) starts.push_back(i);
    if (starts.size() < 2) return;
    places = HugeArray<KeyedPlace>(rows.size());
    owned = HugeArray<RowRef>(rows.size());
    InPieces(threads, rows.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) places[i] = {rows[i].packed(), static_cast<uint32_t>(i)};
    });
    MergeRuns(threads, std::move(starts), &places);
    InPieces(threads, rows.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) owned[i] = rows[places[i].place];
    });
    sorted = RowOrderView(owned.data(), rows.size());
  }
  ByAddress(const ByAddress&) = delete;
  ByAddress& operator=(const ByAddress&) = delete;

  RowOrderView sorted;
  HugeArray<KeyedPlace> places;  // of `sorted`; none if that is how they come
  HugeArray<RowRef> owned;
};

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

// Orders rows of one hash by their encoded keys.
Status OrderTies(const RowChanges& changes, const HugeArray<KeyedPlace>& rows) {
  const TableSnapshot& seen = *changes.seen;
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    while (++end < rows.size() && rows[end].key == rows[begin].key) {
    }
    if (end - begin < 2) continue;
    std::vector<std::pair<std::string, KeyedPlace>> ties;
    for (size_t i = begin; i < end; ++i) {
      const RowRef at = changes.rows[rows[i].place];
      ties.emplace_back(std::string(), rows[i]);
      GF_RETURN_IF_ERROR(EncodeKey(seen.schema(), seen.columns(static_cast<int>(at.source)), at.row, &ties.back().first));
    }
    std::sort(ties.begin(), ties.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = begin; i < end; ++i) rows[i] = ties[i - begin].second;
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
  return CheckRows(changes, ByAddress(changes.rows, threads).sorted, threads);
}

Status OrderChanges(const RowChanges& changes, int threads, ChangeOrder* out) {
  const size_t rows = changes.rows.size();
  if (rows > GF_MAX_SEGMENT_ROWS) return Status::Invalid("too many rows for one statement");
  ByAddress by_address(changes.rows, threads);
  const RowOrderView sorted = by_address.sorted;
  GF_RETURN_IF_ERROR(CheckRows(changes, sorted, threads));
  GF_RETURN_IF_ERROR(CheckBlocks(changes, sorted));
  const std::vector<SegmentRef>& segments = changes.seen->segments();
  out->hashes = HugeArray<uint64_t>(rows);
  out->places.clear();
  const bool as_they_come = by_address.places.size() == 0;
  if (rows == 0 || (as_they_come && sorted[0].source == sorted[rows - 1].source)) {
    // One segment's order is that of hashes.
    InPieces(threads, rows, [&](size_t begin, size_t end) {
      const uint64_t* hashes = segments[sorted[0].source].segment->hashes();
      for (size_t i = begin; i < end; ++i) out->hashes[i] = hashes[sorted[i].row];
    });
    return Status::Ok();
  }
  HugeArray<KeyedPlace> hashed = as_they_come ? HugeArray<KeyedPlace>(rows) : std::move(by_address.places);
  InPieces(threads, rows, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      hashed[i].key = segments[sorted[i].source].segment->hashes()[sorted[i].row];
      if (as_they_come) hashed[i].place = static_cast<uint32_t>(i);
    }
  });
  std::vector<size_t> starts;
  for (size_t i = 0; i < rows; ++i)
    if (i == 0 || sorted[i].source != sorted[i - 1].source) starts.push_back(i);
  MergeRuns(threads, std::move(starts), &hashed);
  GF_RETURN_IF_ERROR(OrderTies(changes, hashed));
  out->places.resize(rows);
  InPieces(threads, rows, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      out->hashes[i] = hashed[i].key;
      out->places[i] = hashed[i].place;
    }
  });
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
  {
    const ByAddress by_address(changes.rows, 1);
    GF_RETURN_IF_ERROR(CheckRows(changes, by_address.sorted, 1));
    GF_RETURN_IF_ERROR(CheckBlocks(changes, by_address.sorted));
  }
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
