// Each invariant of manifests: a sound one passes, and one that breaks it is named.
#include "core/manifest_invariants.h"

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>

#include "core/check.h"
#include "gridflow/segment_format.h"
#include "native/files.h"
#include "native/grid.h"
#include "native/test.h"

using gridflow::BrokenInvariant;
using gridflow::BrokenSuccession;
using gridflow::Manifest;

// Two segments, of which one has deleted rows.
Manifest Sound() {
  Manifest manifest;
  manifest.table_id = 3;
  manifest.partitions = 1024;
  manifest.version = 5;
  manifest.flushed_lsn = 100;
  manifest.next_file_id = 9;
  manifest.schema = test::PlainSchema();
  manifest.segments = {{2, 7, 10, 4, 3}, {5, 0, 20, 0, 0}};  // segment_id, deletions_id, rows, deleted, bitmap_id
  return manifest;
}

// The next version: more rows of the first segment are deleted, the second was merged into another.
Manifest Later() {
  Manifest manifest = Sound();
  manifest.version = 6;
  manifest.flushed_lsn = 120;
  manifest.next_file_id = 11;
  manifest.segments = {{2, 10, 10, 5, 3}, {9, 0, 30, 0, 0}};
  return manifest;
}

bool Names(const std::string& broken, const std::string& name) { return broken.rfind(name + " does not hold: ", 0) == 0; }

TEST(a_manifest_that_breaks_an_invariant_is_named) {
  CHECK_EQ(BrokenInvariant(Sound()), "");
  CHECK_EQ(BrokenInvariant(Later()), "");
  const std::map<std::string, std::function<void(Manifest*)>> breaks = {
      {"has_partitions", [](Manifest* m) { m->partitions = 0; }},
      {"segments_have_rows", [](Manifest* m) { m->segments[1].rows = 0; }},
      {"deleted_rows_are_rows", [](Manifest* m) { m->segments[0].deleted = 11; }},
      {"bitmaps_where_rows_are_deleted", [](Manifest* m) { m->segments[1].deleted = 1; }},
      {"file_ids_below_next", [](Manifest* m) { m->segments[1].segment_id = 9; }},
      {"segments_once", [](Manifest* m) { m->segments[1].segment_id = 2; }},
      {"segment_ids_rise", [](Manifest* m) { std::swap(m->segments[0], m->segments[1]); }},
      {"bitmaps_after_their_segments", [](Manifest* m) { m->segments[0].deletions_id = 1; }},
  };
  const std::string file = "manifest";
  for (const gridflow::ManifestInvariant& invariant : gridflow::ManifestInvariants()) {
    CHECK(breaks.count(invariant.name) > 0);
    Manifest bad = Sound();
    breaks.at(invariant.name)(&bad);
    CHECK(!invariant.holds(bad));
    CHECK(Names(BrokenInvariant(bad), invariant.name));
    CHECK_CODE(gridflow::VerifyManifest(file, bad, nullptr), kCorrupt);
    // Whoever opens it is told, too, where a reader relies on it.
    const test::Folder folder;
    CHECK_OK(bad.Write(folder / file, false));
    Manifest read;
    const gridflow::Status status = Manifest::Read(folder / file, &read);
    CHECK_EQ(status.ok(), !invariant.to_read);
    CHECK_EQ(status.message.find(invariant.name) != std::string::npos, invariant.to_read);
  }
  CHECK_EQ(breaks.size(), gridflow::ManifestInvariants().size());
  Manifest bad = Sound();
  bad.segments[0].rows = GF_MAX_SEGMENT_ROWS + 1ull;
  CHECK(Names(BrokenInvariant(bad), "segments_have_rows"));
  bad = Sound();
  bad.segments[0].deletions_id = 9;
  CHECK(Names(BrokenInvariant(bad), "file_ids_below_next"));
  bad = Sound();
  bad.segments[0].bitmap_id = 9;
  CHECK(Names(BrokenInvariant(bad), "file_ids_below_next"));
  bad = Sound();
  bad.segments[0].deleted = 0;
  CHECK(Names(BrokenInvariant(bad), "bitmaps_where_rows_are_deleted"));
  bad = Sound();
  bad.segments[1].bitmap_id = 6;
  CHECK(Names(BrokenInvariant(bad), "bitmaps_where_rows_are_deleted"));
  for (const uint64_t id : {1u, 7u, 8u}) {  // its segment has id 2, what adds to it has id 7
    bad = Sound();
    bad.segments[0].bitmap_id = id;
    CHECK(Names(BrokenInvariant(bad), "bitmaps_after_their_segments"));
  }
}

