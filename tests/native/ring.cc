// Rings: each request gets its own answer, whoever waits; what a hostile client writes is refused and touches nothing else.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "core/failpoint.h"
#include "core/log_sync.h"
#include "core/ring_checksum.h"
#include "core/ring_client.h"
#include "core/ring_owner.h"
#include "native/files.h"
#include "native/test.h"

namespace {

using gridflow::Code;
using gridflow::DiscardRing;
using gridflow::LogFile;
using gridflow::LogSync;
using gridflow::OwnerRing;
using gridflow::RingAnswer;
using gridflow::RingClient;
using gridflow::RingRequest;
using gridflow::RingSet;
using gridflow::SharedMemory;
using gridflow::Status;

constexpr size_t kFileBytes = GF_RING_HEADER_BYTES + GF_RING_CAPACITY;
constexpr int64_t kLong = 60'000'000'000;

// An owner's set with a client's ring in it.
struct Pair {
  Pair() {
    CHECK_OK(RingSet::Create(folder / "bell", &set));
    CHECK_OK(RingClient::Create(folder / "one", folder / "bell", &client));
    CHECK_OK(OwnerRing::Open(folder / "one", &ring));
    set->Add(ring);
  }

  test::Folder folder;
  std::unique_ptr<RingSet> set;
  std::unique_ptr<RingClient> client;
  std::shared_ptr<OwnerRing> ring;
};

// Answers each request with its own bytes turned round, until one says "end".
void Serve(RingSet* set) {
  for (bool end = false; !end;) {
    set->Wait();
    for (const auto& ring : set->rings()) {
      RingRequest request;
      bool there = true;
      for (;;) {
        CHECK_OK(ring->Next(&request, &there));
        if (!there) break;
        end |= request.bytes == "end";
        const size_t bytes = std::min(request.bytes.size(), OwnerRing::kLeastAnswer);
        ring->Answer(request, GF_RING_DONE, request.bytes.size(), std::string(request.bytes.rbegin(), request.bytes.rbegin() + bytes));
      }
    }
  }
}

RingAnswer Ask(RingClient* client, const std::string& head, const std::string& body) {
  uint64_t ticket;
  while (!client->Send(GF_RING_MESSAGE, head.data(), head.size(), body.data(), body.size(), &ticket))
    client->AwaitRoom(1'000'000);
  while (!client->Await(ticket, kLong)) {
  }
  RingAnswer answer;
  client->Take(ticket, &answer);
  return answer;
}

TEST(ManyThreadsAskAndEachGetsItsAnswer) {
  Pair pair;
  std::thread owner(Serve, pair.set.get());
  std::vector<std::thread> threads;
  for (int number = 0; number < 6; ++number)
    threads.emplace_back([&pair, number] {
      std::mt19937 random(number);
      for (int i = 0; i < 2000; ++i) {
        const std::string head = std::to_string(number) + ":" + std::to_string(i) + ":";
        const size_t most = i % 50 == 0 ? RingClient::kMostBytes - head.size() : 600;
        const std::string body(random() % (most + 1), static_cast<char>('a' + number));
        const RingAnswer answer = Ask(pair.client.get(), head, body);
        const std::string whole = head + body;
        CHECK_EQ(answer.count, whole.size());
        const size_t bytes = std::min(whole.size(), OwnerRing::kLeastAnswer);
        CHECK_EQ(answer.bytes, std::string(whole.rbegin(), whole.rbegin() + bytes));
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(pair.client->waiting(), 0u);
  Ask(pair.client.get(), "end", "");
  owner.join();
}

TEST(TheOwnerSleepsAndIsWoken) {
  Pair pair;
  std::thread owner(Serve, pair.set.get());
  for (int i = 0; i < 20; ++i) {
    CHECK_EQ(Ask(pair.client.get(), "one", "").bytes, "eno");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // so that both sleep, mostly
  }
  Ask(pair.client.get(), "end", "");
  owner.join();
}

TEST(AFullRingTakesNothingUntilRoomComesBack) {
  Pair pair;
  std::vector<uint64_t> tickets;
  uint64_t ticket;
  while (pair.client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket)) tickets.push_back(ticket);
  CHECK_EQ(tickets.size(), GF_RING_CAPACITY / GF_RING_LEAST_ROOM);
  CHECK_EQ(pair.client->waiting(), tickets.size());
  pair.client->AwaitRoom(1'000'000);
  CHECK(!pair.client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket));
  std::vector<RingRequest> requests(tickets.size());
  bool there = false;
  for (RingRequest& request : requests) CHECK_OK(pair.ring->Next(&request, &there));
  // Answers may come in any order: room comes back from the oldest on.
  for (size_t i = requests.size(); i-- > 0;) pair.ring->Answer(requests[i], GF_RING_DONE, i, "");
  RingAnswer answer;
  CHECK(pair.client->Await(tickets[1], kLong));
  pair.client->Take(tickets[1], &answer);
  CHECK_EQ(answer.count, 1u);
  CHECK(!pair.client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket));
  pair.client->Abandon(tickets[0]);  // whose thread was interrupted
  CHECK(pair.client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket));
  CHECK_EQ(pair.client->waiting(), tickets.size() - 1);
}

