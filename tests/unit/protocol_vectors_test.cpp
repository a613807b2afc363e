// The golden bytes of protocol/vectors, read with the C++ headers: what they say must be what is read.
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "atoll/protocol/header_check.hpp"
#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/repair.hpp"

using namespace atoll_ipc::protocol;
using nlohmann::json;

namespace {

std::filesystem::path folder() { return std::filesystem::path(ATOLL_SOURCE_DIR) / "protocol" / "vectors"; }

json load(const std::filesystem::path& path) {
  std::ifstream in(path);
  REQUIRE(in.good());
  return json::parse(in);
}

// The vectors whose file name starts with `prefix`.
std::vector<std::filesystem::path> vectors(const std::string& prefix) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    if (entry.path().extension() == ".json" && entry.path().filename().string().rfind(prefix, 0) == 0) found.push_back(entry.path());
  REQUIRE_FALSE(found.empty());
  return found;
}

std::vector<std::byte> unhex(const std::string& text) {
  std::vector<std::byte> out(text.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return out;
}

// A file of a vector, aligned as a mapping is.
class Image {
 public:
  explicit Image(const json& file) : pages_((file.at("size").get<std::size_t>() + kPageSize - 1) / kPageSize) {
    for (const auto& [offset, bytes] : file.at("bytes").items()) {
      const auto data = unhex(bytes.get<std::string>());
      const std::size_t at = std::stoull(offset);
      REQUIRE(at + data.size() <= file.at("size").get<std::size_t>());
      std::memcpy(this->data() + at, data.data(), data.size());
    }
  }
  [[nodiscard]] std::byte* data() noexcept { return pages_.front().bytes; }
  template <class T>
  [[nodiscard]] T& as() noexcept {
    return *reinterpret_cast<T*>(data());
  }

 private:
  struct alignas(4096) Page {
    std::byte bytes[kPageSize] = {};
  };
  std::vector<Page> pages_;
};

const json& file_of(const json& vector, const std::string& role) {
  for (const json& file : vector.at("files"))
    if (file.at("role") == role) return file;
  FAIL("no file of role " << role);
  throw 0;
}

const char* content_name(std::uint16_t flags) {
  static constexpr const char* names[] = {"bytes", "text", "json", "array"};
  const unsigned kind = flags & kContentMask;
  return kind < 4 ? names[kind] : "bytes";
}

std::string hex(const std::byte* data, std::size_t length) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < length; ++i) {
    out.push_back(digits[static_cast<unsigned>(data[i]) >> 4]);
    out.push_back(digits[static_cast<unsigned>(data[i]) & 15]);
  }
  return out;
}

RingGeometry geometry_of(const HeaderPage& page) {
  return {page.capacity, static_cast<unsigned>(__builtin_ctzll(page.capacity)), page.alignment};
}

// Reads a lane from its earliest boundary to the end: the records, and what comes after them.
json read_lane(Image& image) {
  const LaneHeader& lane = image.as<LaneHeader>();
  const RingGeometry geometry = geometry_of(lane.page);
  const std::byte* ring = image.data() + kPageSize;
  const Boundary start = earliest_boundary(lane, geometry.capacity);
  json seen{{"start", {{"position", start.position}, {"sequence", start.sequence}}}, {"records", json::array()}};
  std::uint64_t position = start.position;
  std::uint64_t expected = start.sequence;
  for (;;) {
    const Place place = look_at(ring, geometry, position);
    switch (place.found) {
      case Found::nothing:
        seen["then"] = nothing_below_tail(lane, ring, geometry, position)         ? "lane_damaged"
                       : lane.finished.load_acquire() == (position | 1) ? "ended"
                                                                        : "nothing";
        return seen;
      case Found::claimed: seen["then"] = "claimed"; return seen;
      case Found::damaged: seen["then"] = "lane_damaged"; return seen;
      case Found::committed: {
        const std::byte* payload = ring + (position & (geometry.capacity - 1)) + payload_offset(place.extension_length, geometry.alignment);
        seen["records"].push_back({{"position", position},
                                   {"sequence", whole_sequence(place.sequence, expected)},
                                   {"content", content_name(place.flags)},
                                   {"length", place.length},
                                   {"payload", hex(payload, place.length)}});
        [[fallthrough]];
      }
      case Found::aborted: ++expected; [[fallthrough]];
      case Found::padding: position += place.span; break;
    }
  }
}

