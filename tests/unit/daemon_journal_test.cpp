// The journal's lines: what a kill leaves behind and what damage does.
#include <catch2/catch.hpp>

#include "journal.hpp"
#include "slots.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;
using nlohmann::json;

namespace {
const std::string kFirst = journal_line({{"t", "journal"}, {"version", 1}, {"epoch", 7}});
const std::string kSecond = journal_line({{"t", "gone"}, {"slot", 3}});
}  // namespace

TEST_CASE("the checksum is CRC-32 as everybody computes it") { CHECK(crc32("123456789") == 0xcbf43926u); }

TEST_CASE("a journal is read back line by line") {
  const auto replay = parse_journal(kFirst + kSecond);
  REQUIRE(replay);
  REQUIRE(replay->entries.size() == 2);
  CHECK(replay->entries[0]["epoch"] == 7);
  CHECK(replay->entries[1]["slot"] == 3);
  CHECK(replay->damaged_lines == 0);
}

TEST_CASE("a journal cut at any byte loses only the line that was cut") {
  for (std::size_t n = 0; n <= kSecond.size(); ++n) {
    const auto replay = parse_journal(kFirst + kSecond.substr(0, n));
    REQUIRE(replay);
    CHECK(replay->entries.size() == (n == kSecond.size() ? 2 : 1));
    CHECK(replay->damaged_lines == 0);
  }
}

TEST_CASE("any flipped bit damages its line and no other") {
  for (std::size_t i = 0; i + 1 < kFirst.size(); ++i) {
    std::string text = kFirst + kSecond;
    text[i] = static_cast<char>(text[i] ^ 4);
    const auto replay = parse_journal(text);
    REQUIRE(replay);
    REQUIRE(replay->entries.size() == 1);
    CHECK(replay->entries[0]["t"] == "gone");
    CHECK(replay->damaged_lines >= 1);
  }
}

TEST_CASE("a newer journal is refused and both versions are named") {
  const auto replay = parse_journal(journal_line({{"t", "journal"}, {"version", 2}, {"epoch", 1}}));
  REQUIRE_FALSE(replay);
  CHECK(replay.error().code == Errc::wrong_version);
  CHECK(replay.error().message.find("version 2") != std::string::npos);
  CHECK(replay.error().message.find("version 1") != std::string::npos);
}

TEST_CASE("a process whose end was read holds nothing, even if the line that gave it back was damaged") {
  Replay replay;
  auto segment = std::make_shared<Segment>();
  segment->manifest.name = "s";
  segment->manifest.generation = 1;
  const json slot{{"t", "slot"}, {"slot", 0u}, {"generation", 6u}};
  const json attached{{"t", "attached"}, {"id", 8u}, {"slot", 0u}, {"slot_generation", 6u}, {"name", "s"}, {"generation", 1u}, {"role", "produce"}, {"lane", 0u}};
  SECTION("it is gone") { replay.entries = {slot, attached, {{"t", "gone"}, {"slot", 0u}, {"generation", 6u}}}; }
  SECTION("its slot is another's") { replay.entries = {slot, attached, {{"t", "slot"}, {"slot", 0u}, {"generation", 7u}}}; }
  Journal journal;
  Slots slots(journal);
  slots.replay(replay, {{"s", segment}});
  CHECK(slots.attachments().empty());
  CHECK(segment->attachments.empty());
}

TEST_CASE("entries with fields of other types are read as if these were missing") {
  Replay replay;
  replay.entries = {{{"t", "slot"}, {"slot", 1u}, {"generation", 2u}, {"command", 5}, {"token", nullptr}, {"pid", "x"}},
                    {{"t", "attached"}, {"id", UINT64_MAX}, {"name", json::array()}, {"role", true}},
                    {{"t", "counters"}, {"attachment", UINT64_MAX}}};
  Journal journal;
  Slots slots(journal);
  slots.replay(replay, {});
  REQUIRE(slots.all().size() == 1);
  CHECK(slots.all().at(1).token.empty());
  CHECK(slots.all().at(1).process.pid == 0);
}
