// Reading a ring whose bytes may be anything: protocol/lane_walk.hpp.
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "atoll/protocol/lane_walk.hpp"

using namespace atoll_ipc::protocol;

namespace {

constexpr std::uint64_t kCapacity = 4096;

struct Ring {
  alignas(64) std::byte bytes[kCapacity] = {};
  RingGeometry geometry{kCapacity, 12, 16};

  RecordHeader& at(std::uint64_t position) { return *reinterpret_cast<RecordHeader*>(bytes + (position & (kCapacity - 1))); }
  void write(std::uint64_t position, RecordState state, std::uint32_t length, std::uint32_t sequence = 0, std::uint8_t extensions = 0) {
    RecordHeader& header = at(position);
    header.length = length;
    header.sequence = sequence;
    header.flags = 1;
    header.extension_length = extensions;
    header.type = 1;
    header.commit.store_release(commit_word(state, position, geometry.capacity_log2));
  }
  [[nodiscard]] Place look(std::uint64_t position) const { return look_at(bytes, geometry, position); }
};

}  // namespace

TEST_CASE("an empty word is nothing yet, whatever lap its other bits say") {
  Ring ring;
  CHECK(ring.look(0).found == Found::nothing);
  ring.at(32).commit.store_release(8 * 77);
  CHECK(ring.look(32).found == Found::nothing);
}

TEST_CASE("each state of this lap is told, with what the header says") {
  Ring ring;
  ring.write(64, RecordState::committed, 20, 9);
  const Place place = ring.look(64);
  CHECK(place.found == Found::committed);
  CHECK(place.length == 20);
  CHECK(place.sequence == 9);
  CHECK(place.flags == 1);
  CHECK(place.span == 48);
  ring.write(64, RecordState::claimed, 20);
  CHECK(ring.look(64).found == Found::claimed);
  ring.write(64, RecordState::aborted, 20);
  CHECK(ring.look(64).found == Found::aborted);
}

TEST_CASE("a word of another lap says nothing yet and gives no span to follow") {
  Ring ring;
  ring.write(64, RecordState::committed, 20);
  CHECK(ring.look(64 + kCapacity).found == Found::nothing);
  CHECK(ring.look(64 + kCapacity).span == 0);
  ring.write(64 + 5 * kCapacity, RecordState::committed, 20);
  CHECK(ring.look(64).found == Found::nothing);
  CHECK(ring.look(64 + 5 * kCapacity).found == Found::committed);
}

TEST_CASE("a record may end exactly at the end of the ring and no byte later") {
  Ring ring;
  ring.write(kCapacity - 64, RecordState::committed, 48);
  CHECK(ring.look(kCapacity - 64).found == Found::committed);
  ring.write(kCapacity - 64, RecordState::committed, 49);
  CHECK(ring.look(kCapacity - 64).found == Found::damaged);
  ring.write(kCapacity - 64, RecordState::committed, 0xffffffffu);
  CHECK(ring.look(kCapacity - 64).found == Found::damaged);
  ring.write(kCapacity - 64, RecordState::committed, 0, 0, 255);
  CHECK(ring.look(kCapacity - 64).found == Found::damaged);
}

TEST_CASE("padding must end exactly at the end of the ring") {
  Ring ring;
  ring.write(kCapacity - 128, RecordState::padding, 112);
  CHECK(ring.look(kCapacity - 128).found == Found::padding);
  CHECK(ring.look(kCapacity - 128).span == 128);
  ring.write(kCapacity - 128, RecordState::padding, 96);
  CHECK(ring.look(kCapacity - 128).found == Found::damaged);
}

TEST_CASE("states that layout 1 does not have are damage") {
  Ring ring;
  for (const std::uint32_t state : {5u, 6u, 7u}) {
    ring.write(0, static_cast<RecordState>(state), 16);
    CHECK(ring.look(0).found == Found::damaged);
  }
}

TEST_CASE("a position that is no boundary is damage and is not looked at") {
  Ring ring;
  std::memset(ring.bytes, 0xff, sizeof ring.bytes);
  for (const std::uint64_t position : {1ull, 8ull, 4095ull, 4096ull + 4088, ~0ull}) {
    CHECK(ring.look(position).found == Found::damaged);
    CHECK(ring.look(position).span == 0);
  }
}

TEST_CASE("whatever the bytes say, no span leads out of the ring or nowhere") {
  Ring ring;
  std::mt19937_64 random(20240229);
  for (int round = 0; round < 200; ++round) {
    for (std::uint64_t i = 0; i < kCapacity; i += 8) {
      const std::uint64_t noise = random();
      std::memcpy(ring.bytes + i, &noise, 8);
    }
    // Half of the rounds with plausible words, so that more than the first check is reached.
    for (std::uint64_t at = 0; round % 2 == 1 && at < kCapacity; at += 16) {
      ring.at(at).commit.store_release(commit_word(static_cast<RecordState>(random() % 8), at, 12));
      if (random() % 2 == 0) ring.at(at).length = static_cast<std::uint32_t>(random() % 5000);
    }
    for (std::uint64_t position = 0; position < kCapacity; position += 16) {
      const Place place = ring.look(position);
      const bool whole = place.found == Found::claimed || place.found == Found::committed || place.found == Found::aborted || place.found == Found::padding;
      REQUIRE((place.span > 0) == whole);
      REQUIRE(position + place.span <= kCapacity);
      REQUIRE(place.span % 16 == 0);
      if (whole) REQUIRE(payload_offset(place.extension_length, 16) + place.length <= place.span);
    }
  }
}

