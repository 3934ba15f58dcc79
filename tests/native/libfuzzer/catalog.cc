// Catalogs: a frame whose checksums are made to fit, and changes that follow it, as they are.
#include "core/catalog.h"
#include "native/libfuzzer/target.h"

std::vector<std::string> Seeds() {
  gridflow::Catalog catalog;
  for (uint32_t i = 0; i < 6; ++i)
    catalog.tables.push_back({catalog.next_table_id++, "TABLE" + std::to_string(i), "{\"cache_name\": \"X\"}"});
  const std::string path = Place() / "catalog";
  CHECK_OK(catalog.Write(path, false));
  std::vector<std::string> seeds = {test::ReadFile(path)};
  for (uint8_t kind : {GF_CHANGE_TAG, GF_CHANGE_PUT, GF_CHANGE_REMOVE}) {
    const gridflow::CatalogChange change = {++catalog.version, catalog.next_table_id, kind, catalog.tables[kind], "v", 3};
    CHECK_OK(gridflow::Catalog::Append(path, change, false, &catalog.end));
    seeds.push_back(test::ReadFile(path));
  }
  return seeds;
}

void Take(std::string input) {
  const std::string path = Place() / "catalog";
  for (bool sealed : {false, true}) {
    if (sealed) test::ResealFrame(&input);
    test::WriteFile(path, input);
    gridflow::Catalog catalog;
    if (!gridflow::Catalog::Read(path, &catalog).ok()) continue;
    for (const gridflow::CatalogEntry& entry : catalog.tables) CHECK(catalog.Find(entry.name) == &entry);
    catalog.Find("SQL_PUBLIC_TABLE1");
    if (catalog.end == 0) continue;
    // The next change comes after what is intact, and both are read then.
    const size_t tables = catalog.tables.size();
    gridflow::CatalogChange change = {catalog.version + 1, catalog.next_table_id + 1, GF_CHANGE_PUT, {}, "", 0};
    change.entry = {catalog.next_table_id, "a name that no seed has", "{}"};
    if (catalog.next_table_id == 0 || catalog.next_table_id + 1 == 0 || catalog.Find(change.entry.name) != nullptr) continue;
    CHECK_OK(gridflow::Catalog::Append(path, change, false, &catalog.end));
    CHECK_OK(gridflow::Catalog::Read(path, &catalog));
    CHECK_EQ(catalog.tables.size(), tables + 1);
  }
}
