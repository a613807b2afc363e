// Slots and attachments: which process is known by which number, and what it holds.
//
// Owned by the broker. A slot is given at Hello, journalled with its first attachment, and free again
// when nothing is attached any more. Attachments are the unit of everything that a death undoes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "journal.hpp"
#include "process.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

enum class AttachRole : std::uint8_t { produce, consume, observe, map };
[[nodiscard]] const char* attach_role_name(AttachRole role) noexcept;
[[nodiscard]] std::optional<AttachRole> parse_attach_role(std::string_view text) noexcept;

struct Attachment {
  std::int64_t id = 0;
  SlotKey slot;
  SegmentPtr segment;
  AttachRole role = AttachRole::observe;
  std::optional<unsigned> lane;
  std::uint64_t producer_id = 0;
  std::optional<unsigned> group;
  std::uint64_t group_incarnation = 0;
  std::string group_name;
  bool writable = false;
  bool mapped = false;  // the client has called Refresh: its mappings exist
};

struct Slot {
  SlotKey key;
  Process process;
  std::string token;
  std::string library;
  UniqueFd pidfd;
  std::uint64_t connection = 0;  // 0: none; quarantined if it holds anything
  std::set<std::int64_t> attachments;
  bool journalled = false;
};

class Slots {
 public:
  explicit Slots(Journal& journal) : journal_(journal) {}

  // limit_reached if all 4095 are taken.
  Result<Slot*> grant(const Process& process, UniqueFd pidfd, const std::string& library);
  [[nodiscard]] Slot* find(SlotKey key);
  [[nodiscard]] std::map<unsigned, Slot>& all() noexcept { return slots_; }
  void release(SlotKey key);

  Attachment& attach(Slot& slot, Attachment attachment);
  [[nodiscard]] Attachment* attachment(std::int64_t id);
  [[nodiscard]] std::map<std::int64_t, Attachment>& attachments() noexcept { return attachments_; }
  void detach(std::int64_t id);

  [[nodiscard]] bool is_member(const Segment& segment, unsigned group, unsigned slot, std::uint32_t generation);
  [[nodiscard]] bool is_alive(unsigned slot, std::uint32_t generation_bits);
  [[nodiscard]] std::uint64_t next_producer() noexcept { return ++producer_; }

  // After a restart: what the journal says. Attachments to segments that are gone are dropped.
  void replay(const Replay& replay, const std::map<std::string, SegmentPtr>& segments);
  // The whole state, for a compacted journal.
  void save(std::vector<nlohmann::json>& entries, std::uint64_t generation) const;

 private:
  // What a slot and a segment know of an attachment, and what the segment's header says.
  void hold(Slot& slot, Attachment attachment);
  void let_go(std::map<std::int64_t, Attachment>::iterator at);

  Journal& journal_;
  std::map<unsigned, Slot> slots_;
  std::map<std::int64_t, Attachment> attachments_;
  std::uint32_t slot_generation_ = 0;
  std::uint64_t producer_ = 0;
  std::int64_t attachment_id_ = 0;
};

}  // namespace atoll_ipc::daemon
