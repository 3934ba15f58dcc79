#include "core/frame.h"

#include "core/checksum.h"

namespace gridflow {

std::string FrameWriter::Frame(uint64_t magic, uint32_t version) const {
  gf_frame_header header = {};
  header.magic = magic;
  header.version = version;
  header.body_bytes = body_.size();
  header.body_crc = Crc32c(0, body_.data(), body_.size());
  header.header_crc = Crc32c(0, &header, sizeof(header));
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body_;
}

Status FrameReader::Header(uint64_t magic, uint32_t newest, const char* what, uint32_t* version, uint64_t* rest) {
  const auto size = static_cast<int64_t>(remaining());
  gf_frame_header header;
  if (remaining() < sizeof(header)) return Status::Corrupt(path_, size, "the header is cut off");
  GF_RETURN_IF_ERROR(Get(&header));
  if (header.magic != magic) return Status::Corrupt(path_, 0, std::string("this is not a ") + what);
  if (header.version == 0 || header.version > newest) return Status::Version(path_, header.version, newest);
  gf_frame_header blank = header;
  blank.header_crc = 0;
  if (Crc32c(0, &blank, sizeof(blank)) != header.header_crc)
    return Status::Corrupt(path_, 12, "the header's checksum does not match");
  if (header.body_bytes > remaining()) return Status::Corrupt(path_, size, "the file has the wrong size");
  if (Crc32c(0, at_, header.body_bytes) != header.body_crc)
    return Status::Corrupt(path_, sizeof(header), "the checksum does not match");
  *version = header.version;
  *rest = remaining() - header.body_bytes;
  Limit(header.body_bytes);
  return Status::Ok();
}

Status FrameReader::GetText(std::string* out) {
  uint32_t bytes = 0;
  GF_RETURN_IF_ERROR(Get(&bytes));
  if (bytes > remaining()) return Fail("a text ends early");
  out->assign(reinterpret_cast<const char*>(at_), bytes);
  at_ += bytes;
  return Status::Ok();
}

Status FrameReader::GetSchema(Schema* out) {
  uint32_t bytes = 0;
  GF_RETURN_IF_ERROR(Get(&bytes));
  if (bytes > remaining()) return Fail("the schema ends early");
  GF_RETURN_IF_ERROR(Schema::Parse(at_, bytes, path_, offset(), out));
  at_ += bytes;
  return Status::Ok();
}

}  // namespace gridflow
