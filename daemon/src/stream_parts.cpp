// Lanes and groups of a stream come and go here: the store's part that makes and removes their files.
//
// A lane's bit is set only after its file is complete and every group knows where it starts in it; a
// group's cursors are raised once more after its bit is set. SPEC.md, "Limit and groups".
#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "guard.hpp"
#include "segment_files.hpp"
#include "segment_store.hpp"

namespace atoll_ipc::daemon {

using protocol::Boundary;
using protocol::Role;

namespace {

void erase_file(protocol::Manifest& manifest, Role role, unsigned index) {
  std::erase_if(manifest.files, [&](const protocol::ManifestFile& file) { return file.role == role && file.index == index; });
}

// tail and sequence as one: the producer stores them one after the other.
Boundary stable_tail(const protocol::LaneHeader& lane) noexcept {
  Boundary at;
  for (int i = 0; i < 100; ++i) {
    at.position = lane.tail.load_acquire();
    at.sequence = lane.sequence.load_acquire();
    if (lane.tail.load_acquire() == at.position) break;
  }
  return at;
}

// Where a group that starts now begins in this lane. Call inside guarded().
Boundary start_in_lane(const std::byte* file, const protocol::RingGeometry& geometry, const GroupStart& start) noexcept {
  const auto& lane = *reinterpret_cast<const protocol::LaneHeader*>(file);
  const std::byte* ring = file + protocol::kPageSize;
  const Boundary tail = stable_tail(lane);
  if (start.from == GroupStart::From::latest) return tail;
  const std::uint64_t wanted = start.from == GroupStart::From::back && tail.sequence > start.back ? tail.sequence - start.back : 0;
  Boundary at = protocol::boundary_before(lane, geometry.capacity, wanted);
  for (std::uint64_t walked = 0; walked <= geometry.capacity && at.position < tail.position;) {
    const protocol::Place place = protocol::look_at(ring, geometry, at.position);
    if (place.span == 0) break;  // empty, or overtaken: the caller raises the cursor afterwards
    if (place.found != protocol::Found::padding) at.sequence = protocol::whole_sequence(place.sequence, at.sequence);
    if (start.from == GroupStart::From::earliest) break;
    if (place.found != protocol::Found::padding) {
      if (at.sequence >= wanted) break;
      ++at.sequence;
    }
    at.position += place.span;
    walked += place.span;
  }
  return at;
}

// A group that was made while the lane's producer did not know of it: where that has written over its start it begins
// behind. Only before the group is used: a limit may stand above what its producer may write (it had yet to look at the
// groups again, or died before it could), and says nothing of a group that has consumers.
void raise_start(protocol::LanePosition& positions, const std::byte* lane_file, const protocol::RingGeometry& geometry) noexcept {
  static_cast<void>(guarded([&] {
    const auto& lane = *reinterpret_cast<const protocol::LaneHeader*>(lane_file);
    const std::uint64_t limit = lane.limit.load_acquire();
    const std::uint64_t floor = limit > geometry.capacity ? limit - geometry.capacity : 0;
    if (positions.cursor.load_relaxed() >= floor) return;
    const Boundary at = start_in_lane(lane_file, geometry, {});
    positions.next_sequence.store_release(at.sequence);
    ATOLL_KILL_POINT("broker.group.raising");
    // The cursor last: a broker that comes after one that died here finds it below still.
    positions.next.store_release(at.position);
    ATOLL_KILL_POINT("broker.group.raising.next");
    positions.cursor.store_release(at.position);
    ATOLL_KILL_POINT("broker.group.raising.cursor");
  }));
}

}  // namespace

Result<void> SegmentStore::raise_starts(Segment& segment) {
  if (!segment.stream() || segment.manifest.when_full == protocol::WhenFull::overwrite) return {};
  protocol::full_fence();
  static_cast<void>(process_wide_fence());
  for (const auto& [id, group] : segment.groups) {
    auto group_mapping = map_segment_file(segment, *segment.file(Role::group, id));
    if (!group_mapping && !spoilt(group_mapping.error())) return fail(group_mapping.error());
    if (!group_mapping) continue;  // found when it is settled
    auto& file = *(*group_mapping)->as<protocol::GroupFile>();
    bool started = true;
    if (!guarded([&] { started = file.started.load_acquire() != 0; }) || started) continue;
    for (const auto& [number, lane] : segment.lanes) {
      auto mapping = map_segment_file(segment, *segment.file(Role::lane, number));
      if (!mapping && !spoilt(mapping.error())) return fail(mapping.error());
      if (mapping) raise_start(file.lanes[number], (*mapping)->data(), segment.geometry());
    }
    static_cast<void>(guarded([&] { file.started.store_release(1); }));
    ATOLL_KILL_POINT("broker.group.started.later");
  }
  return {};
}

// Takes the file out of the manifest. It stays in, and the file where it is, if that cannot be published: what a manifest
// names and is missing would be damage to the next broker.
Result<void> SegmentStore::unlist(Segment& segment, Role role, unsigned index) {
  const std::vector<protocol::ManifestFile> before = segment.manifest.files;
  erase_file(segment.manifest, role, index);
  auto published = publish(segment);
  if (!published) segment.manifest.files = before;
  return published;
}

// A file that did not come to be a part of the segment. Its incarnation is used up, which counts as a change: by the number
// of changes the next broker knows which ones were given out.
void SegmentStore::take_back(Segment& segment, const protocol::ManifestFile& file) {
  remove_segment_file(segment, file);
  static_cast<void>(guarded([&] { segment.stream_header()->changes.fetch_add(1); }));
}

Result<Lane*> SegmentStore::add_lane(Segment& segment) {
  unsigned number = 0;
  while (number < protocol::kMaxLanes && segment.lanes.count(number) != 0) ++number;
  if (number == protocol::kMaxLanes)
    return fail(Errc::too_many_lanes, "every one of the 64 lanes of '" + segment.name() + "' has a producer", segment.name(), protocol::kMaxLanes);
  protocol::ManifestFile file;
  file.role = Role::lane;
  file.index = number;
  file.incarnation = segment.next_incarnation;
  file.size = protocol::lane_file_size(segment.manifest.capacity);

  auto content = std::make_unique<protocol::LaneHeader>();
  std::memset(static_cast<void*>(content.get()), 0, sizeof *content);
  content->page = make_header_page(segment.manifest, file);
  content->state.raw = static_cast<std::uint32_t>(protocol::LaneState::closed);
  content->incarnation = file.incarnation;
  ATOLL_KILL_POINT("broker.lane.create");
  auto fd = create_segment_file(segment, file, std::as_bytes(std::span(content.get(), 1)));
  if (!fd) return fail(fd.error());
  ++segment.next_incarnation;
  journal_memory(segment, Role::lane, number);
  Lane lane;
  lane.number = number;
  lane.incarnation = file.incarnation;
  lane.last_uid = segment.manifest.uid;
  if (segment.manifest.backing == protocol::Backing::memfd) {
    // The broker's own writable mapping must exist before the lane is sealed against new ones.
    auto mapping = Mapping::map(fd->get(), file.size, true, describe(segment, file));
    if (!mapping) {
      take_back(segment, file);
      return fail(mapping.error());
    }
    lane.mapping = std::make_shared<Mapping>(std::move(*mapping));
  }
  ATOLL_KILL_POINT("broker.lane.cursors");
  for (auto& [id, group] : segment.groups) {
    const auto* group_file = segment.file(Role::group, id);
    auto mapping = map_segment_file(segment, *group_file);
    if (!mapping && !spoilt(mapping.error())) {
      take_back(segment, file);
      return fail(mapping.error());
    }
    bool set = false;
    if (mapping) {
      auto& positions = (*mapping)->as<protocol::GroupFile>()->lanes[number];
      set = guarded([&] {
        positions.cursor.store_release(0);
        ATOLL_KILL_POINT("broker.lane.cursor");
        positions.next.store_release(0);
        positions.next_sequence.store_release(0);
        positions.lost.store_release(0);
        positions.redelivered.store_release(0);
        positions.incarnation.store_release(file.incarnation);
      });
    }
    if (!set) set_group_aside(segment, group, mapping ? "its file was cut" : mapping.error().message);
  }
  segment.manifest.files.push_back(file);
  if (auto published = publish(segment); !published) {
    erase_file(segment.manifest, Role::lane, number);
    take_back(segment, file);
    return fail(published.error());
  }
  ATOLL_KILL_POINT("broker.lane.bit");
  static_cast<void>(guarded([&] { segment.stream_header()->active_lanes.fetch_or(1ull << number); }));
  ATOLL_KILL_POINT("broker.lane.active");
  changed(segment);
  return &(segment.lanes[number] = std::move(lane));
}

Result<void> SegmentStore::remove_lane(Segment& segment, unsigned number) {
  const auto* found = segment.file(Role::lane, number);
  if (found == nullptr) return {};
  const protocol::ManifestFile file = *found;
  static_cast<void>(guarded([&] { segment.stream_header()->active_lanes.fetch_and(~(1ull << number)); }));
  ATOLL_KILL_POINT("broker.lane.retire");
  if (auto unlisted = unlist(segment, Role::lane, number); !unlisted) {
    static_cast<void>(guarded([&] { segment.stream_header()->active_lanes.fetch_or(1ull << number); }));
    return unlisted;
  }
  segment.lanes.erase(number);
  ATOLL_KILL_POINT("broker.lane.unlisted");
  remove_segment_file(segment, file);
  changed(segment);
  return {};
}

Result<Group*> SegmentStore::add_group(Segment& segment, const std::string& name, std::uint32_t flags, const GroupStart& start) {
  unsigned id = 0;
  while (id < protocol::kMaxGroups && segment.groups.count(id) != 0) ++id;
  if (id == protocol::kMaxGroups)
    return fail(Errc::too_many_groups, "'" + segment.name() + "' has " + std::to_string(id) + " groups already", segment.name(), id);
  protocol::ManifestFile file;
  file.role = Role::group;
  file.index = id;
  file.incarnation = segment.next_incarnation;
  file.group = name;
  file.group_flags = flags;
  file.size = sizeof(protocol::GroupFile);

  const protocol::RingGeometry geometry = segment.geometry();
  std::map<unsigned, std::shared_ptr<Mapping>> lanes;
  for (const auto& [number, lane] : segment.lanes) {
    auto mapping = lane.damaged ? Result<std::shared_ptr<Mapping>>(nullptr) : map_segment_file(segment, *segment.file(Role::lane, number));
    // Without its start in every lane a group would miss records.
    if (!mapping && !spoilt(mapping.error())) return fail(mapping.error());
    if (mapping && *mapping) lanes[number] = std::move(*mapping);
  }
  auto content = std::make_unique<protocol::GroupFile>();
  std::memset(static_cast<void*>(content.get()), 0, sizeof *content);
  content->page = make_header_page(segment.manifest, file);
  content->id = id;
  content->flags = flags;
  for (const auto& [number, mapping] : lanes) {
    Boundary at;
    const std::byte* data = mapping->data();
    if (!guarded([&] { at = start_in_lane(data, geometry, start); })) continue;
    auto& positions = content->lanes[number];
    positions.cursor.raw = at.position;
    positions.next.raw = at.position;
    positions.next_sequence.raw = at.sequence;
    positions.incarnation.raw = segment.lanes[number].incarnation;
  }
  ATOLL_KILL_POINT("broker.group.create");
  auto fd = create_segment_file(segment, file, std::as_bytes(std::span(content.get(), 1)));
  if (!fd) return fail(fd.error());
  ++segment.next_incarnation;
  journal_memory(segment, Role::group, id);
  segment.manifest.files.push_back(file);
  auto group_mapping = Mapping::map(fd->get(), file.size, true, describe(segment, file));
  auto published = group_mapping ? publish(segment) : Result<void>(fail(group_mapping.error()));
  if (!published) {
    erase_file(segment.manifest, Role::group, id);
    take_back(segment, file);
    return fail(published.error());
  }
  ATOLL_KILL_POINT("broker.group.bit");
  // SYNC groups: the bit, a fence, and then the limits are read; a producer stores its limit, fences,
  // and then reads the bit. One of the two sees the other.
  static_cast<void>(guarded([&] { segment.stream_header()->active_groups.fetch_or(1u << id); }));
  ATOLL_KILL_POINT("broker.group.active");
  static_cast<void>(guarded([&] { segment.stream_header()->changes.fetch_add(1); }));
  protocol::full_fence();
  static_cast<void>(process_wide_fence());
  ATOLL_KILL_POINT("broker.group.raise");
  for (const auto& [number, mapping] : lanes) raise_start(group_mapping->as<protocol::GroupFile>()->lanes[number], mapping->data(), geometry);
  ATOLL_KILL_POINT("broker.group.raised");
  static_cast<void>(guarded([&] { group_mapping->as<protocol::GroupFile>()->started.store_release(1); }));
  ATOLL_KILL_POINT("broker.group.started");
  changed(segment);
  Group group;
  group.id = id;
  group.incarnation = file.incarnation;
  group.name = name;
  group.flags = flags;
  return &(segment.groups[id] = std::move(group));
}

void SegmentStore::set_group_aside(Segment& segment, Group& group, const std::string& why) {
  if (const protocol::ManifestFile* file = segment.file(Role::group, group.id)) set_aside(segment, *file);
  group.damaged = true;
  if (!std::exchange(group.aside, true)) spdlog::error("'{}' group '{}' is damaged, and holds its producers back no more: {}", segment.name(), group.name, why);
  const std::uint32_t bit = 1u << group.id;
  bool held_back = false;
  static_cast<void>(guarded([&] { held_back = (segment.stream_header()->active_groups.fetch_and(~bit) & bit) != 0; }));
  if (held_back) changed(segment);
}

Result<void> SegmentStore::remove_group(Segment& segment, unsigned id) {
  const auto* found = segment.file(Role::group, id);
  if (found == nullptr) return {};
  const protocol::ManifestFile file = *found;
  static_cast<void>(guarded([&] { segment.stream_header()->active_groups.fetch_and(~(1u << id)); }));
  ATOLL_KILL_POINT("broker.group.retire");
  if (auto unlisted = unlist(segment, Role::group, id); !unlisted) {
    if (!segment.groups[id].aside) static_cast<void>(guarded([&] { segment.stream_header()->active_groups.fetch_or(1u << id); }));
    return unlisted;
  }
  segment.groups.erase(id);
  ATOLL_KILL_POINT("broker.group.unlisted");
  remove_segment_file(segment, file);
  changed(segment);
  return {};
}

}  // namespace atoll_ipc::daemon
