// Checking a header page before anything in its file is believed.
//
// Called by the client for every descriptor it is given and by the broker when it adopts files after
// a restart. Works on a private copy of the page's first 128 bytes, never on the mapping itself, and
// finds the first thing wrong in the order that SPEC.md, "Header page", states.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "atoll/protocol/bytes.hpp"
#include "atoll/protocol/failure.hpp"
#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/lane.hpp"

namespace atoll_ipc::protocol {

// What the manifest says about the file.
struct ExpectedPage {
  Role role = Role::header;
  Kind kind = Kind::stream;  // ignored for Role::bells, whose kind is 0
  std::uint16_t index = 0;
  std::uint64_t generation = 0;
  std::array<std::uint8_t, 16> uuid{};
  std::uint64_t file_size = 0;
  std::string_view segment;  // its name, for the message
};

[[nodiscard]] constexpr const char* role_name(Role role) noexcept {
  switch (role) {
    case Role::header: return "header";
    case Role::lane: return "lane";
    case Role::group: return "group";
    case Role::bell: return "bell";
    case Role::data: return "data";
    case Role::bells: return "bells";
  }
  return "unknown";
}

// `page`: the file's first bytes, as many as there are up to 4096. `real_size`: by fstat, not by the page.
// `checked`, if given, receives the private copy that may be used from then on.
[[nodiscard]] inline Check check_header_page(std::span<const std::byte> page, const ExpectedPage& expected,
                                             std::uint64_t real_size, HeaderPage* checked = nullptr) {
  const std::string what = std::string("the ") + role_name(expected.role) + " file" +
                           (expected.role == Role::lane || expected.role == Role::group ? " " + std::to_string(expected.index) : std::string()) +
                           (expected.segment.empty() ? std::string() : " of '" + std::string(expected.segment) + "'");
  const auto bad = [&](Errc code, const std::string& why, std::uint64_t detail = 0) {
    return Failure{code, what + " " + why, std::string(expected.segment), detail, {}};
  };
  if (real_size < kPageSize || page.size() < sizeof(HeaderPage))
    return bad(Errc::truncated_file, "has " + std::to_string(real_size) + " bytes, its header page alone takes 4096", real_size);
  HeaderPage copy;
  std::memcpy(&copy, page.data(), sizeof copy);
  if (copy.magic == kMagicSwapped) return bad(Errc::wrong_byte_order, "was written on a big-endian machine");
  if (copy.magic != kMagic) return bad(Errc::bad_header, "does not start with Atoll's magic number");
  if (copy.min_reader_version > kLayoutVersion)
    return bad(Errc::wrong_version,
               "has layout " + std::to_string(copy.layout_version) + " and needs a reader of at least " +
                   std::to_string(copy.min_reader_version) + "; this program reads layout " + std::to_string(kLayoutVersion),
               copy.min_reader_version);
  if ((copy.required_features & ~kKnownRequiredFeatures) != 0)
    return bad(Errc::wrong_version,
               "has layout " + std::to_string(copy.layout_version) + " and requires features (mask " +
                   std::to_string(copy.required_features) + ") that this program of layout " + std::to_string(kLayoutVersion) +
                   " does not know",
               copy.required_features);
  if (copy.role != static_cast<std::uint16_t>(expected.role))
    return bad(Errc::bad_header, "says it has role " + std::to_string(copy.role), copy.role);
  const std::uint16_t kind = expected.role == Role::bells ? std::uint16_t{0} : static_cast<std::uint16_t>(expected.kind);
  if (copy.kind != kind) return bad(Errc::bad_header, "says it is of kind " + std::to_string(copy.kind), copy.kind);
  if (copy.index != expected.index) return bad(Errc::bad_header, "says its number is " + std::to_string(copy.index), copy.index);
  if (copy.generation != expected.generation)
    return bad(Errc::bad_header,
               "is of generation " + std::to_string(copy.generation) + ", not " + std::to_string(expected.generation), copy.generation);
  if (copy.uuid != expected.uuid) return bad(Errc::bad_header, "belongs to another segment (its uuid differs from the manifest's)");
  if (copy.file_size != expected.file_size)
    return bad(Errc::bad_header,
               "says it has " + std::to_string(copy.file_size) + " bytes, the manifest says " + std::to_string(expected.file_size),
               copy.file_size);
  if (real_size < copy.file_size)
    return bad(Errc::truncated_file,
               "has " + std::to_string(real_size) + " bytes, its header says " + std::to_string(copy.file_size), real_size);
  if (copy.header_length != kPageSize || copy.data_offset != kPageSize || copy.granule != kGranule)
    return bad(Errc::bad_header, "has a header length, data offset or granule that layout 1 does not have");
  if (expected.role == Role::bells) {
    if (checked != nullptr) *checked = copy;
    return {};
  }
  if (copy.alignment != 16 && copy.alignment != 64)
    return bad(Errc::bad_header, "says its alignment is " + std::to_string(copy.alignment), copy.alignment);
  const bool stream = expected.kind == Kind::stream;
  const bool power = (copy.capacity & (copy.capacity - 1)) == 0;
  if (stream ? copy.capacity < kMinCapacity || copy.capacity > kMaxCapacity || !power : copy.capacity == 0 || copy.capacity > kMaxBytesSize)
    return bad(Errc::bad_header, "says its capacity is " + std::to_string(copy.capacity), copy.capacity);
  // Only these two hold `capacity` bytes themselves. Neither sum can overflow within the limits above.
  if ((expected.role == Role::lane || expected.role == Role::data) && kPageSize + copy.capacity > copy.file_size)
    return bad(Errc::bad_header, "has room for fewer than the " + std::to_string(copy.capacity) + " bytes it claims", copy.capacity);
  if (checked != nullptr) *checked = copy;
  return {};
}

}  // namespace atoll_ipc::protocol
