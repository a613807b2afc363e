#include "slots.hpp"

#include <sys/random.h>

#include <algorithm>

#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/lock_word.hpp"
#include "guard.hpp"

namespace atoll_ipc::daemon {
namespace {

using nlohmann::json;

constexpr unsigned kUsableSlots = protocol::kMaxSlots - 1;  // 0..4094

std::string make_token() {
  std::array<unsigned char, 16> bytes{};
  static_cast<void>(::getrandom(bytes.data(), bytes.size(), 0));
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char b : bytes) {
    out.push_back(digits[b >> 4]);
    out.push_back(digits[b & 15]);
  }
  return out;
}

// Producers look at it (SPEC.md, "Writing a record"). Who attaches while it is stored may be seen a little late.
void tell_observers(Segment& segment, std::uint32_t count) {
  segment.observers = count;
  if (!segment.stream() || !segment.header) return;
  static_cast<void>(guarded([&] { segment.stream_header()->observers.store_relaxed(count); }));
  ATOLL_KILL_POINT("broker.observers");
}

json slot_entry(const Slot& slot) {
  return {{"t", "slot"},
          {"slot", slot.key.slot},
          {"generation", slot.key.generation},
          {"pid", slot.process.pid},
          {"uid", slot.process.uid},
          {"start", slot.process.start_time},
          {"token", slot.token},
          {"command", slot.process.command},
          {"library", slot.library}};
}

json attachment_entry(const Attachment& attachment, uid_t uid) {
  json entry{{"t", "attached"},
             {"id", attachment.id},
             {"slot", attachment.slot.slot},
             {"slot_generation", attachment.slot.generation},
             {"name", attachment.segment->name()},
             {"generation", attachment.segment->manifest.generation},
             {"role", attach_role_name(attachment.role)},
             {"writable", attachment.writable}};
  if (attachment.lane) {
    entry["lane"] = *attachment.lane;
    entry["producer"] = attachment.producer_id;
    entry["uid"] = uid;
  }
  if (attachment.group) {
    entry["group"] = *attachment.group;
    entry["incarnation"] = attachment.group_incarnation;
    entry["group_name"] = attachment.group_name;
  }
  return entry;
}

}  // namespace

const char* attach_role_name(AttachRole role) noexcept {
  switch (role) {
    case AttachRole::produce: return "produce";
    case AttachRole::consume: return "consume";
    case AttachRole::observe: return "observe";
    case AttachRole::map: return "map";
  }
  return "observe";
}

std::optional<AttachRole> parse_attach_role(std::string_view text) noexcept {
  for (const AttachRole role : {AttachRole::produce, AttachRole::consume, AttachRole::observe, AttachRole::map})
    if (text == attach_role_name(role)) return role;
  return std::nullopt;
}

Result<Slot*> Slots::grant(const Process& process, UniqueFd pidfd, const std::string& library) {
  unsigned number = 0;
  for (const auto& [taken, slot] : slots_) {
    if (taken != number) break;
    ++number;
  }
  if (number >= kUsableSlots)
    return fail(Errc::limit_reached, "all " + std::to_string(kUsableSlots) + " slots of the broker are in use", {}, kUsableSlots,
                "close programs that are connected (`atoll status` counts them)");
  Slot slot;
  slot.key = {number, ++slot_generation_};
  slot.process = process;
  slot.pidfd = std::move(pidfd);
  slot.token = make_token();
  slot.library = library;
  return &slots_.emplace(number, std::move(slot)).first->second;
}

Slot* Slots::find(SlotKey key) {
  const auto at = slots_.find(key.slot);
  return at != slots_.end() && at->second.key == key ? &at->second : nullptr;
}

void Slots::release(SlotKey key) {
  const Slot* slot = find(key);
  if (slot == nullptr) return;
  if (slot->journalled) journal_.append({{"t", "gone"}, {"slot", key.slot}, {"generation", key.generation}});
  ATOLL_KILL_POINT("broker.slot.journal");
  slots_.erase(key.slot);
}

Attachment& Slots::attach(Slot& slot, Attachment attachment) {
  attachment.id = ++attachment_id_;
  attachment.slot = slot.key;
  if (!slot.journalled) journal_.append(slot_entry(slot));
  ATOLL_KILL_POINT("broker.attach.slot");
  slot.journalled = true;
  journal_.append(attachment_entry(attachment, slot.process.uid));
  ATOLL_KILL_POINT("broker.attach.journal");
  const std::int64_t id = attachment.id;
  hold(slot, std::move(attachment));
  return attachments_.at(id);
}

void Slots::hold(Slot& slot, Attachment attachment) {
  Segment& segment = *attachment.segment;
  const bool observes = attachment.role == AttachRole::observe;
  slot.attachments.insert(attachment.id);
  segment.attachments.insert(attachment.id);
  attachments_[attachment.id] = std::move(attachment);
  if (observes) tell_observers(segment, segment.observers + 1);  // last: nothing can fail any more
}

void Slots::let_go(std::map<std::int64_t, Attachment>::iterator at) {
  const Attachment& attachment = at->second;
  Segment& segment = *attachment.segment;
  segment.attachments.erase(attachment.id);
  if (attachment.role == AttachRole::observe) tell_observers(segment, segment.observers - 1);
  if (Slot* slot = find(attachment.slot)) slot->attachments.erase(attachment.id);
  attachments_.erase(at);
}