TEST(AClosedRingSaysWhy) {
  Pair pair;
  CHECK_EQ(pair.client->closed(), static_cast<uint32_t>(GF_RING_OPEN));
  pair.ring->Close(GF_RING_STOPPED, "the node stops");
  CHECK_EQ(pair.client->closed(), static_cast<uint32_t>(GF_RING_STOPPED));
  CHECK_EQ(pair.client->reason(), "the node stops");
  pair.ring->Close(GF_RING_REFUSED, std::string(5000, 'x'));
  CHECK_EQ(pair.client->reason().size(), sizeof(gf_ring_header::reason) - 1);
  DiscardRing(pair.folder / "one");
  CHECK_EQ(pair.client->closed(), static_cast<uint32_t>(GF_RING_LOST));
  CHECK(!std::filesystem::exists(pair.folder / "one"));
  CHECK(!pair.ring->left());
  pair.client->Leave();
  CHECK(pair.ring->left() && pair.ring->ready());
}

TEST(WhatIsNoRingIsRefused) {
  test::Folder folder;
  std::shared_ptr<OwnerRing> ring;
  CHECK_CODE(OwnerRing::Open(folder / "none", &ring), kNotFound);
  test::WriteFile(folder / "zeros", std::string(kFileBytes, '\0'));
  CHECK_CODE(OwnerRing::Open(folder / "zeros", &ring), kCorrupt);
  test::WriteFile(folder / "short", "abc");
  CHECK_CODE(OwnerRing::Open(folder / "short", &ring), kCorrupt);
  CHECK_EQ(::truncate((folder / "short").c_str(), kFileBytes), 0);  // a hole: touching it could be a signal
  CHECK_CODE(OwnerRing::Open(folder / "short", &ring), kCorrupt);
  std::filesystem::create_symlink(folder / "zeros", folder / "link");
  CHECK(!OwnerRing::Open(folder / "link", &ring).ok());
  CHECK_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  CHECK_CODE(OwnerRing::Open(folder / "fifo", &ring), kCorrupt);
  CHECK_CODE(OwnerRing::Open(folder.path(), &ring), kInternal);
  std::unique_ptr<RingSet> set;
  std::unique_ptr<RingClient> client;
  CHECK_CODE(RingClient::Create(folder / "one", folder / "bell", &client), kNotFound);
  CHECK_OK(RingSet::Create(folder / "bell", &set));
  CHECK_OK(RingClient::Create(folder / "one", folder / "bell", &client));
  std::string bytes = test::ReadFile(folder / "one");
  bytes[8] = GF_RING_VERSION + 1;
  test::WriteFile(folder / "two", bytes);
  CHECK_CODE(OwnerRing::Open(folder / "two", &ring), kVersion);
}

// Writes a record and publishes `published` bytes, as a client would that does not know how.
void Forge(const std::string& path, gf_ring_record record, const std::string& request, uint64_t published, bool seal) {
  std::unique_ptr<SharedMemory> memory;
  CHECK_OK(SharedMemory::Open(path, kFileBytes, &memory));
  if (seal) record.crc = gridflow::RingChecksum(record, request.data());
  std::memcpy(memory->data() + GF_RING_HEADER_BYTES, &record, sizeof(record));
  std::memcpy(memory->data() + GF_RING_HEADER_BYTES + sizeof(record), request.data(), request.size());
  __atomic_store_n(&reinterpret_cast<gf_ring_header*>(memory->data())->head, published, __ATOMIC_RELEASE);
}

