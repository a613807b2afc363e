// A group file of any bytes: what its consumers, the lane's producer and the broker's recovery make of it.
//
// Input: u8 options, u8 count, that many steps of a consumer (a byte each), patches of the group file. The lane is sound and
// has a dozen records. Whatever the bytes are: nobody looks outside the files, views lie in the lane, every error is a known
// one, settling twice is as good as once, and afterwards the lock is free and no claim is held by the dead.
#include <algorithm>

#include "client.hpp"
#include "group_reader.hpp"
#include "group_recovery.hpp"
#include "producer_engine.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using protocol::WhenFull;

namespace {

constexpr Stream kStream;

File& lane_file() {
  static File file(protocol::lane_file_size(kStream.capacity));
  return file;
}
File& group_file() {
  static File file(sizeof(protocol::GroupFile));
  return file;
}
protocol::GroupFile& group() { return group_file().as<protocol::GroupFile>(); }

// The lane as prepare() filled it.
std::vector<std::byte>& sound_lane() {
  static std::vector<std::byte> bytes;
  return bytes;
}

void consume(Client& client, const ConsumerOptions& options, bool copies, std::span<const std::uint8_t> steps) {
  GroupReader reader(client.attach(Client::As::member), options);
  require(reader.open().has_value(), "a member opens what the broker gave it");
  std::vector<std::uint64_t> views;
  for (const std::uint8_t step : steps) {
    // One of the views, also of those that were released.
    const std::uint64_t token = views.empty() ? step : views[(step >> 3) % views.size()];
    Errc code = Errc::ok;
    switch (step & 7) {
      case 0: code = reader.release(token); break;
      case 1: code = reader.acknowledge(token); break;
      case 2: code = reader.reject(token); break;
      case 3: code = reader.acknowledge_up_to(token); break;
      case 4: {
        ReaderEngine::Run run;
        code = reader.receive_run(run, 1 + (step >> 3), Deadline::now());
        if (code != Errc::ok) break;
        for (std::uint32_t i = 0; i < run.count; ++i) {
          require(copies || client.in_lane(run.items[i].data, run.items[i].length), "a view lies in the lane");
          views.push_back(run.token + i);
        }
        break;
      }
      default: {
        detail::RawView view[8];
        std::size_t count = 0;
        code = reader.receive(view, 1 + (step >> 3) % 8, count, Deadline::now());
        require(code == Errc::ok || count == 0, "an error comes without records");
        for (std::size_t i = 0; i < count; ++i) {
          require(copies || client.in_lane(view[i].data, view[i].length), "a view lies in the lane");
          require(view[i].length <= kStream.capacity, "a record is no longer than its ring");
          views.push_back(view[i].token);
        }
      }
    }
    require_known(code);
  }
}

void produce(Client& client) {
  ProducerEngine producer(client.attach(Client::As::producer));
  require(producer.take_over().has_value(), "a producer joins a sound lane");
  const std::vector<std::uint8_t> sent(300, 'p');
  for (unsigned i = 0; i < 20; ++i) {
    const Errc code = producer.send(sent.data(), sent.size(), 0, Deadline::now());
    require(code == Errc::ok || code == Errc::timed_out || code == Errc::dropped, "a hostile group can at most hold a producer back");
    require(producer.lane_->limit.raw <= producer.lane_->tail.raw + kStream.capacity, "a hostile group does not raise a lane's limit");
  }
}

// Members and living holders: those whose slot has a bit in `alive`.
void settle(const std::uint8_t& alive) {
  const daemon::Membership membership{
      [](const void* context, unsigned slot, std::uint32_t) { return (*static_cast<const std::uint8_t*>(context) >> (slot & 7) & 1) != 0; },
      [](const void* context, unsigned slot, std::uint32_t) { return (*static_cast<const std::uint8_t*>(context) >> (slot & 7) & 1) != 0; }, &alive};
  const daemon::SettledGroup first = daemon::settle_group(group(), membership);
  const std::vector<std::byte> after = group_file().copy();
  const daemon::SettledGroup second = daemon::settle_group(group(), membership);
  require(second.result == first.result && group_file().copy() == after, "settling a group twice is as good as once");
  if (first.result == daemon::Settled::busy) return;
  require((group().lock.raw & protocol::kLockHolderMask) == 0, "after settling the lock is free");
  if (first.result != daemon::Settled::done) return;
  require(second.returned == 0 && !second.moved, "a settled group has nothing to give back");
  require(group().redo.count.raw == 0, "a settled group has no redo");
  for (const protocol::Claim& claim : group().claims)
    require(claim.state.raw <= 2 && (claim.state.raw != 1 || membership.is_member(&alive, claim.slot.raw, 0)), "no claim of a settled group is held by the dead");
}

}  // namespace

void prepare() {
  lane_file().clear();
  group_file().clear();
  lane_file().as<protocol::LaneHeader>().page = page_of(kStream, protocol::Role::lane, 0, lane_file().size());
  Client client(kStream, lane_file(), group_file());
  client.header().active_groups.raw = 0;
  {
    ProducerEngine producer(client.attach(Client::As::producer));
    require(producer.take_over().has_value(), "a producer takes a new lane");
    std::vector<std::uint8_t> sent(200, 's');
    for (unsigned i = 0; i < 12; ++i) {
      sent.resize(10 + 17 * i);
      require(producer.send(sent.data(), sent.size(), 0, Deadline::now()) == Errc::ok, "a new lane takes records");
      if (i % 5 == 4) {
        auto loan = producer.loan(20, 0, Deadline::now());
        require(loan && producer.settle(loan->token, false), "a new lane lends memory");
      }
    }
  }
  sound_lane() = lane_file().copy();
}

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const std::uint8_t alive = input.take<std::uint8_t>();
  const auto steps = input.take_bytes(input.take<std::uint8_t>() & 63);
  Stream stream = kStream;
  stream.when_full = static_cast<WhenFull>(1 + (options & 3) % 3);
  std::memcpy(lane_file().data(), sound_lane().data(), sound_lane().size());
  group_file().clear();
  group().page = page_of(stream, protocol::Role::group, 0, group_file().size());
  group().members.raw = 1 + (options >> 2 & 1);
  group().lanes[0].incarnation.raw = 1;
  group_file().patch(input, 1000);

  Client client(stream, lane_file(), group_file());
  if (!client.takes(group_file(), protocol::Role::group)) return;
  if ((options & 8) != 0) settle(alive);
  // Who waits for a living holder waits for seconds, rightly.
  group().lock.raw &= ~protocol::kLockHolderMask;
  const bool copies = stream.when_full == WhenFull::overwrite;
  consume(client, {.manual = (options & 16) != 0, .prefetch = static_cast<std::uint32_t>(options >> 6)}, copies, steps);
  if ((options & 32) != 0) produce(client);
  settle(alive);
}

}  // namespace atoll_fuzz
