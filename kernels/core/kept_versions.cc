#include "core/kept_versions.h"

#include "core/check.h"

namespace gridflow {

Status KeptVersions::Take(uint64_t version) {
  Manifest manifest;
  GF_RETURN_IF_ERROR(Manifest::ReadKept(folder_, version, &manifest));
  kept_[version] = std::move(manifest);
  return Status::Ok();
}

Status KeptVersions::Keep(const Manifest& version) {
  if (kept_.count(version.version) > 0) return Status::Ok();
  GF_RETURN_IF_ERROR(version.Write(Path(FileName(version.version, ".manifest")), durable_));
  kept_[version.version] = version;
  return Status::Ok();
}

std::vector<std::string> KeptVersions::Release(const Manifest& current, std::set<std::string> files) {
  std::vector<std::string> paths;
  std::set<std::string> needed = current.Files();
  for (auto it = kept_.begin(); it != kept_.end();) {
    const std::set<std::string> named = it->second.Files();
    GF_DCHECK(it->first <= current.version);  // what is kept was current
    if (Wants(it->first, current.version)) {
      needed.insert(named.begin(), named.end());
      ++it;
    } else {
      paths.push_back(Path(FileName(it->first, ".manifest")));
      files.insert(named.begin(), named.end());
      it = kept_.erase(it);
    }
  }
  for (const std::string& name : files)
    if (needed.count(name) == 0) paths.push_back(Path(name));
  return paths;
}

}  // namespace gridflow
