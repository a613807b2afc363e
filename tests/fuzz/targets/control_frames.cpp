// Bytes as they come over a control socket, against a whole broker: frames, limits, JSON, methods, answers, the end.
//
// Input: u8 options, then the bytes; @DIRECTORY@ stands for a directory that exists. Options: the low three bits say in what
// pieces the bytes come (0: at once). Whatever the bytes are: every answer is a result
// or an error of the list, no more answers than frames, and once the process is gone and its segments are removed nothing is
// left. Only accept(2) and the loop's turning are not part of it.
#include <algorithm>

#include "in_process_broker.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;

namespace {

std::unique_ptr<Broker>& broker() {
  static std::unique_ptr<Broker> one;
  return one;
}

void start() {
  auto made = start_broker();
  require(made.has_value(), "a broker starts on an empty directory");
  broker() = std::move(*made);
}

// All segments are removed and all processes are gone: nothing may be left.
void clean_up() {
  Broker& b = *broker();
  std::vector<SlotKey> slots;
  for (const auto& [number, slot] : b.slots->all()) slots.push_back(slot.key);
  for (const SlotKey key : slots) b.process_ended(key);
  require(b.slots->all().empty() && b.slots->attachments().empty(), "who is dead holds nothing");
  std::vector<SegmentPtr> segments;
  for (const auto& [name, segment] : b.store->all()) segments.push_back(segment);
  for (const SegmentPtr& segment : segments) {
    require(segment->attachments.empty(), "who is dead is attached to nothing");
    b.store->remove(segment);
  }
  const auto in_memory = list_directory(b.runtime.shm.get()).value();
  for (const std::string& entry : in_memory) require(entry == "bells" || entry == "runtime", "a removed segment leaves no memory");
  require(list_directory(b.runtime.segments.get()).value().empty(), "a removed segment leaves no manifest");
  const auto files = list_directory(b.runtime.directory.get()).value();
  for (const std::string& entry : files) require(entry.find('@') == std::string::npos, "a removed segment leaves no file");
}

}  // namespace

void prepare() {
  start();
  confine_to(*broker());
}

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const std::string bytes = with_directory(input.rest());
  broker()->slots->attachment_id_ = 1024;  // so that an input means the same each time: the first attachment is 1025
  {
    Line line(*broker());
    constexpr std::size_t kPieces[8] = {0, 1, 2, 7, 64, 300, 4095, 4096};
    if (bytes.size() > 2048 && (options & 7) < 3) return;  // a system call for each byte takes long
    const auto answers = line.say(bytes, kPieces[options & 7]);
    const auto frames = static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), '\0'));
    require(answers.size() <= frames + 1, "a frame has one answer at most");
  }
  clean_up();
  if (broker()->stopping) {
    end_broker(broker());
    start();
  }
  static_cast<void>(broker()->compact_journal_if_wanted());
}

}  // namespace atoll_fuzz
