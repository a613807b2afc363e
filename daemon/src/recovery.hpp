// Recovery: what happens when a process that held something has ended, or gives it back.
//
// Called with certainty only (a pidfd, or what SPEC.md, "Liveness", counts as one). Everything is
// idempotent. A group whose lock a living process holds is tried again by a timer; the loop never waits.
#pragma once

#include <map>

#include "event_loop.hpp"
#include "lane_recovery.hpp"
#include "segment_store.hpp"
#include "slots.hpp"

namespace atoll_ipc::daemon {

class Recovery {
 public:
  Recovery(EventLoop& loop, SegmentStore& store, Slots& slots) : loop_(loop), store_(store), slots_(slots) {}

  // Everything that the slot held is given back as a death demands; the slot is then gone.
  void process_ended(SlotKey key);
  // One attachment is given back by a living process.
  void give_back(std::int64_t attachment);

  // After a restart, and when a memfd segment is whole again: whose lanes and groups are these?
  void bind(const SegmentPtr& segment);

  // Finds the true end of an idle lane, so that it can be given on.
  enum class LaneResult { sound, damaged, later };
  struct IdleLane {
    SettledLane settled;
    std::shared_ptr<Mapping> mapping;  // there if it is sound
  };
  LaneResult settle_idle_lane(Segment& segment, Lane& lane, IdleLane& found);
  // Does every group, and any that is made now, come to the tail of this settled lane, whatever its last producer left below?
  [[nodiscard]] bool groups_come_through(Segment& segment, const Lane& lane, const IdleLane& found);
  // Everybody who sleeps on the segment or is attached to it.
  void ring_everybody(Segment& segment);
  void store_members(Segment& segment, Group& group);

 private:
  void release(Attachment attachment, bool dead);
  void end_lane(const SegmentPtr& segment, unsigned number, std::uint64_t incarnation);
  void settle_group_of(const SegmentPtr& segment, unsigned group, std::uint64_t incarnation, std::int64_t next_delay_ns);
  void settle_bytes_of(const SegmentPtr& segment);

  EventLoop& loop_;
  SegmentStore& store_;
  Slots& slots_;
};

}  // namespace atoll_ipc::daemon
