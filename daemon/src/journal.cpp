#include "journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>

#include "atoll/protocol/kill_point.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;

std::uint32_t crc32(std::string_view text) noexcept {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      made[i] = c;
    }
    return made;
  }();
  std::uint32_t crc = 0xffffffffu;
  for (const char c : text) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return crc ^ 0xffffffffu;
}

std::string journal_line(const json& entry) {
  const std::string text = entry.dump(-1, ' ', true, json::error_handler_t::replace);
  char sum[10];
  std::snprintf(sum, sizeof sum, "%08x ", crc32(text));
  return sum + text + "\n";
}

std::uint64_t entry_number(const json& entry, const char* field) {
  const auto at = entry.find(field);
  return at != entry.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

std::string entry_text(const json& entry, const char* field) {
  const auto at = entry.find(field);
  return at != entry.end() && at->is_string() ? at->get<std::string>() : std::string();
}

bool entry_flag(const json& entry, const char* field) {
  const auto at = entry.find(field);
  return at != entry.end() && at->is_boolean() && at->get<bool>();
}

Result<Replay> parse_journal(std::string_view text) {
  Replay replay;
  bool first = true;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // torn: the broker was killed while it wrote this line
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    json entry;
    if (line.size() > 9 && line[8] == ' ') {
      char sum[9];
      std::snprintf(sum, sizeof sum, "%08x", crc32(line.substr(9)));
      if (line.substr(0, 8) == sum) entry = json::parse(line.substr(9), nullptr, false);
    }
    if (!entry.is_object() || !entry.contains("t") || !entry["t"].is_string()) {
      ++replay.damaged_lines;
      continue;
    }
    if (first && entry["t"] == "journal") {
      const json& version = entry["version"];
      if (!version.is_number_integer() || version.get<std::int64_t>() > kJournalVersion)
        return fail(Errc::wrong_version,
                    "the journal was written by a newer broker (version " + version.dump() + "; this one reads version " +
                        std::to_string(kJournalVersion) + ")",
                    {}, 0, "start the newer atolld, or remove the runtime directory once nothing uses it");
    }
    first = false;
    replay.entries.push_back(std::move(entry));
  }
  return replay;
}

Result<Journal> Journal::open(int directory, Replay& replay) {
  Journal journal;
  journal.directory_ = directory;
  if (::faccessat(directory, "journal", F_OK, 0) == 0) {
    auto text = read_file_at(directory, "journal", 256u << 20, "the journal");
    if (!text) return fail(text.error());
    auto parsed = parse_journal(*text);
    if (!parsed) return fail(parsed.error());
    replay = std::move(*parsed);
  }
  return journal;
}

Result<void> Journal::rewrite(const std::vector<json>& entries) {
  std::string text;
  for (const json& entry : entries) text += journal_line(entry);
  ATOLL_KILL_POINT("broker.journal.rewrite");
  if (auto replaced = replace_file_at(directory_, "journal", text, false, "the journal"); !replaced) return replaced;
  ATOLL_KILL_POINT("broker.journal.rewritten");
  file_ = UniqueFd(::openat(directory_, "journal", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  if (!file_) {
    const int error = errno;
    failed_ = true;  // nothing can be added
    return fail_errno(error, "opening the journal");
  }
  appended_ = 0;
  failed_ = false;
  return {};
}

void Journal::append(const json& entry) {
  const std::string line = journal_line(entry);
  ATOLL_KILL_POINT("broker.journal.append");
  const ssize_t n = ::write(file_.get(), line.data(), line.size());
  ATOLL_KILL_POINT("broker.journal.appended");
  ++appended_;
  if (n == static_cast<ssize_t>(line.size())) return;
  failed_ = true;
  // Half a line would spoil the next one, too.
  struct stat status {};
  if (n > 0 && ::fstat(file_.get(), &status) == 0 && status.st_size >= n) static_cast<void>(!::ftruncate(file_.get(), status.st_size - n));
}

}  // namespace atoll_ipc::daemon