TEST(a_version_that_does_not_follow_from_the_one_before_is_named) {
  CHECK_EQ(BrokenSuccession(Sound(), Later(), true), "");
  const std::map<std::string, std::function<void(Manifest*)>> breaks = {
      {"same_table", [](Manifest* m) { m->table_id = 4; }},
      {"version_rises", [](Manifest* m) { m->version = 5; }},
      {"version_rises_by_one", [](Manifest* m) { m->version = 7; }},
      {"flushed_lsn_never_falls", [](Manifest* m) { m->flushed_lsn = 99; }},
      {"next_file_id_never_falls", [](Manifest* m) { m->next_file_id = 8; }},
      {"new_files_have_new_ids", [](Manifest* m) { m->segments[1].segment_id = 6; }},
      {"segments_stay_sealed", [](Manifest* m) { m->segments[0].deleted = 3; }},
      {"key_stays", [](Manifest* m) { m->schema.columns[0].id = 77; }},
  };
  for (const gridflow::SuccessionInvariant& invariant : gridflow::SuccessionInvariants()) {
    CHECK(breaks.count(invariant.name) > 0);
    Manifest bad = Later();
    breaks.at(invariant.name)(&bad);
    CHECK(!invariant.holds(Sound(), bad));
    CHECK(Names(BrokenSuccession(Sound(), bad, true), invariant.name));
    CHECK_EQ(BrokenSuccession(Sound(), bad).empty(), invariant.next);
    const Manifest before = Sound();
    CHECK_EQ(gridflow::VerifyManifest("manifest", before, &bad).ok(), invariant.next);
  }
  CHECK_EQ(breaks.size(), gridflow::SuccessionInvariants().size());
  Manifest bad = Later();
  bad.segments[0].bitmap_id = 4;
  CHECK(Names(BrokenSuccession(Sound(), bad, true), "new_files_have_new_ids"));
  bad.segments[0].bitmap_id = 7;  // a bitmap of the version before
  CHECK_EQ(BrokenSuccession(Sound(), bad, true), "");
}

// The signal that ends a process which does this; 0 if it lives.
int SignalOf(const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::fclose(stderr);
    action();
    ::_exit(0);
  }
  int status = 0;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(a_commit_that_breaks_an_invariant_ends_the_process) {
  test::Random random(1);
  test::Grid grid(test::PlainSchema());
  auto commit = [&](uint64_t lsn) {
    const auto memory = grid.Changes(&random, 5, nullptr);
    gridflow::TableEdit edit(grid.table, grid.version, false, 1);
    CHECK_OK(edit.AddMemory(*memory));
    test::Version next;
    CHECK_OK(edit.Commit(lsn, &next));
    grid.version = next;
  };
  commit(50);
  CHECK_EQ(SignalOf([&] { commit(50); }), 0);
  CHECK_EQ(SignalOf([&] { commit(49); }), SIGABRT);
}

TEST(a_check_runs_where_asserts_are_on) {
  CHECK_EQ(SignalOf([] { GF_DCHECK(1 + 1 == 2); }), 0);
  CHECK_EQ(SignalOf([] { GF_DCHECK(1 + 1 == 3); }), SIGABRT);
  CHECK_EQ(SignalOf([] { GF_DCHECK_HOLDS(std::string()); }), 0);
  CHECK_EQ(SignalOf([] { GF_DCHECK_HOLDS(std::string("broken")); }), SIGABRT);
}