Attachment* Slots::attachment(std::int64_t id) {
  const auto at = attachments_.find(id);
  return at == attachments_.end() ? nullptr : &at->second;
}

void Slots::detach(std::int64_t id) {
  const auto at = attachments_.find(id);
  if (at == attachments_.end()) return;
  journal_.append({{"t", "detached"}, {"id", id}});
  ATOLL_KILL_POINT("broker.detach.journal");
  let_go(at);
}

bool Slots::is_member(const Segment& segment, unsigned group, unsigned slot, std::uint32_t generation) {
  const Slot* found = find({slot, generation});
  if (found == nullptr) return false;
  return std::any_of(found->attachments.begin(), found->attachments.end(), [&](std::int64_t id) {
    const Attachment& held = attachments_.at(id);
    return held.segment.get() == &segment && held.group == group;
  });
}

bool Slots::is_alive(unsigned slot, std::uint32_t generation_bits) {
  const auto at = slots_.find(slot);
  return at != slots_.end() && (at->second.key.generation & protocol::kLockGenerationMask) == generation_bits;
}

void Slots::replay(const Replay& replay, const std::map<std::string, SegmentPtr>& segments) {
  // More than any broker gives out: that of a damaged entry must not keep this one from counting on.
  const auto id_of = [](const json& entry, const char* field) { return static_cast<std::int64_t>(std::min(entry_number(entry, field), std::uint64_t{1} << 62)); };
  const auto drop = [&](std::int64_t id) {
    if (const auto at = attachments_.find(id); at != attachments_.end()) let_go(at);
  };
  // With what it holds: the line that gave it back may be one of the damaged.
  const auto drop_slot = [&](unsigned number) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    for (const std::int64_t id : std::set<std::int64_t>(at->second.attachments)) drop(id);
    slots_.erase(at);
  };
  for (const json& entry : replay.entries) {
    const std::string type = entry["t"];
    if (type == "counters") {
      slot_generation_ = std::max(slot_generation_, static_cast<std::uint32_t>(entry_number(entry, "slot_generation")));
      producer_ = std::max(producer_, entry_number(entry, "producer"));
      attachment_id_ = std::max(attachment_id_, id_of(entry, "attachment"));
    } else if (type == "slot") {
      Slot slot;
      slot.key = {static_cast<unsigned>(entry_number(entry, "slot")), static_cast<std::uint32_t>(entry_number(entry, "generation"))};
      if (slot.key.slot >= kUsableSlots) continue;
      slot.process.pid = static_cast<pid_t>(entry_number(entry, "pid"));
      slot.process.uid = static_cast<uid_t>(entry_number(entry, "uid"));
      slot.process.start_time = entry_number(entry, "start");
      slot.process.command = entry_text(entry, "command");
      slot.token = entry_text(entry, "token");
      slot.library = entry_text(entry, "library");
      slot.journalled = true;
      slot_generation_ = std::max(slot_generation_, slot.key.generation);
      drop_slot(slot.key.slot);
      slots_.emplace(slot.key.slot, std::move(slot));
    } else if (type == "gone") {
      const SlotKey key{static_cast<unsigned>(entry_number(entry, "slot")), static_cast<std::uint32_t>(entry_number(entry, "generation"))};
      if (find(key) != nullptr) drop_slot(key.slot);
    } else if (type == "attached") {
      const auto at = segments.find(entry_text(entry, "name"));
      const auto role = parse_attach_role(entry_text(entry, "role"));
      Slot* slot = find({static_cast<unsigned>(entry_number(entry, "slot")), static_cast<std::uint32_t>(entry_number(entry, "slot_generation"))});
      attachment_id_ = std::max(attachment_id_, id_of(entry, "id"));
      producer_ = std::max(producer_, entry_number(entry, "producer"));
      if (at == segments.end() || !role || slot == nullptr || at->second->manifest.generation != entry_number(entry, "generation")) continue;
      Attachment attachment;
      attachment.id = id_of(entry, "id");
      attachment.slot = slot->key;
      attachment.segment = at->second;
      attachment.role = *role;
      if (entry.contains("lane")) attachment.lane = static_cast<unsigned>(entry_number(entry, "lane"));
      attachment.producer_id = entry_number(entry, "producer");
      if (entry.contains("group")) attachment.group = static_cast<unsigned>(entry_number(entry, "group"));
      attachment.group_incarnation = entry_number(entry, "incarnation");
      attachment.group_name = entry_text(entry, "group_name");
      attachment.writable = entry_flag(entry, "writable");
      attachment.mapped = true;
      drop(attachment.id);
      hold(*slot, std::move(attachment));
    } else if (type == "detached") {
      drop(id_of(entry, "id"));
    }
  }
  // Slots that were never journalled held nothing, but their numbers may still be in somebody's memory.
  slot_generation_ += 1024;
  attachment_id_ += 1024;
}

void Slots::save(std::vector<json>& entries, std::uint64_t generation) const {
  entries.push_back({{"t", "counters"}, {"generation", generation}, {"slot_generation", slot_generation_}, {"producer", producer_}, {"attachment", attachment_id_}});
  for (const auto& [number, slot] : slots_)
    if (slot.journalled) entries.push_back(slot_entry(slot));
  for (const auto& [id, attachment] : attachments_)
    if (!attachment.segment->removed) entries.push_back(attachment_entry(attachment, slots_.at(attachment.slot.slot).process.uid));
}

}  // namespace atoll_ipc::daemon