// ---- earliest_boundary -------------------------------------------------------------------------

namespace {

struct Lane {
  std::unique_ptr<LaneHeader> header = std::make_unique<LaneHeader>();
  void checkpoint(std::uint64_t position, std::uint64_t sequence) {
    const std::uint64_t count = header->checkpoint_count.load_relaxed();
    header->checkpoints[count % kCheckpoints].position.store_relaxed(position);
    header->checkpoints[count % kCheckpoints].sequence.store_relaxed(sequence);
    header->checkpoint_count.store_release(count + 1);
  }
  [[nodiscard]] Boundary earliest() const { return earliest_boundary(*header, kCapacity); }
  [[nodiscard]] Boundary before(std::uint64_t most) const { return boundary_before(*header, kCapacity, most); }
};

}  // namespace

TEST_CASE("while nothing was overwritten the earliest boundary is position 0") {
  Lane lane;
  CHECK(lane.earliest().position == 0);
  lane.header->limit.store_release(kCapacity);
  lane.header->tail.store_release(4000);
  lane.checkpoint(2048, 3);
  CHECK(lane.earliest().position == 0);
  CHECK(lane.earliest().sequence == 0);
}

TEST_CASE("the earliest boundary is the smallest checkpoint that may not be overwritten") {
  Lane lane;
  lane.header->limit.store_release(kCapacity + 1000);
  lane.header->tail.store_release(4800);
  lane.checkpoint(512, 4);
  lane.checkpoint(1008, 8);
  lane.checkpoint(2048, 16);
  CHECK(lane.earliest().position == 1008);
  CHECK(lane.earliest().sequence == 8);
  lane.header->limit.store_release(kCapacity + 1009);
  CHECK(lane.earliest().position == 2048);
}

TEST_CASE("the boundary before a record is the newest checkpoint that is not behind it") {
  Lane lane;
  lane.header->limit.store_release(kCapacity);
  lane.header->tail.store_release(4000);
  lane.header->sequence.store_release(32);
  lane.checkpoint(512, 4);
  lane.checkpoint(1008, 8);
  lane.checkpoint(2048, 16);
  CHECK(lane.before(15).position == 1008);
  CHECK(lane.before(16).position == 2048);
  CHECK(lane.before(1000).position == 2048);
  CHECK(lane.before(3).position == 0);  // nothing was overwritten yet
  lane.header->limit.store_release(kCapacity + 600);
  CHECK(lane.before(8).sequence == 8);
  CHECK(lane.before(3).sequence == 8);  // what lies before it may be written over
}

TEST_CASE("without a checkpoint high enough the earliest boundary is the tail") {
  Lane lane;
  lane.header->limit.store_release(kCapacity + 3000);
  lane.header->tail.store_release(6000);
  lane.header->sequence.store_release(70);
  lane.checkpoint(512, 4);
  CHECK(lane.earliest().position == 6000);
  CHECK(lane.earliest().sequence == 70);
}

TEST_CASE("the checkpoint that is written over next is not used") {
  Lane lane;
  for (std::uint64_t i = 1; i <= 100; ++i) lane.checkpoint(i * 128, i);
  lane.header->tail.store_release(100 * 128);
  lane.header->limit.store_release(100 * 128);
  CHECK(lane.earliest().position == 70 * 128);  // 68 and 69 are not below what may be overwritten either
  CHECK(lane.earliest().sequence == 70);
}

TEST_CASE("of more checkpoints than the table holds only the last ones count") {
  Lane lane;
  for (std::uint64_t i = 1; i <= 100; ++i) lane.checkpoint(i * 256, i);
  lane.header->tail.store_release(101 * 256);
  lane.header->limit.store_release(101 * 256);
  CHECK(lane.earliest().position == (101 - 16) * 256);
  CHECK(lane.earliest().sequence == 85);
}

TEST_CASE("checkpoints that no producer writes never lead below what may be overwritten or above the tail") {
  std::mt19937_64 random(20240301);
  for (int round = 0; round < 2000; ++round) {
    Lane lane;
    for (Checkpoint& checkpoint : lane.header->checkpoints) {
      checkpoint.position.store_relaxed(round % 2 == 0 ? random() : random() % 20000);
      checkpoint.sequence.store_relaxed(random());
    }
    lane.header->checkpoint_count.store_relaxed(round % 3 == 0 ? random() : random() % 64);
    lane.header->limit.store_relaxed(10000);
    lane.header->tail.store_relaxed(9000);
    const std::uint64_t position = lane.earliest().position;
    REQUIRE(position >= 10000 - kCapacity);
    REQUIRE(position <= 9000);
  }
}
