// A lane file of any bytes: what observer, group member, the broker's recovery and the next producer make of it.
//
// Input: u8 options, u8 back (records, for observers), u16 length (of what the next producer sends), patches of the lane file.
// Whatever the bytes are: nobody looks outside the file, every error is a known one, settling twice is as good as once and
// touches nothing but commit words, a lane that was settled takes records that a reader gets, and groups of which the broker says that
// they come through to the tail do.
#include <algorithm>
#include <optional>

#include "client.hpp"
#include "group_reader.hpp"
#include "lane_recovery.hpp"
#include "observer_reader.hpp"
#include "producer_engine.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using protocol::WhenFull;

namespace {

constexpr unsigned kMostRecords = 40;

File& lane_file(std::uint64_t capacity) {
  static File small(protocol::lane_file_size(4096)), middle(protocol::lane_file_size(8192)), large(protocol::lane_file_size(16384));
  return capacity == 4096 ? small : capacity == 8192 ? middle : large;
}

File& group_file() {
  static File file(sizeof(protocol::GroupFile));
  return file;
}

volatile std::uint8_t sink;
void look_at_all(const void* data, std::uint64_t length) {
  std::uint8_t sum = 0;
  for (const std::uint8_t byte : std::span(static_cast<const std::uint8_t*>(data), length)) sum = static_cast<std::uint8_t>(sum + byte);
  sink = sum;
}

void receive_all(ReaderEngine& reader, const Client& client, const Stream& stream, bool copies) {
  for (unsigned i = 0; i < kMostRecords; ++i) {
    detail::RawView view;
    std::size_t count = 0;
    const Errc code = reader.receive(&view, 1, count, Deadline::now());
    require_known(code);
    if (code == Errc::lane_damaged || code == Errc::group_damaged) continue;  // told once, the rest goes on
    if (code != Errc::ok) return;
    require(count == 1 && view.length <= stream.capacity, "a record is no longer than its ring");
    require(copies || client.in_lane(view.data, view.length), "a view lies in the lane");
    look_at_all(view.data, view.length);
    require(reader.release(view.token) == Errc::ok, "a view can be released");
    require(reader.release(view.token) == Errc::view_released, "a view can be released only once");
  }
}

void observe(Client& client, const Stream& stream, const ObserverOptions& options) {
  ObserverReader reader(client.attach(Client::As::observer), options);
  require(reader.open().has_value(), "an observer opens what the broker gave it");
  receive_all(reader, client, stream, true);
}

// As the broker makes it for this lane.
protocol::GroupFile& make_group(const protocol::Boundary& start, bool exclusive) {
  auto& group = group_file().as<protocol::GroupFile>();
  group_file().clear();
  group.flags = exclusive ? protocol::kGroupExclusive : 0;
  group.members.raw = 1;
  group.lanes[0].incarnation.raw = 1;
  group.lanes[0].cursor.raw = group.lanes[0].next.raw = start.position;
  group.lanes[0].next_sequence.raw = start.sequence;
  return group;
}

void consume(Client& client, const Stream& stream, const protocol::LaneHeader& lane, bool exclusive, const ConsumerOptions& options) {
  make_group(protocol::earliest_boundary(lane, stream.capacity), exclusive);
  GroupReader reader(client.attach(Client::As::member), options);
  require(reader.open().has_value(), "a member opens what the broker gave it");
  receive_all(reader, client, stream, stream.when_full == WhenFull::overwrite);
}

// Where the broker says that a group comes through to the tail, it does.
void come_through(Client& client, const Stream& stream, File& file, const protocol::RingGeometry& geometry, const daemon::SettledLane& settled) {
  const protocol::Boundary start = protocol::earliest_boundary(file.as<protocol::LaneHeader>(), stream.capacity);
  if (start.position < settled.readable_from) return;
  protocol::GroupFile& group = make_group(start, false);
  require(daemon::comes_through(file.data(), geometry, settled, group.lanes[0]), "who stands where the records lead to the tail comes through");
  GroupReader reader(client.attach(Client::As::member), {});
  require(reader.open().has_value(), "a member opens what the broker gave it");
  for (;;) {
    detail::RawView view;
    std::size_t count = 0;
    const Errc code = reader.receive(&view, 1, count, Deadline::now());
    if (code == Errc::ok) {
      require(reader.release(view.token) == Errc::ok, "a view can be released");
      continue;
    }
    require(code == Errc::timed_out || code == Errc::ended, "who comes through meets no damage");
    break;
  }
  require(group.lanes[0].next.raw == settled.tail, "who comes through is at the tail then");
}

// Is the lane ready for its next producer? Nothing if it is damaged.
std::optional<daemon::SettledLane> settle(File& file, const protocol::RingGeometry& geometry) {
  const std::uint64_t old_tail = file.as<protocol::LaneHeader>().tail.raw, old_limit = file.as<protocol::LaneHeader>().limit.raw;
  const std::vector<std::byte> before = file.copy();
  const daemon::SettledLane first = daemon::settle_lane(file.data(), geometry);
  const std::vector<std::byte> after = file.copy();
  const daemon::SettledLane second = daemon::settle_lane(file.data(), geometry);
  require(file.copy() == after, "settling a lane twice is as good as once");
  require(second.damaged == first.damaged && second.aborted == 0, "a lane that was settled has no open loan");
  const auto& lane = file.as<protocol::LaneHeader>();
  for (std::size_t i = protocol::kPageSize; i < after.size(); i += 4) {
    if (std::memcmp(&before[i], &after[i], 4) == 0) continue;
    std::uint32_t word;
    std::memcpy(&word, &after[i], 4);
    const auto state = protocol::state_of(word);
    require(i % geometry.alignment == 0 && (state == protocol::RecordState::aborted || state == protocol::RecordState::empty), "settling changes commit words only");
  }
  if (first.damaged) return std::nullopt;
  const std::uint64_t tail = lane.tail.raw, limit = lane.limit.raw;
  require(tail == second.tail && tail % geometry.alignment == 0, "a settled lane's tail is a boundary");
  require(limit == old_limit || (tail == old_tail && limit == tail + protocol::kRecordHeaderSize), "settling passes no record beyond the limit");
  require(limit >= tail + protocol::kRecordHeaderSize && limit <= tail + geometry.capacity, "a settled lane's tail lies in what its limit keeps");
  require(protocol::look_at(file.data() + protocol::kPageSize, geometry, tail).found == protocol::Found::nothing, "a settled lane ends at its tail");
  require(second.readable_from <= first.readable_from && second.readable_from <= tail, "what leads to the tail once does so again");
  return second;
}

void produce(Client& client, const Stream& stream, std::uint16_t length) {
  ProducerEngine producer(client.attach(Client::As::producer));
  if (const auto joined = producer.take_over(); !joined) {
    require(joined.error().code() == Errc::lane_damaged, "a producer joins a settled lane, or says that it is damaged");
    return;
  }
  ObserverReader observer(client.attach(Client::As::observer), {.start = Start::latest});
  require(observer.open().has_value(), "an observer opens what the broker gave it");
  std::vector<std::uint8_t> sent(length % (stream.capacity / 2));
  bool always_kept = true;
  for (unsigned i = 0; i < 12; ++i) {
    if (!sent.empty()) std::fill(sent.begin(), sent.end(), static_cast<std::uint8_t>('a' + i));
    if (i % 4 == 3) {  // a loan that is taken back
      if (auto loan = producer.loan(sent.size() / 2, 0, Deadline::now())) require(producer.settle(loan->token, false).has_value(), "an open loan can be aborted");
    }
    const Errc code = producer.send(sent.data(), sent.size(), 0, Deadline::now());
    require_known(code);
    require(code == Errc::ok || code == Errc::timed_out || code == Errc::dropped || code == Errc::too_large, "a settled lane takes records");
    if (code != Errc::ok) break;
    detail::RawView view;
    std::size_t count = 0;
    // With loans and padding between, the limit may have passed the observer: then it may miss the record.
    const bool kept = producer.lane_->limit.raw <= observer.lanes_.front()->position + stream.capacity;
    always_kept = always_kept && kept;
    const Errc got = observer.receive(&view, 1, count, Deadline::now());
    require(got == Errc::ok || (got == Errc::timed_out && !kept), "a record of a settled lane's next producer reaches a reader");
    if (got != Errc::ok) continue;
    require(view.length == sent.size() && (sent.empty() || std::memcmp(view.data, sent.data(), sent.size()) == 0), "a record arrives as it was sent");
    require(view.lost == 0 || !always_kept, "a reader that keeps up loses nothing");
  }
  require(!protocol::nothing_below_tail(*producer.lane_, producer.ring_, producer.geometry_, producer.lane_->tail.raw), "a producer leaves no hole");
}

}  // namespace