json described(const GroupFile& group, const json& expected) {
  json lanes = json::array();
  for (const json& row : expected.at("lanes")) {
    const LanePosition& at = group.lanes[row.at("lane").get<unsigned>()];
    lanes.push_back({{"lane", row.at("lane")},
                     {"cursor", at.cursor.load_acquire()},
                     {"next", at.next.load_acquire()},
                     {"next_sequence", at.next_sequence.load_relaxed()},
                     {"lost", at.lost.load_relaxed()},
                     {"incarnation", at.incarnation.load_relaxed()},
                     {"redelivered", at.redelivered.load_relaxed()}});
  }
  json claims = json::array();
  static constexpr const char* states[] = {"free", "held", "returned"};
  for (unsigned i = 0; i < group.claims_used.load_relaxed(); ++i) {
    const Claim& claim = group.claims[i];
    json acknowledged = json::array();
    for (unsigned bit = 0; bit < kClaimRecords; ++bit)
      if ((claim.acked.load_acquire() >> bit & 1) != 0) acknowledged.push_back(bit);
    claims.push_back({{"claim", i},
                      {"state", states[claim.state.load_relaxed()]},
                      {"slot", claim.slot.load_relaxed()},
                      {"slot_generation", claim.slot_generation.load_relaxed()},
                      {"lane", claim.lane},
                      {"count", claim.count},
                      {"deliveries", claim.deliveries},
                      {"begin", claim.begin},
                      {"end", claim.end},
                      {"begin_sequence", claim.begin_sequence},
                      {"acknowledged", acknowledged}});
  }
  return {{"exclusive", (group.flags & kGroupExclusive) != 0},
          {"ephemeral", (group.flags & kGroupEphemeral) != 0},
          {"returned", group.returned.load_relaxed()},
          {"lanes", lanes},
          {"claims", claims}};
}

json decode_lock(std::uint32_t word) {
  const std::uint32_t slot = word & kLockSlotMask;
  return {{"free", slot == 0},
          {"slot", slot == 0 ? 0 : slot - 1},
          {"generation", slot == 0 ? 0 : word >> 13 & kLockGenerationMask},
          {"needs_repair", (word & kLockNeedsRepair) != 0},
          {"waiters", (word & kLockWaiters) != 0}};
}

const char* name_of(Repaired repaired) {
  return repaired == Repaired::applied ? "applied" : repaired == Repaired::damaged ? "damaged" : "nothing_to_do";
}

}  // namespace

TEST_CASE("every golden lane is read as its vector says, from the earliest boundary to what comes last") {
  for (const auto& path : vectors("lane_")) {
    INFO(path.filename());
    const json vector = load(path);
    Image image(file_of(vector, "lane"));
    const json seen = read_lane(image);
    CHECK(seen.at("start") == vector.at("expect").at("start"));
    CHECK(seen.at("then") == vector.at("expect").at("then"));
    CHECK(seen.at("records") == vector.at("expect").at("records"));
    CHECK(image.as<LaneHeader>().tail.load_acquire() == vector.at("expect").at("tail").get<std::uint64_t>());
    CHECK(image.as<LaneHeader>().sequence.load_acquire() == vector.at("expect").at("sequence").get<std::uint64_t>());
    CHECK(image.as<LaneHeader>().page.alignment == vector.at("alignment").get<std::uint32_t>());
  }
}

TEST_CASE("a walk from the published tail of a dead producer finds its open loans and the true end") {
  unsigned with_death = 0;
  for (const auto& path : vectors("lane_")) {
    const json vector = load(path);
    if (!vector.contains("recovered")) continue;
    ++with_death;
    INFO(path.filename());
    Image image(file_of(vector, "lane"));
    const LaneHeader& lane = image.as<LaneHeader>();
    const RingGeometry geometry = geometry_of(lane.page);
    std::uint64_t position = lane.tail.load_acquire();
    std::uint64_t sequence = lane.sequence.load_acquire();
    json aborted = json::array();
    for (Place place = look_at(image.data() + kPageSize, geometry, position); place.found != Found::nothing;
         place = look_at(image.data() + kPageSize, geometry, position)) {
      REQUIRE(place.span > 0);
      if (place.found == Found::claimed) aborted.push_back(whole_sequence(place.sequence, sequence));
      if (place.found != Found::padding) sequence = whole_sequence(place.sequence, sequence) + 1;
      position += place.span;
    }
    CHECK(json{{"aborted", aborted}, {"tail", position}, {"sequence", sequence}} == vector.at("recovered"));
  }
  CHECK(with_death > 0);
}

TEST_CASE("every golden group has the positions, claims and lock that its vector says") {
  for (const auto& path : vectors("group_")) {
    const json vector = load(path);
    const json& expect = vector.at("expect");
    INFO(path.filename());
    Image image(file_of(vector, "group"));
    const GroupFile& group = image.as<GroupFile>();
    if (expect.contains("group")) CHECK(described(group, expect.at("group")) == expect.at("group"));
    if (expect.contains("lock")) CHECK(decode_lock(group.lock.load_acquire()) == expect.at("lock"));
  }
}

