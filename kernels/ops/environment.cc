#include "ops/environment.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/catalog.h"
#include "ops/status.h"
#include "ops/table_reader.h"

namespace gridflow {
namespace ops {
namespace {

namespace fs = std::filesystem;
using Setting = Environment::Setting;

constexpr char kSystemPrefix[] = "SYS.";  // of tables that no list of tables shows

std::optional<Setting> Find(const Environment::Get& get, const std::string& variable) {
  const char* value = get(variable.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return Setting{variable, value};
}

// `ignite` is what Ignite calls it, where that is something else.
std::optional<Setting> FindDataset(const Environment::Get& get, const std::string& name, const char* ignite = nullptr) {
  std::optional<Setting> found = Find(get, absl::StrCat("GRIDFLOW_DATASET_", name));
  return found.has_value() ? found : Find(get, absl::StrCat("IGNITE_DATASET_", ignite != nullptr ? ignite : name));
}

std::string Is(const Setting& setting) { return absl::StrCat(setting.variable, " is '", setting.value, "'"); }

absl::Status Expected(const Setting& setting, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(Is(setting), ", and should be ", what));
}

// A number, or two with a dash between them.
bool ParseRange(absl::string_view text, std::vector<int64_t>* out) {
  const std::vector<absl::string_view> bounds = absl::StrSplit(text, '-');
  int64_t first = 0, last = 0;
  if (bounds.size() > 2 || !absl::SimpleAtoi(bounds.front(), &first) || !absl::SimpleAtoi(bounds.back(), &last) ||
      first > last || last == std::numeric_limits<int64_t>::max())
    return false;
  out->insert(out->end(), {first, last + 1});
  return true;
}

absl::Status ParsePart(const Setting& setting, std::vector<int64_t>* out) {
  int64_t number;
  if (absl::SimpleAtoi(setting.value, &number) && number == -1) return absl::OkStatus();
  for (absl::string_view range : absl::StrSplit(setting.value, ','))
    if (!ParseRange(range, out))
      return Expected(setting, "a partition such as 7, several such as 0-255,300, or -1 for all");
  return absl::OkStatus();
}

// Without asking a name server, which may take long.
bool IsThisMachine(const std::string& host) {
  const std::string name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(host));
  in_addr address;
  in6_addr address6;
  if (inet_pton(AF_INET, name.c_str(), &address) == 1) return ntohl(address.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, name.c_str(), &address6) == 1) return IN6_IS_ADDR_LOOPBACK(&address6);
  char own[256] = "";
  gethostname(own, sizeof(own) - 1);
  return name.empty() || name == "localhost" || name == absl::AsciiStrToLower(own);
}

// What Ignite's dataset needs to reach a server, and this one does not: it only has to make sense.
absl::Status CheckConnection(const Environment::Get& get) {
  const auto is_number = [](const Setting& setting, int64_t last) {
    int64_t number;
    return absl::SimpleAtoi(setting.value, &number) && number >= 1 && number <= last;
  };
  const std::optional<Setting> host = FindDataset(get, "HOST"), port = FindDataset(get, "PORT");
  const std::optional<Setting> local = FindDataset(get, "LOCAL"), page_size = FindDataset(get, "PAGE_SIZE");
  if (host.has_value() && !IsThisMachine(host->value))
    return absl::UnimplementedError(
        absl::StrCat(Is(*host), ", and grids of other machines cannot be read: put the grid on this machine, set ",
                     "GRIDFLOW_DATASET_HOME to its directory, and ", host->variable, " to localhost"));
  if (port.has_value() && !is_number(*port, 65535)) return Expected(*port, "a port, 1 to 65535");
  if (page_size.has_value() && !is_number(*page_size, std::numeric_limits<int64_t>::max()))
    return Expected(*page_size, "a number of rows, at least 1");
  if (local.has_value()) {
    const std::string value = absl::AsciiStrToLower(absl::StripAsciiWhitespace(local->value));
    if (value != "true" && value != "false" && value != "1" && value != "0")
      return Expected(*local, "true, false, 1 or 0");
  }
  return absl::OkStatus();
}

fs::path Folder(const std::string& text) {
  const char* user = std::getenv("HOME");
  const bool tilde = (text == "~" || absl::StartsWith(text, "~/")) && user != nullptr;
  std::error_code failed;
  const fs::path path = tilde ? fs::path(user + text.substr(1)) : fs::path(text);
  const fs::path absolute = fs::absolute(path, failed);
  return failed ? path : absolute;
}

bool IsSystem(const CatalogEntry& entry) { return absl::StartsWithIgnoreCase(entry.name, kSystemPrefix); }

// Finds the table of that name; `why` says which variables ask for it.
absl::Status FindTable(const std::string& why, const std::string& name, ReaderOptions* options) {
  Catalog catalog;
  const Status status = Catalog::Read(absl::StrCat(options->directory, "/catalog"), &catalog);
  if (status.code == Code::kNotFound)
    return absl::NotFoundError(absl::StrCat(why, ", and there is no grid at ", options->directory));
  TF_RETURN_IF_ERROR(ToTf(status));
  const CatalogEntry* found = catalog.Find(name);
  if (found == nullptr || IsSystem(*found)) {
    std::vector<std::string> names;
    for (const CatalogEntry& entry : catalog.tables)
      if (!IsSystem(entry)) names.push_back(entry.name);
    std::sort(names.begin(), names.end());  // the catalog has them as they came
    return absl::NotFoundError(absl::StrCat(why, ", and no table ", name, " is in the grid ", options->directory, "; ",
                                            names.empty() ? "it has none" : "there are ", absl::StrJoin(names, ", ")));
  }
  options->table = found->name;
  options->table_id = found->table_id;
  return absl::OkStatus();
}

// Puts the ids that columns have in that table before their names: those of another one were there.
absl::Status FindColumns(const std::string& why, const Schema& schema, ReaderOptions* options) {
  for (std::string& column : options->columns) {
    std::vector<std::string> parts = absl::StrSplit(column, '\x1f');
    if (parts.size() < 2) return absl::OkStatus();  // Leaf::Parse says what is wrong with it
    std::string& name = parts[1];
    std::replace(name.begin(), name.end(), '\0', '\x1f');
    const int found = schema.Find(name);
    if (found < 0) {
      std::vector<std::string> names;
      for (const Column& other : schema.columns) names.push_back(other.type.name);
      return absl::NotFoundError(absl::StrCat(why, ", and table ", options->table, " has no column ", name,
                                              ", which the dataset reads; it has ", absl::StrJoin(names, ", ")));
    }
    column = absl::StrCat(schema.columns[found].id, column.substr(column.find_first_of(" \x1f")));
  }
  return absl::OkStatus();
}

}  // namespace

