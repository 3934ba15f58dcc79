#include "core/manifest.h"

#include <cstdio>

#include "core/frame.h"
#include "core/manifest_invariants.h"
#include "core/mapping.h"

namespace gridflow {

Status Manifest::Read(const std::string& path, Manifest* out) {
  std::shared_ptr<const Mapping> file;
  GF_RETURN_IF_ERROR(Mapping::Open(path, &file));
  return Parse(path, file->data(), file->size(), out);
}

Status Manifest::Parse(const std::string& name, const uint8_t* data, size_t bytes, Manifest* out) {
  FrameReader reader(name, data, bytes, 0);
  uint32_t frame_version;
  uint64_t rest;
  GF_RETURN_IF_ERROR(reader.Header(GF_MANIFEST_MAGIC, GF_MANIFEST_VERSION, "manifest", &frame_version, &rest));
  if (rest != 0) return Status::Corrupt(name, static_cast<int64_t>(bytes), "the file has the wrong size");
  GF_RETURN_IF_ERROR(reader.Get(&out->table_id));
  GF_RETURN_IF_ERROR(reader.Get(&out->partitions));
  GF_RETURN_IF_ERROR(reader.Get(&out->version));
  GF_RETURN_IF_ERROR(reader.Get(&out->flushed_lsn));
  GF_RETURN_IF_ERROR(reader.Get(&out->next_file_id));
  GF_RETURN_IF_ERROR(reader.GetSchema(&out->schema));
  uint32_t count = 0;
  GF_RETURN_IF_ERROR(reader.Get(&count));
  const size_t each = frame_version == 1 ? GF_MANIFEST_SEGMENT_BYTES_1 : sizeof(gf_manifest_segment);
  if (count != reader.remaining() / each || reader.remaining() % each)
    return reader.Fail("impossible number of segments");
  out->segments.assign(count, {});
  for (gf_manifest_segment& segment : out->segments) GF_RETURN_IF_ERROR(reader.Get(&segment, each));
  const std::string broken = BrokenInvariant(*out, true);
  return broken.empty() ? Status::Ok() : reader.Fail(broken);
}

std::string Manifest::Bytes() const {
  FrameWriter writer;
  writer.Put(table_id);
  writer.Put(partitions);
  writer.Put(version);
  writer.Put(flushed_lsn);
  writer.Put(next_file_id);
  writer.PutText(schema.Serialize());
  writer.Put(static_cast<uint32_t>(segments.size()));
  for (const gf_manifest_segment& segment : segments) writer.Put(segment);
  const uint32_t frame_version = schema.HasDefaults() ? GF_MANIFEST_VERSION : GF_MANIFEST_VERSION_PLAIN;
  return writer.Frame(GF_MANIFEST_MAGIC, frame_version);
}

Status Manifest::Write(const std::string& path, bool durable) const {
  const std::string bytes = Bytes();
  return ReplaceFile(path, bytes.data(), bytes.size(), durable);
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
    for (const uint64_t id : {named.deletions_id, named.bitmap_id})
      if (id != 0) names.insert(FileName(id, ".del"));
  }
  return names;
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
