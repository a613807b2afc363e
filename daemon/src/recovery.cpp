#include "recovery.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <climits>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "group_recovery.hpp"
#include "guard.hpp"
#include "lane_recovery.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using protocol::LaneState;
using protocol::Role;

namespace {

constexpr std::int64_t kFirstRetryNs = 1'000'000;
constexpr std::int64_t kLastRetryNs = 50'000'000;
constexpr std::int64_t kShortageNs = 100'000'000;

// What a Membership's context points at.
struct Context {
  Slots* slots;
  const Segment* segment;
  unsigned group;
};

Membership membership_of(const Context& context) {
  return {[](const void* opaque, unsigned slot, std::uint32_t generation) {
            const auto* c = static_cast<const Context*>(opaque);
            return c->slots->is_member(*c->segment, c->group, slot, generation);
          },
          [](const void* opaque, unsigned slot, std::uint32_t generation_bits) {
            return static_cast<const Context*>(opaque)->slots->is_alive(slot, generation_bits);
          },
          &context};
}

}  // namespace

void Recovery::ring_everybody(Segment& segment) {
  store_.ring(segment);
  for (const std::int64_t id : segment.attachments)
    if (const Attachment* attachment = slots_.attachment(id)) ring_slot(*store_.runtime().bells, attachment->slot.slot);
}

void Recovery::store_members(Segment& segment, Group& group) {
  auto mapping = map_segment_file(segment, *segment.file(Role::group, group.id));
  if (!mapping) return;
  auto& file = *(*mapping)->as<protocol::GroupFile>();
  const auto members = static_cast<std::uint32_t>(group.members.size());
  static_cast<void>(guarded([&] { file.members.store_release(members); }));
}

Recovery::LaneResult Recovery::settle_idle_lane(Segment& segment, Lane& lane, IdleLane& found) {
  if (lane.damaged) return LaneResult::damaged;
  const auto* file = segment.file(Role::lane, lane.number);
  auto mapping = file == nullptr ? Result<std::shared_ptr<Mapping>>(fail(Errc::bad_manifest, "the lane is in no manifest"))
                                 : map_segment_file(segment, *file);
  std::string why;
  if (!mapping) {
    if (!spoilt(mapping.error())) return LaneResult::later;
    why = mapping.error().message;
  } else {
    std::byte* data = (*mapping)->data();
    const protocol::RingGeometry geometry = segment.geometry();
    SettledLane& settled = found.settled;
    if (!guarded([&] { settled = settle_lane(data, geometry); }))
      why = "its file was cut";
    else if (settled.damaged)
      why = "it holds bytes that no producer writes, at position " + std::to_string(settled.tail);
    else if (settled.aborted > 0)
      spdlog::info("'{}' lane {}: {} open loans of its last producer aborted", segment.name(), lane.number, settled.aborted);
  }
  if (why.empty()) {
    found.mapping = std::move(*mapping);
    return LaneResult::sound;
  }
  lane.damaged = true;
  spdlog::error("'{}' lane {} is damaged and will not be given on: {} (last producer: slot {})", segment.name(), lane.number, why,
                lane.owner ? std::to_string(lane.owner->slot) : "unknown");
  return LaneResult::damaged;
}

bool Recovery::groups_come_through(Segment& segment, const Lane& lane, const IdleLane& found) {
  if (found.settled.last_resort) return false;
  for (const auto& [id, group] : segment.groups) {
    if (group.damaged) continue;
    auto mapping = map_segment_file(segment, *segment.file(Role::group, id));
    if (!mapping) return false;
    const protocol::LanePosition& place = (*mapping)->as<protocol::GroupFile>()->lanes[lane.number];
    bool through = false;
    static_cast<void>(guarded([&] {
      through = place.incarnation.load_acquire() != lane.incarnation || comes_through(found.mapping->data(), segment.geometry(), found.settled, place);
    }));
    if (!through) return false;
  }
  return true;
}

// The lane's producer is gone: settled, and marked as its `state` here says. Tried again while descriptors
// or memory are short, because readers wait at what the producer left open.
void Recovery::end_lane(const SegmentPtr& segment, unsigned number, std::uint64_t incarnation) {
  const auto at = segment->lanes.find(number);
  if (segment->removed || at == segment->lanes.end() || at->second.incarnation != incarnation || at->second.owner) return;
  if (at->second.sealed && !at->second.mapping) {
    // A memfd lane that came back after a restart: the seal keeps us from writing it. What is committed stays
    // readable; a loan that was open stays open, and readers wait there.
    spdlog::warn("'{}' lane {}: sealed before this broker started, so its end cannot be marked", segment->name(), number);
    return;
  }
  IdleLane found;
  const LaneResult result = settle_idle_lane(*segment, at->second, found);
  if (result == LaneResult::sound) {
    auto& header = *found.mapping->as<protocol::LaneHeader>();
    const LaneState state = at->second.state;
    static_cast<void>(guarded([&] { set_lane_owner(header, state, 0, 0, 0); }));
    ATOLL_KILL_POINT("broker.lane.ended");
  }
  ATOLL_KILL_POINT("broker.lane.settled");
  if (result != LaneResult::later) return;
  loop_.after(kShortageNs, [this, weak = std::weak_ptr<Segment>(segment), number, incarnation] {
    if (const SegmentPtr still = weak.lock()) {
      end_lane(still, number, incarnation);
      ring_everybody(*still);
    }
  });
}