TEST(LyingLengthsAreRefused) {
  struct Lie {
    uint32_t room, kind, bytes;
    uint64_t published;
  };
  const uint32_t kMessage = GF_RING_MESSAGE;
  for (const Lie& lie : {Lie{512, kMessage, 481, 512}, Lie{512, kMessage, 0xFFFFFFFF, 512}, Lie{500, kMessage, 3, 512},
                         Lie{0, kMessage, 0, 512}, Lie{16, kMessage, 0, 512}, Lie{1024, kMessage, 3, 512},
                         Lie{64, kMessage, 3, 64}, Lie{128 << 10, kMessage, 3, 128 << 10}, Lie{512, 4, 3, 512},
                         Lie{512, GF_RING_DONE, 3, 512}, Lie{512, GF_RING_SKIP, 3, 512}, Lie{512, kMessage, 3, 3},
                         Lie{512, kMessage, 3, GF_RING_CAPACITY + 64}, Lie{512, kMessage, 3, ~0ull}}) {
    Pair pair;
    gf_ring_record record = {};
    record.state = GF_RING_ASKED;
    record.room = lie.room;
    record.kind = lie.kind;
    record.bytes = lie.bytes;
    std::string request(lie.bytes < 4096 ? lie.bytes : 0, 'x');
    Forge(pair.folder / "one", record, request, lie.published, lie.bytes < 4096);
    RingRequest out;
    bool there = true;
    CHECK_CODE(pair.ring->Next(&out, &there), kInvalid);
    CHECK(!there);
  }
  Pair pair;
  gf_ring_record record = {GF_RING_ASKED, 512, GF_RING_MESSAGE, 3, 0, 12345, 0};
  Forge(pair.folder / "one", record, "abc", 512, false);
  RingRequest out;
  bool there = true;
  CHECK_CODE(pair.ring->Next(&out, &there), kInvalid);
  Forge(pair.folder / "one", record, "abc", 512, true);
  CHECK_OK(pair.ring->Next(&out, &there));
  CHECK(there && out.bytes == "abc");
}

TEST(RandomBytesHurtNobodyAndAreChangedWhileTheyAreRead) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    test::Context() = "round " + std::to_string(round);
    Pair pair;
    std::unique_ptr<SharedMemory> memory;
    CHECK_OK(SharedMemory::Open(pair.folder / "one", kFileBytes, &memory));
    std::atomic<bool> over{false};
    auto* header = reinterpret_cast<gf_ring_header*>(memory->data());
    std::thread hostile([&] {
      std::mt19937 mine(round);
      while (!over) {
        auto* words = reinterpret_cast<uint32_t*>(memory->data() + GF_RING_HEADER_BYTES);
        const uint32_t value[] = {512, 3, 2, 1, static_cast<uint32_t>(mine()), 64, 480, 0xFFFFFFFF};
        __atomic_store_n(&words[mine() % 256], value[mine() % 8], __ATOMIC_RELAXED);
        __atomic_store_n(&header->head, 64ull * (mine() % 5000), __ATOMIC_RELAXED);
      }
    });
    RingRequest request;
    bool there = true;
    for (int i = 0; i < 200; ++i) {
      if (!pair.ring->Next(&request, &there).ok()) break;
      if (!there) continue;
      CHECK(request.bytes.size() <= request.room - sizeof(gf_ring_record));
      CHECK(GF_RING_HEADER_BYTES + request.at + request.room <= kFileBytes);
      pair.ring->Answer(request, GF_RING_ERROR, 0, std::string(OwnerRing::kLeastAnswer, 'e'));
    }
    over = true;
    hostile.join();
  }
}

