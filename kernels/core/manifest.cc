#include "core/manifest.h"

#include <cstdio>
#include <cstring>
#include <unordered_set>

#include "core/checksum.h"
#include "core/manifest_invariants.h"
#include "core/mapping.h"

namespace gridflow {
namespace {

constexpr char kIgnitePrefix[] = "SQL_PUBLIC_";

class Writer {
 public:
  template <typename T>
  void Put(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void PutText(const std::string& text) {
    Put(static_cast<uint32_t>(text.size()));
    body_.append(text);
  }
  Status Seal(uint64_t magic, const std::string& path, bool durable) const {
    gf_frame_header header = {};
    header.magic = magic;
    header.version = GF_FRAME_VERSION;
    header.body_bytes = body_.size();
    header.body_crc = Crc32c(0, body_.data(), body_.size());
    header.header_crc = Crc32c(0, &header, sizeof(header));
    const std::string bytes = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body_;
    return ReplaceFile(path, bytes.data(), bytes.size(), durable);
  }

 private:
  std::string body_;
};

// A frame's body, read front to back and never past its end.
class Reader {
 public:
  Status Open(const std::string& path, uint64_t magic, const char* what) {
    path_ = path;
    GF_RETURN_IF_ERROR(Mapping::Open(path, &file_));
    gf_frame_header header;
    if (file_->size() < sizeof(header))
      return Status::Corrupt(path, static_cast<int64_t>(file_->size()), "the header is cut off");
    std::memcpy(&header, file_->data(), sizeof(header));
    if (header.magic != magic) return Status::Corrupt(path, 0, std::string("this is not a ") + what);
    if (header.version != GF_FRAME_VERSION) return Status::Version(path, header.version, GF_FRAME_VERSION);
    gf_frame_header blank = header;
    blank.header_crc = 0;
    if (Crc32c(0, &blank, sizeof(blank)) != header.header_crc)
      return Status::Corrupt(path, 12, "the header's checksum does not match");
    if (header.body_bytes != file_->size() - sizeof(header))
      return Status::Corrupt(path, static_cast<int64_t>(file_->size()), "the file has the wrong size");
    at_ = file_->data() + sizeof(header);
    end_ = at_ + header.body_bytes;
    if (Crc32c(0, at_, header.body_bytes) != header.body_crc)
      return Status::Corrupt(path, sizeof(header), "the checksum does not match");
    return Status::Ok();
  }

  Status Fail(const std::string& what) const { return Status::Corrupt(path_, at_ - file_->data(), what); }
  template <typename T>
  Status Get(T* out) {
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) return Fail("it ends early");
    std::memcpy(out, at_, sizeof(T));
    at_ += sizeof(T);
    return Status::Ok();
  }
  Status GetText(std::string* out) {
    uint32_t bytes = 0;
    GF_RETURN_IF_ERROR(Get(&bytes));
    if (bytes > remaining()) return Fail("a text ends early");
    out->assign(reinterpret_cast<const char*>(at_), bytes);
    at_ += bytes;
    return Status::Ok();
  }
  Status GetSchema(Schema* out) {
    uint32_t bytes = 0;
    GF_RETURN_IF_ERROR(Get(&bytes));
    if (bytes > remaining()) return Fail("the schema ends early");
    GF_RETURN_IF_ERROR(Schema::Parse(at_, bytes, path_, at_ - file_->data(), out));
    at_ += bytes;
    return Status::Ok();
  }
  size_t remaining() const { return static_cast<size_t>(end_ - at_); }