void Recovery::settle_bytes_of(const SegmentPtr& held) {
  Segment& segment = *held;
  if (segment.removed) return;
  auto mapping = map_segment_file(segment, *segment.file(Role::data));
  if (!mapping && !spoilt(mapping.error())) {
    loop_.after(kShortageNs, [this, weak = std::weak_ptr<Segment>(held)] {
      if (const SegmentPtr still = weak.lock()) settle_bytes_of(still);
    });
    return;
  }
  if (!mapping) {
    spdlog::error("'{}': {}", segment.name(), mapping.error().message);
    return;
  }
  auto& header = *(*mapping)->as<protocol::BytesHeader>();
  const Context context{&slots_, &segment, 0};
  const Membership membership = membership_of(context);
  const std::uint64_t size = segment.manifest.size;
  const std::uint64_t put_size = segment.manifest.put_size;
  const std::uint64_t staging = staging_offset(segment.manifest);
  protocol::Repaired repaired = protocol::Repaired::nothing_to_do;
  const bool whole = guarded([&] {
    // Whoever was woken for the lock may have died before it took it.
    futex_wake(header.lock, INT_MAX);
    // A free lock needs no care: redo and counter change only under it.
    if ((header.lock.load_acquire() & (protocol::kLockHolderMask | protocol::kLockNeedsRepair)) == 0) return;
    if (take_lock_as_broker(header.lock, membership) == LockTaken::busy) return;
    repaired = protocol::repair_bytes(header, size, put_size, staging);
    ATOLL_KILL_POINT("broker.bytes.repaired");
    release_lock_as_broker(header.lock);
  });
  if (!whole || repaired == protocol::Repaired::damaged) spdlog::error("'{}': the redo area of its lock holds values that no client writes", segment.name());
  if (repaired == protocol::Repaired::applied) spdlog::info("'{}': a put of a dead process was completed", segment.name());
  ring_everybody(segment);
}

void Recovery::settle_group_of(const SegmentPtr& segment, unsigned id, std::uint64_t incarnation, std::int64_t next_delay_ns) {
  const auto at = segment->groups.find(id);
  if (segment->removed || at == segment->groups.end() || at->second.incarnation != incarnation) return;
  Group& group = at->second;
  if (!group.damaged) {
    auto mapping = map_segment_file(*segment, *segment->file(Role::group, id));
    SettledGroup settled;
    settled.result = Settled::damaged;
    if (mapping) {
      auto& file = *(*mapping)->as<protocol::GroupFile>();
      const Context context{&slots_, segment.get(), id};
      const Membership membership = membership_of(context);
      if (!guarded([&] { settled = settle_group(file, membership); })) settled.result = Settled::damaged;
    } else if (spoilt(mapping.error())) {
      store_.set_group_aside(*segment, group, mapping.error().message);
    } else {
      settled.result = Settled::busy;
    }
    if (settled.result == Settled::busy) {
      loop_.after(next_delay_ns, [this, weak = std::weak_ptr<Segment>(segment), id, incarnation, next_delay_ns] {
        if (const SegmentPtr still = weak.lock()) settle_group_of(still, id, incarnation, std::min(next_delay_ns * 2, kLastRetryNs));
      });
      return;
    }
    if (settled.result == Settled::damaged && !group.damaged) {
      group.damaged = true;
      spdlog::error("'{}' group '{}' is damaged: its file holds values that no consumer writes", segment->name(), group.name);
    }
    if (settled.returned > 0) spdlog::info("'{}' group '{}': {} claims given back", segment->name(), group.name, settled.returned);
  }
  ATOLL_KILL_POINT("broker.group.settled");
  if ((group.flags & protocol::kGroupEphemeral) != 0 && group.members.empty() && !store_.remove_group(*segment, id)) {
    // Left as it is, it would hold producers back.
    loop_.after(kShortageNs, [this, weak = std::weak_ptr<Segment>(segment), id, incarnation] {
      if (const SegmentPtr still = weak.lock()) settle_group_of(still, id, incarnation, kFirstRetryNs);
    });
  }
  ring_everybody(*segment);
}

