// A segment's bell page and the broker's bells, of any bytes: what ringers, sleepers and the broker make of them.
//
// Input: u8 options, u16 slot, u8 count, that many patches of the bell file, then two bytes for each of the first 16 bells.
// Whatever the bytes are: nobody waits longer than it must, who enlists is woken, the lists are empty after the broker's ring,
// and nothing but lists and bells changes.
#include "bell_ringer.hpp"
#include "bell_tower.hpp"
#include "client.hpp"
#include "guard.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;

namespace {

File& bell_file() {
  static File file(sizeof(protocol::BellFile));
  return file;
}
protocol::BellFile& bell() { return bell_file().as<protocol::BellFile>(); }
protocol::BellsFile& bells() { return Client::bells(); }

bool empty(const protocol::Sleepers& list) {
  std::uint64_t all = list.summary.raw;
  for (const auto& word : list.slots) all |= word.raw;
  return all == 0;
}

struct Counted {
  std::uint32_t sequence;
  std::uint32_t asleep;
};
Counted bell_of(unsigned slot) { return {bells().bells[slot].sequence.raw, bells().bells[slot].asleep.raw}; }

}  // namespace

void prepare() {
  static_cast<void>(Client::session());
  daemon::install_guard();
}

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const unsigned slot = input.take<std::uint16_t>();
  const auto patches = input.take<std::uint8_t>();
  bell_file().clear();
  bell_file().patch(input, patches);
  for (unsigned i = 0; i < 16; ++i) {
    protocol::Bell& one = bells().bells[i];
    one.sequence.raw = input.take<std::uint8_t>() * 0x01010101u;
    one.asleep.raw = input.take<std::uint8_t>();
  }
  bells().life.raw = ((options & 1) != 0 ? protocol::kLifeDied : 1u) | protocol::kLifeWaiters;
  const std::vector<std::byte> before = bell_file().copy();
  protocol::Sleepers& list = (options & 2) != 0 ? bell().room : bell().data;

  // The client that rings, all or one.
  const bool named = slot < protocol::kMaxSlots && (list.slots[slot / 64].raw >> (slot % 64) & 1) != 0;
  const bool summed = named && (list.summary.raw >> (slot / 64) & 1) != 0;
  const Counted was = slot < protocol::kMaxSlots ? bell_of(slot) : Counted{};
  if ((options & 4) != 0) {
    ring_one(list, bells(), slot);
    if (named) require(bell_of(slot).asleep == 0 && bell_of(slot).sequence == was.sequence + (was.asleep != 0 ? 1 : 0), "who is on the list and asleep is woken");
  } else {
    ring(list, bells(), (options & 8) != 0);
    require(list.summary.raw == 0, "a ring takes the summary");
    if (summed) require(bell_of(slot).asleep == 0 && bell_of(slot).sequence == was.sequence + (was.asleep != 0 ? 1 : 0), "who is on the list and asleep is woken");
    if (!summed && slot < protocol::kMaxSlots) require(bell_of(slot).sequence == was.sequence, "who is on no list is left alone");
  }

  // A sleeper of ours: rung while it looked once more, or for as long as its time is.
  Session& session = *Client::session();
  const Counted mine = bell_of(kSlot);
  const Sleeper::Armed armed = Sleeper::enlist_here(session, list);
  require(armed.bell == mine.sequence && bell_of(kSlot).asleep == 1, "who goes to sleep says so");
  if ((options & 16) != 0) {
    ring(list, bells(), true);
    require(bell_of(kSlot).sequence == mine.sequence + 1 && bell_of(kSlot).asleep == 0, "who enlisted is woken by the next ring");
  }
  Clock clock(Deadline::in(std::chrono::microseconds(20)));
  static_cast<void>(clock.left());
  const std::int64_t began = monotonic_ns();
  static_cast<void>(Sleeper::doze(session, armed, clock, false));
  require(monotonic_ns() - began < 2'000'000'000, "nobody sleeps longer than its time");

  // The broker, after a death.
  if ((options & 32) != 0) enlist(list, kSlot), bells().bells[kSlot].asleep.raw = 1;
  const Counted last = bell_of(kSlot);
  daemon::ring_sleepers(bell(), bells());
  require(empty(bell().data) && empty(bell().room), "after the broker's ring the lists are empty");
  if ((options & 32) != 0) require(bell_of(kSlot).sequence == last.sequence + 1, "the broker's ring wakes who is enlisted");
  daemon::ring_slot(bells(), slot);
  daemon::reset_bell(bells(), slot);
  if (slot < protocol::kMaxSlots) require(bell_of(slot).asleep == 0, "a slot is given out awake");

  std::vector<std::byte> after = bell_file().copy();
  const auto blank = [](std::vector<std::byte> bytes) {
    for (const std::size_t at : {offsetof(protocol::BellFile, data), offsetof(protocol::BellFile, room)}) std::memset(&bytes[at], 0, sizeof(protocol::Sleepers));
    return bytes;
  };
  require(blank(std::move(after)) == blank(before), "rings change lists only");
}

}  // namespace atoll_fuzz
