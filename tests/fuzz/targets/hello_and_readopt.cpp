// Hello and what follows it, to a broker that was restarted while a process held something.
//
// Input: u8 options (bit 0: the broker is restarted first), u8 offered (a bit for each descriptor that comes with the first
// bytes: memory of the lost segment, other memory, a file), then frames; @TOKEN@ stands for the process's token. It held, as
// slot 0 of generation 1025, attachments 1025 to 1028: a lane and a group of stream `s`, bytes segment `b`, a lane of stream `m` of memory without a name.
// Whatever the bytes are: answers are results or known errors, only who knows the token is known again, what nobody names is
// given back, and the journal always says what the broker knows.
#include <fcntl.h>

#include "in_process_broker.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;
using nlohmann::json;
using protocol::UniqueFd;

namespace {

// A broker that was restarted, and what its client kept.
struct World {
  std::unique_ptr<Broker> broker;
  std::string token;
  std::vector<UniqueFd> memory;  // of `m`
  bool fresh = false;            // restarted, and nobody has said anything since
};
World& world() {
  static World one;
  return one;
}

std::string call(const char* method, json parameters) {
  std::string text = json{{"method", std::string("dev.atoll.Broker.") + method}, {"parameters", std::move(parameters)}}.dump();
  text.push_back('\0');
  return text;
}

void restart() {
  World& w = world();
  if (w.broker) end_broker(w.broker);
  auto made = start_broker();
  require(made.has_value(), "a broker starts again");
  w.broker = std::move(*made);
  w.fresh = true;
}

// From an empty directory.
void build() {
  World& w = world();
  if (w.broker) {
    std::vector<SegmentPtr> segments;
    for (const auto& [name, segment] : w.broker->store->all()) segments.push_back(segment);
    for (const SegmentPtr& segment : segments) w.broker->store->remove(segment);
    end_broker(w.broker);
  }
  w.memory.clear();
  ::unlink((directory() + "/journal").c_str());
  restart();
  Line line(*w.broker);
  const auto ask = [&](const char* method, json parameters) {
    auto answers = line.say(call(method, std::move(parameters)));
    require(answers.size() == 1 && answers[0].message.contains("parameters") && !answers[0].message.contains("error"), "the target's process gets what it asks for");
    return std::move(answers[0]);
  };
  w.token = ask("Hello", {{"interface_version", 1}, {"library", "l"}, {"language", "C++"}}).message["parameters"]["token"];
  ask("Create", {{"name", "s"}, {"options", {{"kind", "stream"}, {"capacity", 4096}}}});
  ask("Create", {{"name", "b"}, {"options", {{"kind", "bytes"}, {"size", 64}}}});
  ask("Create", {{"name", "m"}, {"options", {{"kind", "stream"}, {"capacity", 4096}, {"backing", "memfd"}}}});
  ask("Attach", {{"name", "s"}, {"role", "produce"}});
  ask("Attach", {{"name", "s"}, {"role", "consume"}, {"group", "g"}});
  ask("Attach", {{"name", "b"}, {"role", "map"}, {"writable", true}});
  w.memory = std::move(ask("Attach", {{"name", "m"}, {"role", "produce"}}).fds);
  const auto& attachments = w.broker->slots->attachments();
  require(w.broker->slots->find({0, 1025}) != nullptr && attachments.begin()->first == 1025 && attachments.rbegin()->first == 1028, "numbers are those of the seeds");
  shorten_manifests();
  static const int at_first = lowest_free_descriptor();
  require(lowest_free_descriptor() == at_first, "no descriptor is left open");
}

// What the slot holds, by attachment.
std::string held() {
  std::string out;
  for (const auto& [id, attachment] : world().broker->slots->attachments()) out += std::to_string(id) + attachment.segment->name() + ";";
  return out;
}

void check_journal() {
  Broker& b = *world().broker;
  auto text = read_file_at(b.runtime.directory.get(), "journal", 1u << 20, "the journal");
  auto read = text ? parse_journal(*text) : fail(text.error());
  require(read && read->damaged_lines == 0, "the journal is whole");
  Journal none;
  Slots slots(none);
  slots.replay(*read, b.store->all());
  std::string known;
  for (const auto& [id, attachment] : slots.attachments()) known += std::to_string(id) + attachment.segment->name() + ";";
  require(known == held(), "the journal says who holds what");
  // Replaying named them at the segments as well, where they are named already.
}

}  // namespace

void prepare() {
  compares_descriptors_itself = true;
  build();
  confine_to(*world().broker);
}

void run(Input input) {
  World& w = world();
  const auto options = input.take<std::uint8_t>();
  const auto offered = input.take<std::uint8_t>();
  std::string bytes = with_directory(input.rest());
  constexpr std::string_view mark = "@TOKEN@";
  const bool knows = bytes.find(mark) != std::string::npos || bytes.find(w.token) != std::string::npos;
  for (std::size_t at = 0; (at = bytes.find(mark, at)) != std::string::npos;) bytes.replace(at, mark.size(), w.token);
  if ((options & 1) != 0 && !w.fresh) restart();
  const std::string before = held();
  {
    std::vector<UniqueFd> others;
    std::vector<int> fds;
    for (std::size_t i = 0; i < w.memory.size() && i < 4; ++i)
      if ((offered >> i & 1) != 0) fds.push_back(w.memory[i].get());
    if ((offered & 32) != 0) others.emplace_back(::memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if ((offered & 64) != 0) others.emplace_back(::open((directory() + "/journal").c_str(), O_RDONLY | O_CLOEXEC));
    for (const UniqueFd& fd : others) fds.push_back(fd.get());
    Line line(*w.broker);
    w.fresh = false;
    for (const Answer& answer : line.say(bytes, 0, fds)) {
      const json& parameters = answer.message.value("parameters", json::object());
      if (parameters.contains("known")) require(knows || parameters["known"] == false, "only who knows the token is known");
    }
  }
  check_journal();
  if (w.broker->stopping || held() != before || w.broker->store->all().size() != 3 || w.broker->slots->all().size() != 1) build();
}

}  // namespace atoll_fuzz
