// A folder that goes away, and whole files at once.
#ifndef GRIDFLOW_TESTS_NATIVE_FILES_H_
#define GRIDFLOW_TESTS_NATIVE_FILES_H_

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace test {

// In memory where that is possible: that is where grids live.
class Folder {
 public:
  Folder() {
    const char* chosen = std::getenv("TMPDIR");
    std::string pattern = chosen != nullptr ? chosen : ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    pattern += "/gridflow-native-XXXXXX";
    path_ = ::mkdtemp(&pattern[0]) == nullptr ? std::string() : pattern;
    if (path_.empty()) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Makes a folder in it and returns its path.
  std::string Make(const std::string& name) const {
    std::filesystem::create_directories(path_ + "/" + name);
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// As a new file: who has the old one mapped keeps it.
inline void WriteFile(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// As long as it lives no file can grow beyond so many bytes: writes fail as they do on a full disk.
class NoRoom {
 public:
  explicit NoRoom(uint64_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit less = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &less);
  }
  ~NoRoom() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  NoRoom(const NoRoom&) = delete;
  NoRoom& operator=(const NoRoom&) = delete;

 private:
  struct rlimit before_;
};

inline std::set<std::string> Names(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

template <typename T>
T LoadAt(const std::string& bytes, size_t at) {
  T value = {};
  if (at + sizeof(T) <= bytes.size()) __builtin_memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

template <typename T>
void StoreAt(std::string* bytes, size_t at, T value) {
  if (at + sizeof(T) <= bytes->size()) __builtin_memcpy(&(*bytes)[at], &value, sizeof(T));
}

}  // namespace test

#endif  // GRIDFLOW_TESTS_NATIVE_FILES_H_
