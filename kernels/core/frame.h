// Frames: what manifests and catalogs are made of (gf_frame_header), written and read.
#ifndef GRIDFLOW_CORE_FRAME_H_
#define GRIDFLOW_CORE_FRAME_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "core/mapping.h"
#include "core/schema.h"
#include "core/status.h"
#include "gridflow/manifest_format.h"

namespace gridflow {

// Puts together the body of a frame.
class FrameWriter {
 public:
  template <typename T>
  void Put(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void PutText(const std::string& text) {
    Put(static_cast<uint32_t>(text.size()));
    body_.append(text);
  }
  const std::string& body() const { return body_; }
  // Header and body.
  std::string Frame(uint64_t magic, uint32_t version) const;

 private:
  std::string body_;
};

// Reads bytes front to back and never past their end; where they do not fit it says so, naming file and offset.
class FrameReader {
 public:
  // Bytes that stay where they are as long as this reads them, and that lie at `offset` of the file.
  FrameReader(std::string path, const uint8_t* data, uint64_t bytes, int64_t offset)
      : path_(std::move(path)), begin_(data), at_(data), end_(data + bytes), offset_(offset) {}

  // Reads and checks the header of a frame of at most that version, and that its body is there and fits its checksum.
  // The body is read next, and then comes *rest, the bytes after the frame.
  Status Header(uint64_t magic, uint32_t newest, const char* what, uint32_t* version, uint64_t* rest);
  // Only so many bytes are left.
  void Limit(uint64_t bytes) { end_ = at_ + bytes; }

  Status Fail(const std::string& what) const { return Status::Corrupt(path_, offset(), what); }
  // `bytes`: of what an older version has of it, its first part.
  template <typename T>
  Status Get(T* out, size_t bytes = sizeof(T)) {
    if (remaining() < bytes) return Fail("it ends early");
    std::memcpy(out, at_, bytes);
    at_ += bytes;
    return Status::Ok();
  }
  Status GetText(std::string* out);
  Status GetSchema(Schema* out);
  size_t remaining() const { return static_cast<size_t>(end_ - at_); }
  int64_t offset() const { return offset_ + (at_ - begin_); }
  const uint8_t* at() const { return at_; }

 private:
  const std::string path_;
  const uint8_t* const begin_;
  const uint8_t* at_;
  const uint8_t* end_;
  const int64_t offset_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_FRAME_H_
