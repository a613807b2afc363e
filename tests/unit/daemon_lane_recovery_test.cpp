// Settling lanes without a producer: every state that a death can leave, and damage.
#include <catch2/catch.hpp>
#include <cstring>

#include "lane_recovery.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::protocol;
using namespace atoll_ipc::daemon;

namespace {

constexpr RingGeometry kGeometry{4096, 12, 16};

struct TestLane {
  alignas(4096) std::byte file[kPageSize + 4096] = {};
  LaneHeader& header() { return *reinterpret_cast<LaneHeader*>(file); }
  RecordHeader& at(std::uint64_t position) { return *reinterpret_cast<RecordHeader*>(file + kPageSize + position % 4096); }
  void put(std::uint64_t position, RecordState state, std::uint32_t length, std::uint32_t sequence) {
    RecordHeader& record = at(position);
    record.length = length;
    record.sequence = sequence;
    record.commit.raw = commit_word(state, position, 12);
  }
  SettledLane settle() { return settle_lane(file, kGeometry); }
};

}  // namespace

TEST_CASE("a lane that nobody ever wrote settles at its beginning") {
  TestLane lane;
  const auto settled = lane.settle();
  CHECK_FALSE(settled.damaged);
  CHECK(settled.tail == 0);
  CHECK(lane.header().limit.raw == kRecordHeaderSize);
}

TEST_CASE("open loans become aborted, in any order among committed records, and settling twice changes nothing") {
  TestLane lane;
  lane.header().limit.raw = 1024;
  lane.put(0, RecordState::claimed, 16, 0);
  lane.put(32, RecordState::committed, 16, 1);
  lane.put(64, RecordState::claimed, 1, 2);
  for (int i = 0; i < 2; ++i) {
    const auto settled = lane.settle();
    CHECK_FALSE(settled.damaged);
    CHECK(settled.aborted == (i == 0 ? 2u : 0u));
    CHECK(settled.tail == 96);
    CHECK(settled.sequence == 3);
    CHECK(state_of(lane.at(0).commit.raw) == RecordState::aborted);
    CHECK(state_of(lane.at(32).commit.raw) == RecordState::committed);
    CHECK(state_of(lane.at(64).commit.raw) == RecordState::aborted);
    CHECK(lane.header().tail.raw == 96);
    CHECK(lane.header().limit.raw == 1024);
  }
}

TEST_CASE("a tail that lags behind the last commit is mended") {
  TestLane lane;
  lane.header().limit.raw = 80;
  lane.put(0, RecordState::committed, 16, 0);
  lane.put(32, RecordState::committed, 16, 1);
  lane.header().tail.raw = 32;
  lane.header().sequence.raw = 1;
  CHECK(lane.settle().tail == 64);
  CHECK(lane.header().sequence.raw == 2);
  CHECK(lane.header().limit.raw == 64 + kRecordHeaderSize);
}

TEST_CASE("padding is skipped and uses no sequence number; a death between padding and record ends at the lap's start") {
  TestLane lane;
  lane.header().limit.raw = 4096 + 512;
  lane.header().tail.raw = 3072;
  lane.header().sequence.raw = 9;
  lane.put(3072, RecordState::committed, 496, 9);
  lane.put(3584, RecordState::padding, 496, 10);
  const auto settled = lane.settle();
  CHECK_FALSE(settled.damaged);
  CHECK(settled.tail == 4096);
  CHECK(settled.sequence == 10);
  CHECK(lane.at(4096).commit.raw == commit_word(RecordState::empty, 4096, 12));
}

TEST_CASE("what another lap left behind the last record is no record") {
  TestLane lane;
  lane.header().limit.raw = 1024;
  lane.put(0, RecordState::committed, 16, 0);
  lane.at(32).commit.raw = commit_word(RecordState::committed, 4096 * 3, 12);
  const auto settled = lane.settle();
  CHECK_FALSE(settled.damaged);
  CHECK(settled.tail == 32);
  CHECK(lane.at(32).commit.raw == commit_word(RecordState::empty, 32, 12));
}

TEST_CASE("bytes that no producer writes are damage, and what is sound before them stays") {
  TestLane lane;
  lane.header().limit.raw = 1024;
  lane.put(0, RecordState::committed, 16, 0);
  SECTION("a record that leaves the ring") { lane.put(32, RecordState::committed, 5000, 1); }
  SECTION("a length near the end of its type") { lane.put(32, RecordState::committed, 0xffffffffu, 1); }
  SECTION("an unknown state") { lane.at(32).commit.raw = 7; }
  SECTION("padding that does not reach the end") { lane.put(32, RecordState::padding, 16, 1); }
  SECTION("a sequence number that does not follow") { lane.put(32, RecordState::committed, 16, 5); }
  SECTION("a limit that no producer publishes") { lane.header().limit.raw = 1ull << 60; }
  SECTION("a limit more than a lap above the tail") { lane.header().limit.raw = 4096 + 16; }
  SECTION("a tail beyond the limit") { lane.header().tail.raw = 1ull << 60; }
  SECTION("a tail that is no boundary") { lane.header().tail.raw = 33; }
  SECTION("a limit beyond the end of positions") { lane.header().tail.raw = (lane.header().limit.raw = kEndOfPositions + 16) - 32; }
  SECTION("a tail with no place behind it") { lane.header().tail.raw = lane.header().limit.raw = kEndOfPositions; }
  SECTION("a tail where counting begins anew") { lane.header().tail.raw = (lane.header().limit.raw = ~0ull) - 15; }
  CHECK(lane.settle().damaged);
  CHECK(state_of(lane.at(0).commit.raw) == RecordState::committed);
}

