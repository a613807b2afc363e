// The journal: what a restarted broker must know and cannot read from the segments themselves.
//
// One JSON object per line, each after its CRC-32 in hexadecimal. Replayed in order at the start, then
// compacted; appended to before the reply of the change it records. A torn last line is what a kill
// leaves behind and is ignored; a damaged line in the middle is logged and skipped. Written without
// fsync: it outlives the process, not the machine, and neither does what it speaks of.
//
//   {"t":"journal","version":1,"epoch":E}                         first line
//   {"t":"counters","generation":G,"slot_generation":S,"producer":P,"attachment":A}
//   {"t":"creating","name":N,"generation":G,"directory":D,"uuid":X}   INTENT; COMMIT is the manifest's rename
//   {"t":"created","name":N,"generation":G}
//   {"t":"removing","name":N,"generation":G,"directory":D,"uuid":X}   INTENT
//   {"t":"removed","name":N,"generation":G}
//   {"t":"memory","name":N,"generation":G,"role":R,"index":I,"device":D,"inode":J,"boot":B}   which file a memfd is
//   {"t":"lane","name":N,"generation":G,"lane":L,"uid":U}         whose a lane was that nobody holds
//   {"t":"aside","name":N,"generation":G,"role":R,"index":I,"incarnation":J}   a file that was spoilt
//   {"t":"slot","slot":S,"generation":G,"pid":P,"uid":U,"start":T,"token":K,"command":C}
//   {"t":"gone","slot":S,"generation":G}
//   {"t":"attached","id":A,"slot":S,"slot_generation":G,"name":N,"generation":G,"role":R,"writable":W,
//    "lane":L,"producer":P,"uid":U | "group":I,"incarnation":J,"group_name":N}
//   {"t":"detached","id":A}
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "files.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

inline constexpr int kJournalVersion = 1;

std::uint32_t crc32(std::string_view text) noexcept;
std::string journal_line(const nlohmann::json& entry);

struct Replay {
  std::vector<nlohmann::json> entries;
  std::uint64_t damaged_lines = 0;
};

// A field of an entry. One that is missing or of another type is 0, empty or false: an entry that no broker writes must not
// keep one from starting.
[[nodiscard]] std::uint64_t entry_number(const nlohmann::json& entry, const char* field);
[[nodiscard]] std::string entry_text(const nlohmann::json& entry, const char* field);
[[nodiscard]] bool entry_flag(const nlohmann::json& entry, const char* field);

// Errors: wrong_version, if a newer broker wrote it.
Result<Replay> parse_journal(std::string_view text);

class Journal {
 public:
  static Result<Journal> open(int directory, Replay& replay);
  // Replaces the whole journal.
  Result<void> rewrite(const std::vector<nlohmann::json>& entries);
  // A failure is remembered, not returned: the next rewrite (wanted()) mends it.
  void append(const nlohmann::json& entry);
  // A line is missing in it.
  [[nodiscard]] bool incomplete() const noexcept { return failed_; }
  [[nodiscard]] bool rewrite_wanted() const noexcept { return failed_ || appended_ > 4096; }

 private:
  int directory_ = -1;
  UniqueFd file_;
  std::uint64_t appended_ = 0;
  bool failed_ = false;
};

}  // namespace atoll_ipc::daemon
