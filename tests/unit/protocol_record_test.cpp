// Arithmetic of records: protocol/record.hpp and whole_sequence.
#include <catch2/catch.hpp>

#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/record.hpp"

using namespace atoll_ipc::protocol;

TEST_CASE("a payload starts at a multiple of the alignment behind header and extensions") {
  CHECK(payload_offset(0, 16) == 16);
  CHECK(payload_offset(0, 64) == 64);
  CHECK(payload_offset(1, 16) == 32);
  CHECK(payload_offset(2, 16) == 32);
  CHECK(payload_offset(3, 16) == 48);
  CHECK(payload_offset(6, 64) == 64);
  CHECK(payload_offset(7, 64) == 128);
  CHECK(payload_offset(255, 16) == 2064);
}

TEST_CASE("a record's span covers header and payload and is a multiple of the alignment") {
  CHECK(record_span(0, 0, 16) == 16);
  CHECK(record_span(1, 0, 16) == 32);
  CHECK(record_span(16, 0, 16) == 32);
  CHECK(record_span(17, 0, 16) == 48);
  CHECK(record_span(0, 0, 64) == 64);
  CHECK(record_span(1, 0, 64) == 128);
  CHECK(record_span(64, 7, 64) == 192);
}

TEST_CASE("the span of the longest length that the header can hold does not overflow") {
  CHECK(record_span(0xffffffffu, 255, 64) == payload_offset(255, 64) + 0x100000000ull);
}

TEST_CASE("the largest record and its terminator fit into a lane behind any padding") {
  for (const std::uint32_t alignment : {16u, 64u}) {
    for (std::uint64_t capacity = 4096; capacity <= 1u << 20; capacity *= 2) {
      const std::uint64_t span = record_span(max_payload(capacity, alignment), 0, alignment);
      CHECK(span == capacity / 2);
      const std::uint64_t worst_padding = span - alignment;
      CHECK(worst_padding + span + kRecordHeaderSize <= capacity);
    }
  }
}

TEST_CASE("a commit word holds state and lap, and tells one lap from the next") {
  const unsigned log2 = 12;
  const std::uint32_t word = commit_word(RecordState::committed, 5 * 4096 + 160, log2);
  CHECK(word == 2 + 8 * 5);
  CHECK(state_of(word) == RecordState::committed);
  CHECK(same_lap(word, 5 * 4096, log2));
  CHECK(same_lap(word, 5 * 4096 + 4095, log2));
  CHECK_FALSE(same_lap(word, 6 * 4096, log2));
  CHECK_FALSE(same_lap(word, 4 * 4096, log2));
}

TEST_CASE("the lap is taken modulo 2 to the 29th without touching the state") {
  const std::uint64_t far = (1ull << 29) * 4096;
  CHECK(commit_word(RecordState::padding, far, 12) == 4);
  CHECK(commit_word(RecordState::padding, far - 1, 12) == (4 | 0xfffffff8u));
  CHECK(same_lap(commit_word(RecordState::claimed, far + 4096, 12), 4096, 12));
}

TEST_CASE("a whole sequence number is the one nearest to what the reader expects") {
  CHECK(whole_sequence(7, 5) == 7);
  CHECK(whole_sequence(3, 5) == 3);
  CHECK(whole_sequence(1, 0xffffffffull) == 0x100000001ull);
  CHECK(whole_sequence(0xffffffffu, 0x100000001ull) == 0xffffffffull);
  CHECK(whole_sequence(0, 0x700000000ull) == 0x700000000ull);
}
