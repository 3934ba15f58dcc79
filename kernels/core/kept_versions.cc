#include "core/kept_versions.h"

#include "core/check.h"

namespace gridflow {

void KeptVersions::Add(Manifest version) {
  const uint64_t number = version.version;
  if (kept_.count(number) > 0) return;
  for (const std::string& name : version.Files()) ++names_[name];
  if (tags_.count(number) == 0) untagged_.insert(number);
  kept_[number] = std::move(version);
}

Status KeptVersions::Take(uint64_t version) {
  Manifest manifest;
  GF_RETURN_IF_ERROR(Manifest::ReadKept(folder_, version, &manifest));
  Add(std::move(manifest));
  return Status::Ok();
}

void KeptVersions::Want(const std::vector<uint64_t>& tagged, uint64_t last) {
  last_ = last;
  tags_.clear();
  untagged_.clear();
  for (uint64_t version : tagged) ++tags_[version];
  for (const auto& one : kept_)
    if (tags_.count(one.first) == 0) untagged_.insert(one.first);
}

void KeptVersions::Tag(uint64_t version) {
  ++tags_[version];
  untagged_.erase(version);
}

void KeptVersions::Untag(uint64_t version) {
  const auto tags = tags_.find(version);
  GF_DCHECK(tags != tags_.end());
  if (tags == tags_.end() || --tags->second > 0) return;
  tags_.erase(tags);
  if (kept_.count(version) > 0) untagged_.insert(version);
}

Status KeptVersions::Keep(const Manifest& version) {
  if (kept_.count(version.version) > 0) return Status::Ok();
  GF_RETURN_IF_ERROR(version.Write(Path(FileName(version.version, ".manifest")), durable_));
  Add(version);
  return Status::Ok();
}

std::vector<std::string> KeptVersions::Release(const Manifest& current, std::set<std::string> files) {
  std::vector<std::string> paths;
  GF_DCHECK(untagged_.empty() || *untagged_.rbegin() <= current.version);  // what is kept was current
  while (!untagged_.empty() && (untagged_.size() > last_ || *untagged_.rbegin() == current.version)) {
    const uint64_t version = *untagged_.rbegin() == current.version ? current.version : *untagged_.begin();
    const auto released = kept_.find(version);
    paths.push_back(Path(FileName(version, ".manifest")));
    for (const std::string& name : released->second.Files()) {
      files.insert(name);
      const auto count = names_.find(name);
      if (--count->second == 0) names_.erase(count);
    }
    kept_.erase(released);
    untagged_.erase(version);
  }
  const std::set<std::string> needed = current.Files();
  for (const std::string& name : files)
    if (needed.count(name) == 0 && names_.count(name) == 0) paths.push_back(Path(name));
  return paths;
}

}  // namespace gridflow
