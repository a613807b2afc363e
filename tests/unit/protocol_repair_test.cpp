// Applying a redo area after a death, and refusing one that no holder writes: protocol/repair.hpp.
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <string_view>

#include "atoll/protocol/repair.hpp"

using namespace atoll_ipc::protocol;

namespace {

constexpr std::uint64_t kCursor = offsetof(GroupFile, lanes);
constexpr std::uint64_t kNext = kCursor + offsetof(LanePosition, next);
constexpr std::uint64_t kFirstClaim = offsetof(GroupFile, claims);

// A group whose holder is about to store cursor 96, next 192 and a claim's first word.
std::unique_ptr<GroupFile> group_with_redo(std::uint32_t count) {
  auto group = std::make_unique<GroupFile>();
  group->redo.entries[0] = {kCursor, 96};
  group->redo.entries[1] = {kNext, 192};
  group->redo.entries[2] = {kFirstClaim, 0x0000000300050001ull};
  group->redo.count.store_release(count);
  return group;
}

bool all_done(const GroupFile& group) {
  return group.lanes[0].cursor.load_relaxed() == 96 && group.lanes[0].next.load_relaxed() == 192 &&
         group.claims[0].state.load_relaxed() == 1 && group.claims[0].slot.load_relaxed() == 5 &&
         group.claims[0].slot_generation.load_relaxed() == 3 && group.redo.count.load_relaxed() == 0;
}

}  // namespace

TEST_CASE("a holder that died before the redo's count has changed nothing") {
  const auto group = group_with_redo(0);
  CHECK(repair_group(*group) == Repaired::nothing_to_do);
  CHECK(group->lanes[0].cursor.load_relaxed() == 0);
}

TEST_CASE("a holder that died after any number of its stores leaves the same as one that did all") {
  for (int stored = 0; stored <= 3; ++stored) {
    const auto group = group_with_redo(3);
    for (int i = 0; i < stored; ++i)
      reinterpret_cast<Word64*>(reinterpret_cast<std::byte*>(group.get()) + group->redo.entries[i].offset)->store_release(group->redo.entries[i].value);
    CHECK(repair_group(*group) == Repaired::applied);
    CHECK(all_done(*group));
  }
}

TEST_CASE("repairing twice is the same as once, also if the first repairer died on the way") {
  const auto group = group_with_redo(3);
  CHECK(repair_group(*group) == Repaired::applied);
  group->redo.count.store_release(3);  // as if it had died just before this store
  CHECK(repair_group(*group) == Repaired::applied);
  CHECK(all_done(*group));
  CHECK(repair_group(*group) == Repaired::nothing_to_do);
}

TEST_CASE("a redo that names a place outside the group's own words is damage and stores nothing") {
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{136}, std::uint64_t{offsetof(GroupFile, returned)} - 8,
                                     std::uint64_t{offsetof(GroupFile, lock)}, std::uint64_t{offsetof(GroupFile, redo)}, kCursor - 8, kCursor + 4, kCursor + 1,
                                     std::uint64_t{sizeof(GroupFile)}, std::uint64_t{sizeof(GroupFile)} - 4, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    INFO(offset);
    const auto group = group_with_redo(3);
    group->redo.entries[2].offset = offset;
    CHECK(repair_group(*group) == Repaired::damaged);
    CHECK(group->lanes[0].cursor.load_relaxed() == 0);
  }
}

TEST_CASE("a redo of more entries than there is room for is damage") {
  for (const std::uint32_t count : {kRedoMax + 1, 0xffffffffu}) CHECK(repair_group(*group_with_redo(count)) == Repaired::damaged);
}

TEST_CASE("a redo may name the last word of the file") {
  const auto group = std::make_unique<GroupFile>();
  group->redo.entries[0] = {sizeof(GroupFile) - 8, 7};
  group->redo.count.store_release(1);
  CHECK(repair_group(*group) == Repaired::applied);
}

// ---- Bytes -----------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t kSize = 4096;
constexpr std::uint64_t kPut = 4096;
constexpr std::uint64_t kStaging = 8192;

struct BytesSegment {
  struct alignas(4096) File {
    std::byte bytes[12288];
  };
  std::unique_ptr<File> file = std::make_unique<File>();
  [[nodiscard]] BytesHeader& header() { return *reinterpret_cast<BytesHeader*>(file->bytes); }
  void text(std::uint64_t offset, std::string_view text) { std::memcpy(file->bytes + offset, text.data(), text.size()); }
  [[nodiscard]] std::string_view content() {
    return {reinterpret_cast<const char*>(file->bytes + kPageSize), static_cast<std::size_t>(header().length.load_relaxed())};
  }
  Repaired repair() { return repair_bytes(header(), kSize, kPut, kStaging); }

  // "old", version 1, is there; "newer" is staged and named by the redo.
  explicit BytesSegment(std::uint32_t count) {
    header().length.store_relaxed(3);
    header().version.store_relaxed(1);
    header().change.store_relaxed(2);
    text(kPageSize, "old");
    text(kStaging, "newer");
    header().redo.copy_length = 5;
    header().redo.entries[0] = {offsetof(BytesHeader, length), 5};
    header().redo.entries[1] = {offsetof(BytesHeader, version), 2};
    header().redo.count.store_release(count);
  }
};

}  // namespace

TEST_CASE("a putter that died before the redo's count leaves the old content") {
  BytesSegment segment(0);
  CHECK(segment.repair() == Repaired::nothing_to_do);
  CHECK(segment.content() == "old");
  CHECK(segment.header().change.load_relaxed() == 2);
}

TEST_CASE("a putter that died after the redo's count leaves the new content, and the counter even") {
  for (int step = 0; step < 5; ++step) {
    INFO(step);
    BytesSegment segment(2);
    if (step >= 1) segment.header().change.store_relaxed(3);
    if (step >= 2) segment.text(kPageSize, "ne");
    if (step >= 3) segment.text(kPageSize, "newer");
    if (step >= 4) segment.header().length.store_relaxed(5);
    CHECK(segment.repair() == Repaired::applied);
    CHECK(segment.content() == "newer");
    CHECK(segment.header().version.load_relaxed() == 2);
    CHECK(segment.header().change.load_relaxed() == 4);
    CHECK(segment.repair() == Repaired::nothing_to_do);
  }
}

TEST_CASE("a putter that died with only the counter still odd has put, and the counter becomes even") {
  BytesSegment segment(0);
  segment.header().change.store_relaxed(3);
  CHECK(segment.repair() == Repaired::applied);
  CHECK(segment.header().change.load_relaxed() == 4);
}

TEST_CASE("a redo that copies more than segment or staging hold is damage and copies nothing") {
  for (const std::uint64_t length : {kSize + 1, ~std::uint64_t{0}}) {
    BytesSegment segment(2);
    segment.header().redo.copy_length = length;
    CHECK(segment.repair() == Repaired::damaged);
    CHECK(segment.content() == "old");
  }
}

TEST_CASE("a put's redo may name length and version only") {
  for (const std::uint64_t offset : {std::uint64_t{offsetof(BytesHeader, put_size)}, std::uint64_t{offsetof(BytesHeader, change)}, std::uint64_t{664},
                                     std::uint64_t{4096}, std::uint64_t{649}}) {
    BytesSegment segment(2);
    segment.header().redo.entries[1].offset = offset;
    CHECK(segment.repair() == Repaired::damaged);
    CHECK(segment.content() == "old");
    CHECK(segment.header().version.load_relaxed() == 1);
  }
}