Environment Environment::Read(const Get& get) {
  Environment found;
  found.server_status = CheckConnection(get);
  found.home = FindDataset(get, "HOME");
  found.default_home = Find(get, "GRIDFLOW_HOME");
  found.table = FindDataset(get, "TABLE", "CACHE_NAME");
  found.part = FindDataset(get, "PART");
  if (found.part.has_value()) found.part_status = ParsePart(*found.part, &found.partitions);
  return found;
}

absl::Status Environment::Apply(ReaderOptions* options) const {
  std::vector<std::string> why;  // it is another table
  const std::optional<Setting>& place = home.has_value() ? home : default_home;
  if (options->default_grid) TF_RETURN_IF_ERROR(server_status);
  if (options->default_grid && place.has_value()) {
    const fs::path folder = Folder(place->value);
    std::error_code missing;
    // Mostly it is the same one: then the dataset goes on with the very table that it was made for.
    if (!fs::equivalent(folder, options->directory, missing)) {
      options->directory = folder.string();
      why.push_back(Is(*place));
    }
  }
  const bool other_table = options->default_table && table.has_value();
  const bool other_part = options->default_partitions && part.has_value();
  if (other_table) why.push_back(Is(*table));
  const std::string reason = absl::StrJoin(why, " and ");
  if (!why.empty() && options->version != TableSnapshot::kCurrent)
    return absl::InvalidArgumentError(absl::StrCat(reason, ", but the dataset reads version ", options->version,
                                                   " of table ", options->table, ": make it without version="));
  if (!why.empty()) TF_RETURN_IF_ERROR(FindTable(reason, other_table ? table->value : options->table, options));
  if (why.empty() && !other_part) return absl::OkStatus();
  if (other_part) TF_RETURN_IF_ERROR(part_status);
  Manifest manifest;
  const std::string folder = TableFolder(options->directory, static_cast<uint32_t>(options->table_id));
  const Status status = Manifest::Read(folder + "/manifest", &manifest);
  if (status.code == Code::kNotFound) return absl::OkStatus();  // TableReader::Open says that it is gone
  TF_RETURN_IF_ERROR(ToTf(status));
  if (!why.empty()) TF_RETURN_IF_ERROR(FindColumns(reason, manifest.schema, options));
  for (size_t i = 0; other_part && i < partitions.size(); i += 2)
    if (partitions[i] < 0 || partitions[i + 1] > manifest.partitions)
      return absl::InvalidArgumentError(absl::StrCat(Is(*part), ", and table ", options->table, " has partitions 0 to ",
                                                     manifest.partitions - 1));
  if (other_part) options->partitions = partitions;
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