TEST_CASE("a ring full of records that lead round and round does not keep the broker") {
  TestLane lane;
  lane.header().limit.raw = 4096;
  for (std::uint64_t position = 0; position < 4096; position += 32) lane.put(position, RecordState::committed, 16, static_cast<std::uint32_t>(position / 32));
  const auto settled = lane.settle();
  CHECK(settled.damaged);  // the last one reaches to the limit, which leaves no place behind it
}

TEST_CASE("the walk starts at the published tail, the oldest open loan, and believes the record's number") {
  TestLane lane;
  lane.header().limit.raw = 8192;
  lane.header().tail.raw = 4096 + 32;
  lane.header().sequence.raw = 12;  // stored before the tail: one ahead
  lane.put(4096, RecordState::claimed, 16, 10);
  lane.put(4096 + 32, RecordState::claimed, 16, 11);
  lane.put(4096 + 64, RecordState::committed, 16, 12);
  const auto settled = lane.settle();
  CHECK_FALSE(settled.damaged);
  CHECK(settled.aborted == 1);
  CHECK(lane.header().tail.raw == 4096 + 96);
  CHECK(lane.header().sequence.raw == 13);
}

TEST_CASE("a record beyond the limit was never permitted") {
  TestLane lane;
  lane.header().limit.raw = 48;
  lane.put(0, RecordState::committed, 16, 0);
  lane.put(32, RecordState::committed, 16, 1);
  CHECK(lane.settle().damaged);
}

TEST_CASE("a lane half way to the end of positions is sound, and given on only where there can be no other") {
  TestLane lane;
  const bool beyond = GENERATE(false, true);
  lane.header().tail.raw = lane.header().limit.raw = kEndOfPositions / 2 + (beyond ? 16 : 0);
  const auto settled = lane.settle();
  CHECK_FALSE(settled.damaged);
  CHECK(settled.last_resort == beyond);
}

TEST_CASE("a new owner starts fenced and unfinished") {
  TestLane lane;
  lane.header().finished.raw = 65;
  lane.header().wake_mode.raw = 1;
  set_lane_owner(lane.header(), LaneState::owned, 5, 77, 9);
  CHECK(lane.header().finished.raw == 0);
  CHECK(lane.header().wake_mode.raw == 0);
  CHECK(lane.header().owner_slot == 5);
  CHECK(lane.header().owner_generation == 77);
  CHECK(lane.header().producer_id == 9);
  lane.header().finished.raw = 33;
  set_lane_owner(lane.header(), LaneState::orphaned, 0, 0, 0);
  CHECK(lane.header().finished.raw == 33);
  CHECK(lane.header().owner_slot == 5);
}

TEST_CASE("the next producer's readers find only checkpoints that lead to the tail") {
  TestLane lane;
  lane.header().limit.raw = 4096 + 96;
  lane.header().tail.raw = 4096;
  lane.header().sequence.raw = 128;
  for (std::uint64_t i = 0; i < 128; ++i) lane.put(32 * i, RecordState::committed, 16, static_cast<std::uint32_t>(i));
  lane.header().checkpoint_count.raw = 3;
  const auto set = [&](unsigned i, std::uint64_t position, std::uint64_t sequence) {
    lane.header().checkpoints[i].position.raw = position;
    lane.header().checkpoints[i].sequence.raw = sequence;
  };
  set(0, 320, 10);
  set(1, 640, 20);
  set(2, 960, 30);
  std::uint64_t earliest = 320, number = 10;
  SECTION("all of them, where they are sound") {}
  SECTION("none above the tail") { set(2, 8192, 256), earliest = 4096, number = 128; }
  SECTION("none between two records") { set(1, 656, 20), earliest = 960, number = 30; }
  SECTION("none off the alignment") { set(1, 641, 20), earliest = 960, number = 30; }
  SECTION("none with another number") { set(0, 320, 11), earliest = 640, number = 20; }
  SECTION("none with a number of 2^32 more") { set(2, 960, 30 + (1ull << 32)), earliest = 4096, number = 128; }
  SECTION("none newer than the one after it") { set(0, 992, 31), earliest = 640, number = 20; }
  SECTION("none behind what says nothing") { lane.at(800).commit.raw = 0, earliest = 960, number = 30; }
  for (int i = 0; i < 2; ++i) {
    CHECK_FALSE(lane.settle().damaged);
    const Boundary found = earliest_boundary(lane.header(), kGeometry.capacity);
    CHECK(found.position == earliest);
    CHECK(found.sequence == number);
    CHECK(lane.header().checkpoint_count.raw == 3);
  }
}