TEST(ADeadClientLetsGoOfItsRing) {
  test::Folder folder;
  std::unique_ptr<RingSet> set;
  CHECK_OK(RingSet::Create(folder / "bell", &set));
  int ready[2], end[2];
  CHECK_EQ(::pipe(ready), 0);
  CHECK_EQ(::pipe(end), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::unique_ptr<RingClient> client;
    uint64_t ticket;
    if (!RingClient::Create(folder / "one", folder / "bell", &client).ok()) ::_exit(1);
    client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket);
    if (::fork() == 0) {  // a child of the client does not keep its ring
      char byte;
      ::close(end[1]);
      ::_exit(static_cast<int>(::read(end[0], &byte, 1)));
    }
    if (::write(ready[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte;
  CHECK_EQ(::read(ready[0], &byte, 1), 1);
  std::shared_ptr<OwnerRing> ring;
  CHECK_OK(OwnerRing::Open(folder / "one", &ring));
  pid_t holder = 0;
  CHECK_OK(ring->Holder(&holder));
  CHECK_EQ(holder, child);
  ::kill(child, SIGKILL);
  CHECK_EQ(::waitpid(child, nullptr, 0), child);
  CHECK_OK(ring->Holder(&holder));
  CHECK_EQ(holder, -1);
  RingRequest request;
  bool there = false;
  CHECK_OK(ring->Next(&request, &there));
  CHECK(there && request.bytes == "abc");
  ring->Answer(request, GF_RING_DONE, 1, "");  // which nobody reads
  ::close(end[1]);
}

TEST(AnAnnouncementWakesTheOwnerBeforeTheRequest) {
  Pair pair;
  pair.set->Wait();  // Add() has woken it
  std::atomic<bool> awake{false};
  std::thread owner([&] {
    pair.set->Wait();
    awake = true;
  });
  while (!awake) pair.client->Announce();  // the thread may not sleep yet
  owner.join();
  CHECK(!pair.ring->ready());
  uint64_t ticket;
  CHECK(pair.client->Send(GF_RING_MESSAGE, "abc", 3, nullptr, 0, &ticket));
  pair.set->Wait();
  CHECK(pair.ring->ready());
}

TEST(TheOwnerWakesItselfWhateverTheBellSays) {
  Pair pair;
  pair.set->Wait();  // Add() has woken it
  std::unique_ptr<SharedMemory> memory;
  CHECK_OK(SharedMemory::Open(pair.folder / "bell", GF_RING_HEADER_BYTES, &memory));
  auto* bell = reinterpret_cast<gf_ring_bell*>(memory->data());
  std::thread owner([&] { pair.set->Wait(); });
  while (__atomic_load_n(&bell->asleep, __ATOMIC_SEQ_CST) == 0) std::this_thread::yield();
  __atomic_store_n(&bell->asleep, 0, __ATOMIC_SEQ_CST);  // as a client may write
  pair.set->Wake();
  owner.join();
}

TEST(AnOwnerOfAnotherPidNamespaceMayHaveOurPid) {
  test::Folder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    std::unique_ptr<RingSet> set;
    ::_exit(RingSet::Create(folder / "bell", &set).ok() ? 0 : 1);
  }
  int status = 1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  std::unique_ptr<RingClient> client;
  CHECK_OK(RingClient::Create(folder / "one", folder / "bell", &client));
  CHECK(!client->OwnerLives());
  std::unique_ptr<SharedMemory> memory;
  CHECK_OK(SharedMemory::Open(folder / "bell", GF_RING_HEADER_BYTES, &memory));
  auto* bell = reinterpret_cast<gf_ring_bell*>(memory->data());
  bell->pid = static_cast<uint32_t>(::getpid());
  CHECK(client->OwnerLives());  // this would be ourselves
  bell->pid_namespace += 1;
  CHECK(!client->OwnerLives());
}

TEST(OneSyncServesManyRecords) {
  test::Folder folder;
  std::shared_ptr<LogFile> log;
  CHECK_OK(LogFile::Create(folder.path(), 1, 100, false, &log));
  LogSync sync;
  std::mutex appending;
  uint64_t lsn = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        uint64_t mine;
        {
          std::lock_guard<std::mutex> lock(appending);
          bool fits = false;
          CHECK_OK(log->Reserve(8, &fits));
          CHECK(fits);
          const uint64_t before = log->tail();
          mine = ++lsn;
          log->Append(mine, "12345678", 8, nullptr, 0);
          sync.Appended(log, before, log->tail(), mine);
        }
        CHECK_OK(sync.Wait(mine));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(AFailedSyncIsThatOfItsOwnRecords) {
  test::Folder folder;
  std::shared_ptr<LogFile> log;
  CHECK_OK(LogFile::Create(folder.path(), 1, 100, false, &log));
  LogSync sync;
  for (uint64_t lsn = 1; lsn <= 4; ++lsn) {
    const uint64_t before = log->tail();
    log->Append(lsn, "12345678", 8, nullptr, 0);
    sync.Appended(log, before, log->tail(), lsn);
    if (lsn == 3) CHECK_OK(gridflow::ProcessFailpoints().Set("log.sync=io"));
    if (lsn == 3) CHECK_CODE(sync.Wait(lsn), kInternal);
    if (lsn == 1 || lsn == 4) CHECK_OK(sync.Wait(lsn));
  }
  CHECK_CODE(sync.Wait(2), kInternal);  // the same sync was to make it last
  CHECK_CODE(sync.Wait(3), kInternal);  // a later one that succeeds says nothing of it
  CHECK_OK(sync.Wait(1));
}

}  // namespace
