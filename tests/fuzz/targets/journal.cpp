// A journal of any bytes: reading it, writing it again, and a broker that starts with it.
//
// Input: u8 options, u16 where the text is cut in the last check, then the text; @DIRECTORY@ stands for a directory that
// exists. Options: bit 0: the lines come without check sums, which are put before them here; bit 1: no broker is started.
// Whatever the bytes are: reading what was written gives the same entries, a cut text gives the first of them, a broker
// starts or says why not, and what it writes is a journal without damage that the next one starts with alike.
#include <fcntl.h>

#include "in_process_broker.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;
using nlohmann::json;

namespace {

std::string with_sums(const std::string& text) {
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    char sum[10];
    std::snprintf(sum, sizeof sum, "%08x ", crc32(line));
    out += sum + line;
    if (end < text.size()) out += '\n';
    begin = end + 1;
  }
  return out;
}

std::string written(const std::vector<json>& entries) {
  std::string out;
  for (const json& entry : entries) out += journal_line(entry);
  return out;
}

void check_text(const std::string& text, std::size_t cut) {
  const auto read = parse_journal(text);
  if (!read) return require_known(read.error().code);
  for (const json& entry : read->entries) require(entry.is_object() && entry["t"].is_string(), "each entry says what it is");
  const std::string again = written(read->entries);
  const auto second = parse_journal(again);
  require(second && second->damaged_lines == 0, "what was written is whole");
  require(written(second->entries) == again, "what was written is read alike");
  const auto part = parse_journal(std::string_view(again).substr(0, again.empty() ? 0 : cut % again.size()));
  require(part && part->damaged_lines == 0 && part->entries.size() <= second->entries.size(), "a torn journal is one without its end");
  for (std::size_t i = 0; i < part->entries.size(); ++i) require(part->entries[i] == second->entries[i], "a torn journal is one without its end");
}

// Who holds what, and whose what nobody holds was, by the journal as the broker left it. (Of slots that hold nothing the next broker need not know.)
json state_after(const std::string& text) {
  auto read = parse_journal(text);
  require(read && read->damaged_lines == 0, "a broker writes a journal without damage");
  json state = json::array();
  for (const json& entry : read->entries)
    if (entry["t"] == "attached" || entry["t"] == "lane" || entry["t"] == "aside") state.push_back(entry);
  return state;
}

void write_file(const std::string& text) {
  const protocol::UniqueFd fd(::open((directory() + "/journal").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  require(fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "the target writes its journal");
}

std::string read_file() {
  const protocol::UniqueFd fd(::open(directory().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto text = read_file_at(fd.get(), "journal", 1u << 20, "the journal");
  require(text.has_value(), "a broker leaves a journal");
  return *text;
}

void check_start(const std::string& text) {
  write_file(text);
  auto first = start_broker();
  if (!first) return require_known(first.error().code);
  end_broker(*first);
  const json state = state_after(read_file());
  auto second = start_broker();
  require(second.has_value(), "a broker starts with what its predecessor wrote");
  end_broker(*second);
  require(state_after(read_file()) == state, "a second start knows what the first one knew");
}

}  // namespace

void prepare() {
  auto broker = start_broker();
  require(broker.has_value(), "a broker starts on an empty directory");
  // The segment that the seeds speak of.
  {
    Line line(**broker);
    using namespace std::string_view_literals;
    line.say("{\"method\":\"dev.atoll.Broker.Hello\",\"parameters\":{\"interface_version\":1,\"library\":\"\",\"language\":\"\"}}\0"sv);
    line.say("{\"method\":\"dev.atoll.Broker.Create\",\"parameters\":{\"name\":\"s\",\"options\":{\"kind\":\"stream\",\"capacity\":4096}}}\0"sv);
    require((*broker)->store->all().size() == 1, "a broker makes a segment");
  }
  confine_to(**broker);
  end_broker(*broker);
  shorten_manifests();
}

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const auto cut = input.take<std::uint16_t>();
  std::string text = with_directory(input.rest());
  if ((options & 1) != 0) text = with_sums(text);
  check_text(text, cut);
  if ((options & 2) == 0) check_start(text);
}

}  // namespace atoll_fuzz
