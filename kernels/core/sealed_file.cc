#include "core/sealed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/checksum.h"
#include "core/mapping.h"

namespace gridflow {

Status ReadFingerprint(const std::string& path, uint64_t* bytes, uint64_t* fingerprint) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  } const file{OpenOwn(path, O_RDONLY)};
  if (file.fd < 0) return Status::System(errno, "open", path);
  struct stat info;
  if (::fstat(file.fd, &info) != 0) return Status::System(errno, "stat", path);
  uint8_t head[std::max(sizeof(gf_segment_header), sizeof(gf_deletions_header))] = {};
  const ssize_t got = ::pread(file.fd, head, sizeof(head), 0);
  if (got < 0) return Status::System(errno, "read", path);
  *bytes = static_cast<uint64_t>(info.st_size);
  uint64_t magic;
  std::memcpy(&magic, head, sizeof(magic));
  if (magic == GF_SEGMENT_MAGIC && got >= static_cast<ssize_t>(sizeof(gf_segment_header))) {
    gf_segment_header header;
    std::memcpy(&header, head, sizeof(header));
    uint32_t last;
    if (::pread(file.fd, &last, sizeof(last), info.st_size - static_cast<off_t>(sizeof(last))) != sizeof(last))
      return Status::System(errno, "read", path);
    *fingerprint = SegmentFingerprint(header, last);
    return Status::Ok();
  }
  if ((magic == GF_DELETIONS_MAGIC || magic == GF_DELETED_ROWS_MAGIC) &&
      got >= static_cast<ssize_t>(sizeof(gf_deletions_header))) {
    gf_deletions_header header;
    std::memcpy(&header, head, sizeof(header));
    *fingerprint = DeletionsFingerprint(header);
    return Status::Ok();
  }
  return Status::Corrupt(path, 0, "this is no segment, no deletion bitmap and no list of deleted rows");
}

bool AreWholeDeletions(const uint8_t* data, uint64_t bytes, uint64_t fingerprint) {
  gf_deletions_header header;
  if (bytes < sizeof(header)) return false;
  std::memcpy(&header, data, sizeof(header));
  if (DeletionsFingerprint(header) != fingerprint) return false;
  gf_deletions_header blank = header;
  blank.header_crc = 0;
  return Crc32c(0, &blank, sizeof(blank)) == header.header_crc &&
         BlockChecksum(data + sizeof(header), bytes - sizeof(header)) == header.body_crc;
}

}  // namespace gridflow