void Recovery::release(Attachment attachment, bool dead) {
  Segment& segment = *attachment.segment;
  if (!segment.removed && !segment.broken) {
    if (attachment.lane) {
      const auto at = segment.lanes.find(*attachment.lane);
      if (at != segment.lanes.end() && at->second.owner == attachment.slot) {
        at->second.state = dead ? LaneState::orphaned : LaneState::closed;
        at->second.owner.reset();
        end_lane(attachment.segment, *attachment.lane, at->second.incarnation);
      }
    }
    if (attachment.group) {
      const auto at = segment.groups.find(*attachment.group);
      if (at != segment.groups.end()) {
        at->second.members.erase(attachment.id);
        store_members(segment, at->second);
        ATOLL_KILL_POINT("broker.group.members");
      }
    }
  }
  slots_.detach(attachment.id);
}

void Recovery::process_ended(SlotKey key) {
  Slot* slot = slots_.find(key);
  if (slot == nullptr) return;
  ATOLL_KILL_POINT("broker.death.heard");
  if (!slot->attachments.empty())
    spdlog::info("process {} ({}) of slot {} ended and held {} attachments", slot->process.pid, slot->process.command, key.slot, slot->attachments.size());
  std::vector<Attachment> held;
  for (const std::int64_t id : std::set<std::int64_t>(slot->attachments))
    if (const Attachment* attachment = slots_.attachment(id)) {
      held.push_back(*attachment);
      release(*attachment, true);
      ATOLL_KILL_POINT("broker.death.released");
    }
  // From here on the slot counts as dead for the locks and claims that name it.
  slots_.release(key);
  ATOLL_KILL_POINT("broker.slot.gone");
  for (const Attachment& attachment : held) {
    Segment& segment = *attachment.segment;
    if (segment.removed || segment.broken) continue;
    if (attachment.role == AttachRole::map && attachment.writable) settle_bytes_of(attachment.segment);
    const auto group = attachment.group ? segment.groups.find(*attachment.group) : segment.groups.end();
    if (group != segment.groups.end())
      settle_group_of(attachment.segment, *attachment.group, group->second.incarnation, kFirstRetryNs);
    else
      ring_everybody(segment);
    ATOLL_KILL_POINT("broker.death.told");
  }
}

void Recovery::give_back(std::int64_t id) {
  const Attachment* found = slots_.attachment(id);
  if (found == nullptr) return;
  const Attachment attachment = *found;
  ATOLL_KILL_POINT("broker.detach.begun");
  release(attachment, false);
  ATOLL_KILL_POINT("broker.detach.released");
  Segment& segment = *attachment.segment;
  if (segment.removed || segment.broken) return;
  const auto group = attachment.group ? segment.groups.find(*attachment.group) : segment.groups.end();
  if (group != segment.groups.end())
    settle_group_of(attachment.segment, *attachment.group, group->second.incarnation, kFirstRetryNs);
  else if (attachment.role == AttachRole::produce)
    ring_everybody(segment);
}

void Recovery::bind(const SegmentPtr& segment) {
  if (segment->broken || segment->removed) return;
  for (const std::int64_t id : std::set<std::int64_t>(segment->attachments)) {
    Attachment* attachment = slots_.attachment(id);
    if (attachment == nullptr) continue;
    const auto lane = attachment->lane ? segment->lanes.find(*attachment->lane) : segment->lanes.end();
    const auto group = attachment->group ? segment->groups.find(*attachment->group) : segment->groups.end();
    const bool other_group = attachment->group && (group == segment->groups.end() || group->second.incarnation != attachment->group_incarnation);
    if ((attachment->lane && lane == segment->lanes.end()) || other_group) {
      slots_.detach(id);  // it was never complete, or what it held was removed
      continue;
    }
    const Slot* slot = slots_.find(attachment->slot);
    if (attachment->lane) {
      lane->second.owner = attachment->slot;
      lane->second.state = LaneState::owned;
      lane->second.producer_id = attachment->producer_id;
      lane->second.last_uid = slot != nullptr ? slot->process.uid : segment->manifest.uid;
    }
    if (attachment->group) group->second.members.insert(id);
  }
  for (auto& [number, lane] : segment->lanes) {
    if (lane.owner || lane.state == LaneState::closed || lane.last_uid == kNobodyKnown) continue;
    // Owned by nobody that the journal knows: its producer's death was being dealt with.
    lane.state = LaneState::orphaned;
    end_lane(segment, number, lane.incarnation);
  }
  std::vector<std::pair<unsigned, std::uint64_t>> groups;
  for (auto& [id, group] : segment->groups) {
    store_members(*segment, group);
    groups.emplace_back(id, group.incarnation);
  }
  for (const auto& [id, incarnation] : groups) settle_group_of(segment, id, incarnation, kFirstRetryNs);
  if (!segment->stream()) settle_bytes_of(segment);
  ring_everybody(*segment);
}

}  // namespace atoll_ipc::daemon
