#include "core/catalog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_map>

#include "core/checksum.h"
#include "core/failpoint.h"
#include "core/frame.h"
#include "core/mapping.h"

namespace gridflow {
namespace {

constexpr char kIgnitePrefix[] = "SQL_PUBLIC_";
constexpr uint32_t kFirstVersion = 1;  // of the frame: no changes follow

uint32_t HeaderChecksum(gf_change_header header, uint64_t offset) {
  header.header_crc = 0;
  return Crc32c(Crc32c(0, &offset, sizeof(offset)), &header, sizeof(header));
}

// Whether an intact change lies at an offset, which is at most `size`; then *body_bytes is how long its body is.
bool IsChange(const uint8_t* data, uint64_t size, uint64_t at, uint64_t* body_bytes) {
  gf_change_header header;
  uint32_t end;
  if (size - at < sizeof(header) + sizeof(end)) return false;
  std::memcpy(&header, data + at, sizeof(header));
  if (HeaderChecksum(header, at) != header.header_crc) return false;
  if (header.body_bytes > size - at - sizeof(header) - sizeof(end)) return false;
  const uint8_t* body = data + at + sizeof(header);
  std::memcpy(&end, body + header.body_bytes, sizeof(end));
  *body_bytes = header.body_bytes;
  return end == GF_CHANGE_END && Crc32c(0, body, header.body_bytes) == header.body_crc;
}

// The bytes of a file, which may grow and be cut at its end meanwhile: so it is not mapped.
Status ReadAll(const std::string& path, std::string* out) {
  const int fd = OpenOwn(path, O_RDONLY);
  if (fd < 0) return Status::System(errno, "open", path);
  struct stat info;
  Status status;
  if (::fstat(fd, &info) != 0) status = Status::System(errno, "stat", path);
  if (status.ok()) out->resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (status.ok() && done < out->size()) {
    const ssize_t count = ::pread(fd, &(*out)[done], out->size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) status = Status::System(errno, "read", path);
    if (count == 0) break;
    if (count > 0) done += static_cast<size_t>(count);
  }
  ::close(fd);
  out->resize(done);
  return status;
}

// Takes in entries and changes, one after the other.
class Builder {
 public:
  explicit Builder(Catalog* catalog) : catalog_(catalog) {}

  Status Body(FrameReader* reader) {
    GF_RETURN_IF_ERROR(reader->Get(&catalog_->next_table_id));
    GF_RETURN_IF_ERROR(reader->Get(&catalog_->version));
    uint32_t count = 0;
    GF_RETURN_IF_ERROR(reader->Get(&count));
    if (count > reader->remaining() / 12) return reader->Fail("impossible number of tables");
    catalog_->tables.reserve(count);
    for (uint32_t i = 0; i < count; ++i) GF_RETURN_IF_ERROR(Entry(reader, false));
    return reader->remaining() == 0 ? Status::Ok() : reader->Fail("bytes after the end");
  }

  Status Change(FrameReader* reader) {
    uint64_t version = 0;
    uint8_t kind = 0;
    GF_RETURN_IF_ERROR(reader->Get(&version));
    if (version != catalog_->version + 1) return reader->Fail("a change of another version");
    GF_RETURN_IF_ERROR(reader->Get(&catalog_->next_table_id));
    GF_RETURN_IF_ERROR(reader->Get(&kind));
    if (kind == GF_CHANGE_PUT) {
      GF_RETURN_IF_ERROR(Entry(reader, true));
    } else {
      uint32_t table_id = 0;
      GF_RETURN_IF_ERROR(reader->Get(&table_id));
      const auto at = places_.find(table_id);
      if (at == places_.end()) return reader->Fail("a change of a table that is not there");
      CatalogEntry& entry = catalog_->tables[at->second];
      if (kind == GF_CHANGE_REMOVE) {
        names_.erase(entry.name);
        entry.table_id = 0;  // no table has this number: what is left of it goes at the end
        places_.erase(at);
      } else if (kind == GF_CHANGE_TAG) {
        uint64_t tagged = 0;
        std::string tag;
        GF_RETURN_IF_ERROR(reader->Get(&tagged));
        GF_RETURN_IF_ERROR(reader->GetText(&tag));
        entry.tags[tag] = tagged;
      } else {
        return reader->Fail("a change of unknown kind");
      }
    }
    if (reader->remaining() != 0) return reader->Fail("bytes after the end of a change");
    catalog_->version = version;
    return Status::Ok();
  }

  void Finish() {
    std::vector<CatalogEntry>& tables = catalog_->tables;
    tables.erase(std::remove_if(tables.begin(), tables.end(), [](const auto& entry) { return entry.table_id == 0; }),
                 tables.end());
  }

 private:
  Status Entry(FrameReader* reader, bool may_be_there) {
    CatalogEntry entry;
    GF_RETURN_IF_ERROR(reader->Get(&entry.table_id));
    GF_RETURN_IF_ERROR(reader->GetText(&entry.name));
    GF_RETURN_IF_ERROR(reader->GetText(&entry.options));
    if (entry.table_id == 0 || entry.table_id >= catalog_->next_table_id) return reader->Fail("an impossible table");
    const auto place = places_.find(entry.table_id);
    const auto named = names_.find(entry.name);
    if (place != places_.end()) {
      if (!may_be_there || named == names_.end() || named->second != entry.table_id)
        return reader->Fail("an impossible table");
      catalog_->tables[place->second] = std::move(entry);
      return Status::Ok();
    }
    if (named != names_.end()) return reader->Fail("an impossible table");
    places_[entry.table_id] = catalog_->tables.size();
    names_[entry.name] = entry.table_id;
    catalog_->tables.push_back(std::move(entry));
    return Status::Ok();
  }

