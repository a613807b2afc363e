// The `layout` part of a manifest: every offset, width and rule that a reader needs, taken from the
// structs themselves so that text and bytes cannot drift apart.
//
// Called by the broker when it writes a manifest. SPEC.md, "Manifest". A field is
// {offset, width}; all are unsigned little-endian integers unless `type` says otherwise.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>

#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/bytes.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/lock_word.hpp"
#include "atoll/protocol/record.hpp"
#include "atoll/protocol/segment_header.hpp"

namespace atoll_ipc::protocol {

#define ATOLL_FIELD(Struct, member) \
  { #member, { {"offset", offsetof(Struct, member)}, {"width", sizeof(Struct::member)} } }

[[nodiscard]] inline nlohmann::json header_page_layout() {
  return {{"size", kPageSize},
          {"magic", "AATOLL01"},
          {"fields",
           {ATOLL_FIELD(HeaderPage, magic), ATOLL_FIELD(HeaderPage, layout_version), ATOLL_FIELD(HeaderPage, min_reader_version),
            ATOLL_FIELD(HeaderPage, kind), ATOLL_FIELD(HeaderPage, header_length), ATOLL_FIELD(HeaderPage, generation),
            {"uuid", {{"offset", offsetof(HeaderPage, uuid)}, {"width", 16}, {"type", "bytes"}}},
            ATOLL_FIELD(HeaderPage, required_features), ATOLL_FIELD(HeaderPage, optional_features), ATOLL_FIELD(HeaderPage, granule),
            ATOLL_FIELD(HeaderPage, alignment), ATOLL_FIELD(HeaderPage, capacity), ATOLL_FIELD(HeaderPage, lane_max),
            ATOLL_FIELD(HeaderPage, group_max), ATOLL_FIELD(HeaderPage, role), ATOLL_FIELD(HeaderPage, index),
            ATOLL_FIELD(HeaderPage, file_size), ATOLL_FIELD(HeaderPage, data_offset), ATOLL_FIELD(HeaderPage, created_ns)}},
          {"roles", {{"header", 1}, {"lane", 2}, {"group", 3}, {"bell", 4}, {"data", 5}, {"bells", 6}}},
          {"kinds", {{"stream", 1}, {"table", 2}, {"log", 3}, {"pool", 4}, {"bytes", 5}}}};
}

[[nodiscard]] inline nlohmann::json bell_layout() {
  const auto sleepers = [](std::size_t offset) {
    return nlohmann::json{{"summary", {{"offset", offset + offsetof(Sleepers, summary)}, {"width", 8}}},
                          {"slots", {{"offset", offset + offsetof(Sleepers, slots)}, {"width", 8}, {"count", kMaxSlots / 64}}}};
  };
  return {{"bell", {{"data", sleepers(offsetof(BellFile, data))}, {"room", sleepers(offsetof(BellFile, room))}}},
          {"bells",
           {{"offset", offsetof(BellsFile, bells)},
            {"stride", sizeof(Bell)},
            {"count", kMaxSlots},
            {"fields", {ATOLL_FIELD(Bell, sequence), ATOLL_FIELD(Bell, asleep)}},
            {"life", {{"offset", offsetof(BellsFile, life)}, {"width", 4}, {"died_bit", 30}}}}}};
}

[[nodiscard]] inline nlohmann::json lock_layout() {
  return {{"offset", offsetof(GroupFile, lock)},
          {"width", 4},
          {"slot_plus_1", {{"shift", 0}, {"bits", 13}}},
          {"generation", {{"shift", 13}, {"bits", 17}}},
          {"needs_repair_bit", 30},
          {"waiters_bit", 31},
          {"redo",
           {{"offset", offsetof(GroupFile, redo)},
            {"count", {{"offset", offsetof(Redo, count)}, {"width", 4}}},
            {"copy_length", {{"offset", offsetof(Redo, copy_length)}, {"width", 8}}},
            {"entries", {{"offset", offsetof(Redo, entries)}, {"stride", sizeof(RedoEntry)}, {"count", kRedoMax}}}}}};
}

[[nodiscard]] inline nlohmann::json stream_layout() {
  nlohmann::json layout{{"header_page", header_page_layout()}, {"bells", bell_layout()}, {"lock", lock_layout()}};
  layout["header"] = {
      {"fields",
       {ATOLL_FIELD(SegmentHeader, active_lanes), ATOLL_FIELD(SegmentHeader, state), ATOLL_FIELD(SegmentHeader, active_groups),
        ATOLL_FIELD(SegmentHeader, changes), ATOLL_FIELD(SegmentHeader, next_generation), ATOLL_FIELD(SegmentHeader, broker_epoch),
        ATOLL_FIELD(SegmentHeader, observers), ATOLL_FIELD(SegmentHeader, when_full)}},
      {"states", {{"live", 1}, {"removed", 2}, {"replaced", 3}}},
      {"when_full", {{"block", 1}, {"drop-new", 2}, {"overwrite", 3}}}};
  layout["lane"] = {
      {"fields",
       {ATOLL_FIELD(LaneHeader, state), ATOLL_FIELD(LaneHeader, owner_slot), ATOLL_FIELD(LaneHeader, owner_generation),
        ATOLL_FIELD(LaneHeader, producer_id), ATOLL_FIELD(LaneHeader, incarnation), ATOLL_FIELD(LaneHeader, successor_generation),
        ATOLL_FIELD(LaneHeader, successor_lane), ATOLL_FIELD(LaneHeader, limit), ATOLL_FIELD(LaneHeader, tail),
        ATOLL_FIELD(LaneHeader, sequence), ATOLL_FIELD(LaneHeader, finished), ATOLL_FIELD(LaneHeader, wake_mode), ATOLL_FIELD(LaneHeader, room_slot), ATOLL_FIELD(LaneHeader, room_wanted),
        ATOLL_FIELD(LaneHeader, dropped), ATOLL_FIELD(LaneHeader, blocked), ATOLL_FIELD(LaneHeader, aborted),
        ATOLL_FIELD(LaneHeader, checkpoint_count)}},
      {"states", {{"owned", 1}, {"closed", 2}, {"orphaned", 3}}},
      {"wake_modes", {{"fenced", 0}, {"registered", 1}}},
      {"checkpoints",
       {{"offset", offsetof(LaneHeader, checkpoints)},
        {"stride", sizeof(Checkpoint)},
        {"count", kCheckpoints},
        {"fields", {ATOLL_FIELD(Checkpoint, position), ATOLL_FIELD(Checkpoint, sequence)}},
        {"rule", "entry i of checkpoint_count is at i mod count; it is valid if checkpoint_count - i < count before and after reading it"}}},
      {"ring",
       {{"offset", sizeof(LaneHeader)},
        {"index", "position mod capacity"},
        {"readable_from", "limit - capacity, or 0 if limit <= capacity"},
        {"start", "position 0 if limit <= capacity, else tail, or the last good checkpoint: from the newest on, until one is below limit - capacity or above the one after it (or tail)"},
        {"copy_then_check", "copy the record, then: position >= limit - capacity and the commit word unchanged, else it was overtaken"}}}};
  layout["record"] = {
      {"header_size", kRecordHeaderSize},
      {"fields",
       {ATOLL_FIELD(RecordHeader, commit), ATOLL_FIELD(RecordHeader, length), ATOLL_FIELD(RecordHeader, sequence),
        ATOLL_FIELD(RecordHeader, flags), ATOLL_FIELD(RecordHeader, extension_length), ATOLL_FIELD(RecordHeader, type)}},
      {"commit", {{"state", {{"shift", 0}, {"bits", 3}}}, {"lap", {{"shift", 3}, {"bits", 29}, {"value", "(position div capacity) mod 2^29"}}}}},
      {"states", {{"empty", 0}, {"claimed", 1}, {"committed", 2}, {"aborted", 3}, {"padding", 4}}},
      {"types", {{"data", 1}, {"padding", 2}}},
      {"content", {{"mask", kContentMask}, {"bytes", 0}, {"text", 1}, {"json", 2}, {"array", 3}}},
      {"payload_offset", "header_size + 8 * extension_length, rounded up to a multiple of alignment"},
      {"span", "payload_offset + length rounded up to a multiple of alignment; the next record starts there"},
      {"walk",
       "empty or claimed: wait; committed: a record; aborted: skip its span, it used a sequence number; padding: skip its span, it used none; "
       "a word of another lap: as empty; empty below lane.tail: overtaken, if position < limit - capacity, else damaged"}};
  layout["group"] = {
      {"fields",
       {ATOLL_FIELD(GroupFile, id), ATOLL_FIELD(GroupFile, flags), ATOLL_FIELD(GroupFile, members), ATOLL_FIELD(GroupFile, returned), ATOLL_FIELD(GroupFile, claims_used),
        ATOLL_FIELD(GroupFile, lock)}},
      {"flags", {{"exclusive", kGroupExclusive}, {"ephemeral", kGroupEphemeral}}},
      {"lanes",
       {{"offset", offsetof(GroupFile, lanes)},
        {"stride", sizeof(LanePosition)},
        {"count", kMaxLanes},
        {"fields",
         {ATOLL_FIELD(LanePosition, cursor), ATOLL_FIELD(LanePosition, next), ATOLL_FIELD(LanePosition, next_sequence),
          ATOLL_FIELD(LanePosition, lost), ATOLL_FIELD(LanePosition, incarnation), ATOLL_FIELD(LanePosition, redelivered)}}}},
      {"claims",
       {{"offset", offsetof(GroupFile, claims)},
        {"stride", sizeof(Claim)},
        {"count", kClaims},
        {"fields",
         {ATOLL_FIELD(Claim, state), ATOLL_FIELD(Claim, slot), ATOLL_FIELD(Claim, slot_generation), ATOLL_FIELD(Claim, lane),
          ATOLL_FIELD(Claim, count), ATOLL_FIELD(Claim, deliveries), ATOLL_FIELD(Claim, begin), ATOLL_FIELD(Claim, end),
          ATOLL_FIELD(Claim, begin_sequence), ATOLL_FIELD(Claim, acked)}},
        {"states", {{"free", 0}, {"held", 1}, {"returned", 2}}}}}};
  return layout;
}

[[nodiscard]] inline nlohmann::json bytes_layout() {
  nlohmann::json layout{{"header_page", header_page_layout()}, {"bells", bell_layout()}, {"lock", lock_layout()}};
  layout["data"] = {
      {"fields",
       {ATOLL_FIELD(BytesHeader, state), ATOLL_FIELD(BytesHeader, changes), ATOLL_FIELD(BytesHeader, next_generation),
        ATOLL_FIELD(BytesHeader, broker_epoch), ATOLL_FIELD(BytesHeader, put_size), ATOLL_FIELD(BytesHeader, staging_offset),
        ATOLL_FIELD(BytesHeader, lock), ATOLL_FIELD(BytesHeader, change), ATOLL_FIELD(BytesHeader, length),
        ATOLL_FIELD(BytesHeader, version)}},
      {"states", {{"live", 1}, {"removed", 2}, {"replaced", 3}}},
      {"content", {{"offset", sizeof(BytesHeader)}, {"size", "capacity of the header page"}}},
      {"get", "change is even: read length, version and the content; change is the same afterwards, else again"}};
  return layout;
}

#undef ATOLL_FIELD

}  // namespace atoll_ipc::protocol