void prepare() { static_cast<void>(Client::session()); }

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const auto back = input.take<std::uint8_t>();
  const auto length = input.take<std::uint16_t>();
  Stream stream;
  stream.when_full = static_cast<WhenFull>(1 + (options & 3) % 3);
  stream.alignment = (options & 4) != 0 ? 64 : 16;
  stream.capacity = 4096ull << ((options >> 3 & 3) % 3);
  File& file = lane_file(stream.capacity);
  file.clear();
  file.as<protocol::LaneHeader>().page = page_of(stream, protocol::Role::lane, 0, file.size());
  file.patch(input, 1000);
  auto& lane = file.as<protocol::LaneHeader>();

  Client client(stream, file, group_file());
  if (!client.takes(file, protocol::Role::lane)) return;
  group_file().clear();
  group_file().as<protocol::GroupFile>().page = page_of(stream, protocol::Role::group, 0, group_file().size());
  observe(client, stream, {.start = static_cast<Start>((options >> 5 & 3) % 3), .back = back});
  consume(client, stream, lane, (options & 128) != 0, {.prefetch = back % 65u});

  const protocol::RingGeometry geometry{stream.capacity, static_cast<unsigned>(__builtin_ctzll(stream.capacity)), stream.alignment};
  const auto settled = settle(file, geometry);
  if (!settled) return;
  come_through(client, stream, file, geometry, *settled);
  group_file().clear();
  daemon::set_lane_owner(lane, protocol::LaneState::owned, kSlot, kSlotGeneration, 1);
  client.header().active_groups.raw = 0;
  produce(client, stream, length);
  const auto left = settle(file, geometry);
  require(left.has_value(), "what a producer left is sound");
  if (settled->readable_from == 0) come_through(client, stream, file, geometry, *left);
}

}  // namespace atoll_fuzz