TEST_CASE("every golden redo of a group is applied, left alone or refused as its vector says") {
  unsigned repairs = 0;
  for (const auto& path : vectors("group_redo_")) {
    ++repairs;
    const json vector = load(path);
    const json& expect = vector.at("expect").at("repair");
    INFO(path.filename());
    Image image(file_of(vector, "group"));
    CHECK(name_of(repair_group(image.as<GroupFile>())) == expect.at("outcome"));
    if (expect.contains("group")) CHECK(described(image.as<GroupFile>(), expect.at("group")) == expect.at("group"));
  }
  CHECK(repairs == 6);
}

TEST_CASE("every golden bytes segment gives what its vector says, before and after a repair") {
  for (const auto& path : vectors("bytes_")) {
    const json vector = load(path);
    const json& expect = vector.at("expect");
    INFO(path.filename());
    Image image(file_of(vector, "data"));
    BytesHeader& header = image.as<BytesHeader>();
    const auto content = [&] { return hex(image.data() + kPageSize, header.length.load_relaxed()); };
    if (expect.contains("get")) {
      const bool whole = (header.change.load_acquire() & 1) == 0;
      const char* get = !whole || header.version.load_relaxed() == 0 ? "waits" : header.length.load_relaxed() > header.page.capacity ? "bad_header" : "content";
      CHECK(get == expect.at("get"));
      if (get == std::string("content")) {
        CHECK(content() == expect.at("content"));
        CHECK(header.version.load_relaxed() == expect.at("version").get<std::uint64_t>());
      }
    }
    if (expect.contains("lock")) CHECK(decode_lock(header.lock.load_acquire()) == expect.at("lock"));
    if (!expect.contains("repaired")) continue;
    const Repaired repaired = repair_bytes(header, header.page.capacity, header.put_size, header.staging_offset);
    if (expect.at("repaired") == "damaged") {
      CHECK(repaired == Repaired::damaged);
      continue;
    }
    CHECK(content() == expect.at("repaired").at("content"));
    CHECK(header.version.load_relaxed() == expect.at("repaired").at("version").get<std::uint64_t>());
    CHECK((header.change.load_relaxed() & 1) == 0);
    CHECK(header.redo.count.load_relaxed() == 0);
  }
}

TEST_CASE("every golden header page is taken or refused with its own error") {
  const json vector = load(folder() / "header_pages.json");
  ExpectedPage expected;
  expected.role = Role::lane;
  expected.generation = vector.at("expected_page").at("generation").get<std::uint64_t>();
  expected.file_size = vector.at("expected_page").at("file_size").get<std::uint64_t>();
  expected.segment = "prices";
  const auto uuid = unhex(vector.at("expected_page").at("uuid").get<std::string>());
  std::memcpy(expected.uuid.data(), uuid.data(), 16);
  for (const json& page : vector.at("pages")) {
    INFO(page.at("name"));
    const auto bytes = unhex(page.at("bytes").get<std::string>());
    const Check check = check_header_page(bytes, expected, page.at("real_size").get<std::uint64_t>());
    if (page.at("error").is_null()) {
      CHECK_FALSE(check.has_value());
    } else {
      REQUIRE(check.has_value());
      CHECK(error_text(check->code).name == page.at("error"));
      CHECK(check->message.find("lane file 0 of 'prices'") != std::string::npos);
      CHECK(check->segment == "prices");
    }
  }
}

TEST_CASE("every file of a golden segment has a header page that a client takes") {
  for (const char* prefix : {"lane_", "group_", "bytes_"}) {
    for (const auto& path : vectors(prefix)) {
      const json vector = load(path);
      for (const json& file : vector.at("files")) {
        INFO(path.filename());
        Image image(file);
        ExpectedPage expected;
        expected.role = file.at("role") == "lane" ? Role::lane : file.at("role") == "group" ? Role::group : Role::data;
        expected.kind = vector.at("kind") == "stream" ? Kind::stream : Kind::bytes;
        expected.generation = 7;
        expected.uuid = image.as<HeaderPage>().uuid;
        expected.file_size = file.at("size").get<std::uint64_t>();
        const Check check = check_header_page({image.data(), sizeof(HeaderPage)}, expected, expected.file_size);
        INFO((check ? check->message : std::string()));
        CHECK_FALSE(check.has_value());
      }
    }
  }
}

TEST_CASE("every golden lock word names its holder and its bits") {
  const json vector = load(folder() / "lock_words.json");
  for (const json& word : vector.at("words")) {
    INFO(word.at("word"));
    CHECK(decode_lock(word.at("word").get<std::uint32_t>()) == word.at("expect"));
    if (word.at("expect").at("free") == false) {
      const std::uint32_t holder = lock_holder(word.at("expect").at("slot").get<std::uint32_t>(), word.at("expect").at("generation").get<std::uint32_t>());
      CHECK(holder == (word.at("word").get<std::uint32_t>() & kLockHolderMask));
    }
  }
}