 private:
  std::string path_;
  std::shared_ptr<const Mapping> file_;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
};

}  // namespace

Status Manifest::Read(const std::string& path, Manifest* out) {
  Reader reader;
  GF_RETURN_IF_ERROR(reader.Open(path, GF_MANIFEST_MAGIC, "manifest"));
  GF_RETURN_IF_ERROR(reader.Get(&out->table_id));
  GF_RETURN_IF_ERROR(reader.Get(&out->partitions));
  GF_RETURN_IF_ERROR(reader.Get(&out->version));
  GF_RETURN_IF_ERROR(reader.Get(&out->flushed_lsn));
  GF_RETURN_IF_ERROR(reader.Get(&out->next_file_id));
  GF_RETURN_IF_ERROR(reader.GetSchema(&out->schema));
  uint32_t count = 0;
  GF_RETURN_IF_ERROR(reader.Get(&count));
  if (count != reader.remaining() / sizeof(gf_manifest_segment) || reader.remaining() % sizeof(gf_manifest_segment))
    return reader.Fail("impossible number of segments");
  out->segments.resize(count);
  for (gf_manifest_segment& segment : out->segments) GF_RETURN_IF_ERROR(reader.Get(&segment));
  const std::string broken = BrokenInvariant(*out, true);
  return broken.empty() ? Status::Ok() : reader.Fail(broken);
}

Status Manifest::Write(const std::string& path, bool durable) const {
  Writer writer;
  writer.Put(table_id);
  writer.Put(partitions);
  writer.Put(version);
  writer.Put(flushed_lsn);
  writer.Put(next_file_id);
  writer.PutText(schema.Serialize());
  writer.Put(static_cast<uint32_t>(segments.size()));
  for (const gf_manifest_segment& segment : segments) writer.Put(segment);
  return writer.Seal(GF_MANIFEST_MAGIC, path, durable);
}

Status Manifest::ReadKept(const std::string& folder, uint64_t version, Manifest* out) {
  const std::string path = folder + "/" + FileName(version, ".manifest");
  GF_RETURN_IF_ERROR(Read(path, out));
  if (out->version != version) return Status::Corrupt(path, sizeof(gf_frame_header), "it is of another version");
  return Status::Ok();
}

std::set<std::string> Manifest::Files() const {
  std::set<std::string> names;
  for (const gf_manifest_segment& named : segments) {
    names.insert(FileName(named.segment_id, ".seg"));
    names.insert(FileName(named.segment_id, ".lz4"));
    if (named.deletions_id != 0) names.insert(FileName(named.deletions_id, ".del"));
  }
  return names;
}

Status Catalog::Read(const std::string& path, Catalog* out) {
  Reader reader;
  GF_RETURN_IF_ERROR(reader.Open(path, GF_CATALOG_MAGIC, "catalog"));
  GF_RETURN_IF_ERROR(reader.Get(&out->next_table_id));
  GF_RETURN_IF_ERROR(reader.Get(&out->version));
  uint32_t count = 0;
  GF_RETURN_IF_ERROR(reader.Get(&count));
  if (count > reader.remaining() / 12) return reader.Fail("impossible number of tables");
  out->tables.resize(count);
  std::unordered_set<std::string> names;
  std::unordered_set<uint32_t> ids;
  for (CatalogEntry& entry : out->tables) {
    GF_RETURN_IF_ERROR(reader.Get(&entry.table_id));
    GF_RETURN_IF_ERROR(reader.GetText(&entry.name));
    GF_RETURN_IF_ERROR(reader.GetText(&entry.options));
    if (entry.table_id >= out->next_table_id || !ids.insert(entry.table_id).second ||
        !names.insert(entry.name).second)
      return reader.Fail("an impossible table");
  }
  if (reader.remaining() != 0) return reader.Fail("bytes after the end");
  return Status::Ok();
}

Status Catalog::Write(const std::string& path, bool durable) const {
  Writer writer;
  writer.Put(next_table_id);
  writer.Put(version);
  writer.Put(static_cast<uint32_t>(tables.size()));
  for (const CatalogEntry& entry : tables) {
    writer.Put(entry.table_id);
    writer.PutText(entry.name);
    writer.PutText(entry.options);
  }
  return writer.Seal(GF_CATALOG_MAGIC, path, durable);
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

std::string FileName(uint64_t id, const char* suffix) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(id));
  return std::string(text) + suffix;
}

std::string TableFolder(const std::string& grid, uint32_t table_id) {
  return grid + "/tables/" + std::to_string(table_id);
}

}  // namespace gridflow
