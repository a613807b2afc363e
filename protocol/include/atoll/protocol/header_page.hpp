// The header page: the first 4096 bytes of every file of Atoll.
//
// Written by the broker before anyone maps the file; the first 128 bytes never change afterwards.
// Readers copy what they need once, check it against the manifest and the file's real size
// (check_header_page) and never read it again. What follows at 128 depends on the file's role:
// segment_header.hpp, lane.hpp, group.hpp, bell.hpp, bytes.hpp. SPEC.md, "Header page".
//
//   0        8       10      12     14      16          24               40
//   | magic  | layout| minrd | kind | hdrlen| generation| uuid (16 bytes)|
//   40        48        56       60         64        72      74      76    78     80
//   | required| optional| granule| alignment| capacity| lanemax|grpmax| role| index|
//   80          88           96         104
//   | file size | data offset| created  | reserved up to 128
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "atoll/protocol/word.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::uint64_t kMagic = 0x31304C4C4F544141ull;  // "AATOLL01" in memory
inline constexpr std::uint64_t kMagicSwapped = 0x4141544F4C4C3031ull;
inline constexpr std::uint16_t kLayoutVersion = 1;
inline constexpr std::uint16_t kMinReaderVersion = 1;
inline constexpr std::uint64_t kPageSize = 4096;       // of a header page, on every machine
inline constexpr std::uint32_t kGranule = 65536;       // mappings start at multiples of this
inline constexpr std::uint64_t kKnownRequiredFeatures = 0;  // none defined yet

enum class Kind : std::uint16_t { stream = 1, table = 2, log = 3, pool = 4, bytes = 5 };
enum class Role : std::uint16_t { header = 1, lane = 2, group = 3, bell = 4, data = 5, bells = 6 };

struct HeaderPage {
  std::uint64_t magic;
  std::uint16_t layout_version;
  std::uint16_t min_reader_version;
  std::uint16_t kind;           // Kind; 0 in the broker's `bells` file
  std::uint16_t header_length;  // 4096
  std::uint64_t generation;
  std::array<std::uint8_t, 16> uuid;
  std::uint64_t required_features;
  std::uint64_t optional_features;
  std::uint32_t granule;
  std::uint32_t alignment;  // of record payloads: 16 or 64; 64 in a bytes segment
  std::uint64_t capacity;   // bytes of a lane's ring, or of a bytes segment's content
  std::uint16_t lane_max;
  std::uint16_t group_max;
  std::uint16_t role;   // Role
  std::uint16_t index;  // lane number or group id; else 0
  std::uint64_t file_size;
  std::uint64_t data_offset;  // 4096
  std::uint64_t created_ns;   // since 1970, UTC
  std::array<std::uint8_t, 24> reserved;
};
static_assert(offsetof(HeaderPage, layout_version) == 8);
static_assert(offsetof(HeaderPage, min_reader_version) == 10);
static_assert(offsetof(HeaderPage, kind) == 12);
static_assert(offsetof(HeaderPage, header_length) == 14);
static_assert(offsetof(HeaderPage, generation) == 16);
static_assert(offsetof(HeaderPage, uuid) == 24);
static_assert(offsetof(HeaderPage, required_features) == 40);
static_assert(offsetof(HeaderPage, optional_features) == 48);
static_assert(offsetof(HeaderPage, granule) == 56);
static_assert(offsetof(HeaderPage, alignment) == 60);
static_assert(offsetof(HeaderPage, capacity) == 64);
static_assert(offsetof(HeaderPage, lane_max) == 72);
static_assert(offsetof(HeaderPage, group_max) == 74);
static_assert(offsetof(HeaderPage, role) == 76);
static_assert(offsetof(HeaderPage, index) == 78);
static_assert(offsetof(HeaderPage, file_size) == 80);
static_assert(offsetof(HeaderPage, data_offset) == 88);
static_assert(offsetof(HeaderPage, created_ns) == 96);
static_assert(sizeof(HeaderPage) == 128);

}  // namespace atoll_ipc::protocol
