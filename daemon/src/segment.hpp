// A segment as the broker knows it: manifest, files, lanes, groups. Plain data, no policy.
//
// What stands here is the broker's own memory and is believed; what stands in the files is not.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/manifest.hpp"
#include "files.hpp"
#include "process.hpp"

namespace atoll_ipc::daemon {

// A process's slot and the slot's generation: together they are never given out twice.
struct SlotKey {
  unsigned slot = 0;
  std::uint32_t generation = 0;
  auto operator<=>(const SlotKey&) const = default;
};

// The user of a lane that clients of another broker may write: nobody is given it.
inline constexpr uid_t kNobodyKnown = ~uid_t{0};

struct Lane {
  unsigned number = 0;
  std::uint64_t incarnation = 0;
  protocol::LaneState state = protocol::LaneState::closed;
  std::optional<SlotKey> owner;
  uid_t last_uid = 0;          // of the last owner; nobody else is given it after that one
  std::uint64_t producer_id = 0;
  bool damaged = false;        // not given on
  bool sealed = false;         // a memfd lane that nobody can map writable any more
  std::shared_ptr<Mapping> mapping;  // of a memfd lane, made before it was sealed
};

struct Group {
  unsigned id = 0;
  std::uint64_t incarnation = 0;
  std::string name;
  std::uint32_t flags = 0;
  std::set<std::int64_t> members;  // attachments
  bool damaged = false;
  bool aside = false;  // damaged by its file: it holds no producer back
};

struct Segment {
  protocol::Manifest manifest;
  std::string manifest_text;
  std::string manifest_head;   // what Attach tells of the manifest, as JSON; empty until the first Attach
  UniqueFd directory;          // of its files; empty for memfd
  std::string directory_path;  // its absolute path; empty for memfd
  std::map<std::pair<protocol::Role, unsigned>, UniqueFd> memfds;
  // What the journal says, also while the segment cannot be used: which file each memfd is; whose the lanes were, until they
  // are adopted; files that were spoilt once and are not given out again, by role, index and incarnation.
  std::map<std::pair<protocol::Role, unsigned>, FileIdentity> memory;
  std::map<unsigned, uid_t> producers;
  std::set<std::tuple<protocol::Role, unsigned, std::uint64_t>> aside;
  Mapping header;  // a stream's header file; the first page of a bytes segment's data file
  Mapping bell;
  std::map<unsigned, Lane> lanes;
  std::map<unsigned, Group> groups;
  std::uint64_t next_incarnation = 1;
  std::set<std::int64_t> attachments;
  std::uint32_t observers = 0;  // of them
  Process maker;  // whose share it is of; unknown after a restart
  bool removed = false;
  bool awaiting_memory = false;          // a memfd segment whose clients may still offer it back
  std::optional<protocol::Failure> broken;  // why it cannot be used; it can be removed

  [[nodiscard]] const std::string& name() const noexcept { return manifest.name; }
  [[nodiscard]] bool stream() const noexcept { return manifest.kind == protocol::Kind::stream; }
  [[nodiscard]] protocol::SegmentHeader* stream_header() const noexcept { return header.as<protocol::SegmentHeader>(); }
  [[nodiscard]] protocol::BytesHeader* bytes_header() const noexcept { return header.as<protocol::BytesHeader>(); }
  [[nodiscard]] std::string directory_name() const {
    return protocol::path_component(manifest.name) + "@" + std::to_string(manifest.generation);
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const protocol::ManifestFile& file : manifest.files) sum += file.size;
    return sum;
  }
  [[nodiscard]] protocol::RingGeometry geometry() const noexcept {
    unsigned log2 = 0;
    while ((1ull << log2) < manifest.capacity) ++log2;
    return {manifest.capacity, log2, manifest.alignment};
  }
  [[nodiscard]] const protocol::ManifestFile* file(protocol::Role role, unsigned index = 0) const noexcept {
    for (const protocol::ManifestFile& file : manifest.files)
      if (file.role == role && file.index == index) return &file;
    return nullptr;
  }
  [[nodiscard]] Group* group_named(std::string_view wanted) noexcept {
    for (auto& [id, group] : groups)
      if (group.name == wanted) return &group;
    return nullptr;
  }
};

using SegmentPtr = std::shared_ptr<Segment>;

}  // namespace atoll_ipc::daemon