  Catalog* const catalog_;
  std::unordered_map<uint32_t, size_t> places_;      // in catalog_->tables, by number
  std::unordered_map<std::string, uint32_t> names_;  // to number
};

}  // namespace

Status Catalog::Read(const std::string& path, Catalog* out) {
  std::string bytes;
  GF_RETURN_IF_ERROR(ReadAll(path, &bytes));
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  *out = Catalog();
  Builder builder(out);
  FrameReader frame(path, data, bytes.size(), 0);
  uint32_t version = 0;
  uint64_t rest = 0;
  GF_RETURN_IF_ERROR(frame.Header(GF_CATALOG_MAGIC, GF_CATALOG_VERSION, "catalog", &version, &rest));
  if (version == kFirstVersion && rest != 0)
    return Status::Corrupt(path, static_cast<int64_t>(bytes.size()), "the file has the wrong size");
  GF_RETURN_IF_ERROR(builder.Body(&frame));
  uint64_t at = bytes.size() - rest;
  out->body_bytes = at;
  uint64_t body_bytes = 0;
  while (IsChange(data, bytes.size(), at, &body_bytes)) {
    const uint64_t body = at + sizeof(gf_change_header);
    FrameReader change(path, data + body, body_bytes, static_cast<int64_t>(body));
    GF_RETURN_IF_ERROR(builder.Change(&change));
    at = body + body_bytes + sizeof(uint32_t);
  }
  // What is left was being appended when its owner died or the power went, unless a change follows it.
  for (uint64_t later = at + 1; later < bytes.size(); ++later)
    if (IsChange(data, bytes.size(), later, &body_bytes))
      return Status::Corrupt(path, static_cast<int64_t>(at), "the checksum of a change does not match");
  builder.Finish();
  if (version != kFirstVersion) out->end = at;
  return Status::Ok();
}

Status Catalog::Write(const std::string& path, bool durable) {
  FrameWriter writer;
  writer.Put(next_table_id);
  writer.Put(version);
  writer.Put(static_cast<uint32_t>(tables.size()));
  for (const CatalogEntry& entry : tables) {
    writer.Put(entry.table_id);
    writer.PutText(entry.name);
    writer.PutText(entry.options);
  }
  const std::string bytes = writer.Frame(GF_CATALOG_MAGIC, GF_CATALOG_VERSION);
  body_bytes = end = bytes.size();
  return ReplaceFile(path, bytes.data(), bytes.size(), durable);
}

Status Catalog::Append(const std::string& path, const CatalogChange& change, bool durable, uint64_t* end) {
  FrameWriter writer;
  writer.Put(change.version);
  writer.Put(change.next_table_id);
  writer.Put(change.kind);
  writer.Put(change.entry.table_id);
  if (change.kind == GF_CHANGE_PUT) {
    writer.PutText(change.entry.name);
    writer.PutText(change.entry.options);
  } else if (change.kind == GF_CHANGE_TAG) {
    writer.Put(change.tagged);
    writer.PutText(change.tag);
  }
  gf_change_header header = {};
  header.body_bytes = static_cast<uint32_t>(writer.body().size());
  header.body_crc = Crc32c(0, writer.body().data(), writer.body().size());
  header.header_crc = HeaderChecksum(header, *end);
  const uint32_t mark = GF_CHANGE_END;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes += writer.body();
  bytes.append(reinterpret_cast<const char*>(&mark), sizeof(mark));

  const int fd = OpenOwn(path, O_WRONLY);
  if (fd < 0) return Status::System(errno, "open", path);
  Status status;
  // What was never acknowledged goes first: nothing of it must follow this change.
  if (::ftruncate(fd, static_cast<off_t>(*end)) != 0) status = Status::System(errno, "cut", path);
  const bool cut = status.ok();
  if (status.ok()) status = [] { GF_FAILPOINT("catalog.append"); return Status::Ok(); }();
  if (status.ok()) status = WriteAll(fd, path, bytes.data(), bytes.size(), *end);
  if (status.ok()) status = [] { GF_FAILPOINT("catalog.appended"); return Status::Ok(); }();
  if (status.ok() && durable && ::fsync(fd) != 0) status = Status::System(errno, "sync", path);
  if (!status.ok() && cut && ::ftruncate(fd, static_cast<off_t>(*end)) != 0)
    status.message += "; and what was written of it could not be removed";
  if (::close(fd) != 0 && status.ok()) status = Status::System(errno, "close", path);
  if (status.ok()) *end += bytes.size();
  return status;
}

const CatalogEntry* Catalog::Find(const std::string& name) const {
  for (const CatalogEntry& entry : tables)
    if (entry.name == name) return &entry;
  // No text within the JSON can look like this: its quotes are escaped. Names that would need escapes are not found.
  const std::string option = "\"cache_name\": \"" + name + "\"";
  for (const CatalogEntry& entry : tables)
    if (entry.options.find(option) != std::string::npos) return &entry;
  const size_t prefix = sizeof(kIgnitePrefix) - 1;
  if (name.compare(0, prefix, kIgnitePrefix) == 0)
    for (const CatalogEntry& entry : tables)
      if (name.compare(prefix, std::string::npos, entry.name) == 0) return &entry;
  return nullptr;
}

}  // namespace gridflow
