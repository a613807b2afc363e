#include "limits.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "clock.hpp"
#include "process.hpp"

namespace atoll_ipc::daemon {
namespace {

Failure all_reached(std::uint64_t most, const std::string& what, const std::string& segment) {
  return {Errc::limit_reached, "the broker's limit of " + std::to_string(most) + " " + what + " of all users together is reached", segment, most, {}};
}

// In a container's 64 MiB every program needs all it can get, and there are few of them.
bool is_small(std::uint64_t total, bool shared) noexcept { return total < 1ull << 30 && !shared; }

// A quarter of the descriptors that the broker may open, and the kernel lets it have on their way: what one user may
// have of either.
std::uint64_t quarter_of_descriptors() {
  rlimit open_files{};
  return ::getrlimit(RLIMIT_NOFILE, &open_files) == 0 ? std::max<std::uint64_t>(open_files.rlim_cur / 4, 64) : 256;
}

// Each memfd file is a descriptor of the broker for as long as it lives.
std::uint64_t memfd_limit(const UserLimits& limits) { return limits.memfds != 0 ? limits.memfds : quarter_of_descriptors(); }

}  // namespace

void Tally::add(const Process& program, std::uint64_t amount) {
  total_ += amount;
  if (program.pid <= 0 || amount == 0) return;
  Row& row = programs_[{program.pid, program.start_time}];
  row.amount += amount;
  row.command = program.command;
}

std::uint64_t Tally::of(const Process& program) const {
  const auto at = programs_.find({program.pid, program.start_time});
  return at == programs_.end() ? 0 : at->second.amount;
}

std::string Tally::largest() const {
  const auto most = std::max_element(programs_.begin(), programs_.end(), [](const auto& a, const auto& b) { return a.second.amount < b.second.amount; });
  if (most == programs_.end()) return {};
  return std::to_string(most->second.amount) + " of them by " + most->second.command + " (process " + std::to_string(most->first.first) + ")";
}

const UserLimits& Limits::of(uid_t uid) {
  const UserLimits* limits = &options_.user_limits;
  for (const auto& [user, own] : options_.user_overrides) {
    uid_t named = 0;
    if (user_id(user, named) && named == uid) limits = &own;
  }
  return *limits;
}

std::uint64_t Limits::bytes_limit(const UserLimits& limits, std::uint64_t total, bool shared) noexcept {
  if (limits.bytes != 0) return limits.bytes;
  // The broker as a whole has half: where users share it, one of them must not have all of that.
  if (is_small(total, shared)) return total / 2;
  return std::min<std::uint64_t>(total / 4, 4ull << 30);
}

Result<void> Limits::check_share(const Process& who, uid_t payer, const Tally& tally, std::uint64_t more, std::uint64_t most, std::uint64_t share,
                                 const std::string& what, const std::string& segment) {
  const std::string asked = more > 1 ? ", " + std::to_string(more) + " more are asked for" : "";
  if (tally.total() + more > most) {
    const std::string largest = tally.largest();
    return fail(Errc::limit_reached,
                "the limit of " + std::to_string(most) + " " + what + " of a user is reached: user " + user_name(payer) + " has " +
                    std::to_string(tally.total()) + (largest.empty() ? "" : ", " + largest) + asked,
                segment, most);
  }
  if (who.pid <= 0 || share >= 100) return {};
  const std::uint64_t own = tally.of(who);
  const std::uint64_t left = most - (tally.total() - own);
  // Rounded up: the last one may be had.
  const std::uint64_t allowed = left / 100 * share + (left % 100 * share + 99) / 100;
  if (own + more <= allowed) return {};
  return fail(Errc::limit_reached,
              "the limit of " + std::to_string(allowed) + " " + what + " of one program is reached: " + who.command + " (process " +
                  std::to_string(who.pid) + ") has " + std::to_string(own) + asked + "; it is " + std::to_string(share) + " % of the " +
                  std::to_string(left) + " that the other programs of user " + user_name(payer) + " leave of " + std::to_string(most),
              segment, allowed, "remove or close what is not needed, or start the broker with a larger limit or --program-share");
}

Result<void> Limits::check(const Process& who, uid_t payer, const Tally& tally, std::uint64_t more, std::uint64_t most, const std::string& what,
                           const std::string& segment) {
  return check_share(who, payer, tally, more, most, of(payer).program_share, what, segment);
}

std::uint64_t Limits::bytes_of(uid_t uid, bool in_files) const {
  std::uint64_t sum = 0;
  for (const auto& [name, segment] : store_.all())
    if (segment->manifest.uid == uid && (segment->manifest.backing == protocol::Backing::file) == in_files) sum += segment->bytes();
  return sum;
}

std::uint64_t Limits::bytes_of_all(bool in_files) const {
  std::uint64_t sum = 0;
  for (const auto& [name, segment] : store_.all())
    if ((segment->manifest.backing == protocol::Backing::file) == in_files) sum += segment->bytes();
  return sum;
}

Result<void> Limits::check_bytes(const Process& who, const protocol::Manifest& manifest, std::uint64_t bytes, bool there, int directory,
                                 const std::string& where) {
  const std::string& name = manifest.name;
  const bool in_files = manifest.backing == protocol::Backing::file;
  auto room = room_of(directory, where);
  if (!room) return fail(room.error());
  // Too little memory before a limit: it is what the operator of a small container must hear.
  const std::uint64_t floor = room->total / 10;
  if (!there && bytes > room->free)
    return fail(Errc::no_space,
                "'" + name + "' needs " + std::to_string(bytes) + " bytes, " + where + " has " + std::to_string(room->free) + " of " +
                    std::to_string(room->total) + " free",
                name, bytes);
  // Of a disk the last tenth is its owner's to fill; without free memory the whole machine suffers.
  if (!in_files && room->free - bytes < floor)
    return fail(Errc::no_space,
                "'" + name + "' needs " + std::to_string(bytes) + " bytes; " + where + " has " + std::to_string(room->free) + " of " +
                    std::to_string(room->total) + " free, of which the last tenth (" + std::to_string(floor) + ") is kept",
                name, bytes);
  const std::uint64_t most = bytes_limit_of(manifest.uid, room->total);
  Tally of_user;
  std::uint64_t all = 0;
  for (const auto& [other, segment] : store_.all()) {
    if ((segment->manifest.backing == protocol::Backing::file) != in_files) continue;
    all += segment->bytes();
    if (segment->manifest.uid == manifest.uid) of_user.add(segment->maker, segment->bytes());
  }
  const UserLimits& limits = of(manifest.uid);
  const std::uint64_t share = limits.bytes == 0 && is_small(room->total, options_.allow_other_users) ? 100 : limits.program_share;
  if (auto allowed = check_share(who, manifest.uid, of_user, bytes, most, share, "bytes", name); !allowed) return allowed;
  if (all + bytes > std::max(room->total / 2, most)) {
    return fail(Errc::limit_reached,
                "the broker's limit of half of " + where + " (" + std::to_string(room->total / 2) + " bytes) is reached: all users have " +
                    std::to_string(all) + ", " + std::to_string(bytes) + " more are asked for",
                name, room->total / 2);
  }
  return {};
}

Result<void> Limits::check_memfds(const Process& who, const protocol::Manifest& manifest, std::uint64_t more) {
  if (manifest.backing != protocol::Backing::memfd) return {};
  Tally of_user;
  for (const auto& [other, segment] : store_.all())
    if (segment->manifest.uid == manifest.uid) of_user.add(segment->maker, segment->memfds.size());
  return check(who, manifest.uid, of_user, more, memfd_limit(of(manifest.uid)), "memfd files", manifest.name);
}

Result<void> Limits::check_segment(const Process& who, const protocol::Manifest& draft, std::uint64_t bytes, bool there, int directory,
                                   const std::string& where) {
  Tally of_user;
  for (const auto& [other, segment] : store_.all())
    if (segment->manifest.uid == draft.uid) of_user.add(segment->maker);
  if (auto allowed = check(who, draft.uid, of_user, 1, of(draft.uid).segments, "segments", draft.name); !allowed) return allowed;
  if (store_.all().size() >= options_.broker_limits.segments) return fail(all_reached(options_.broker_limits.segments, "segments", draft.name));
  // Header, bell and first lane; or data and bell.
  if (auto allowed = check_memfds(who, draft, 3); !allowed) return allowed;
  return check_bytes(who, draft, bytes, there, directory, where);
}

Result<void> Limits::check_growth(const Process& who, const Segment& segment, std::uint64_t bytes, bool lane, int directory, const std::string& where) {
  const uid_t payer = segment.manifest.uid;
  if (lane) {
    Tally of_payer;
    std::uint64_t all = 0;
    static const Process nobody;
    for (const auto& [other, each] : store_.all()) {
      all += each->lanes.size();
      if (each->manifest.uid != payer) continue;
      for (const auto& [number, held] : each->lanes) {
        const Slot* owner = held.owner ? slots_.find(*held.owner) : nullptr;
        of_payer.add(owner != nullptr ? owner->process : nobody);
      }
    }
    if (auto allowed = check(who, payer, of_payer, 1, of(payer).lanes, "lanes", segment.name()); !allowed) return allowed;
    if (all >= options_.broker_limits.lanes) return fail(all_reached(options_.broker_limits.lanes, "lanes", segment.name()));
    if (auto allowed = check_guest(who, segment); !allowed) return allowed;
  }
  if (auto allowed = check_memfds(who, segment.manifest, 1); !allowed) return allowed;
  return check_bytes(who, segment.manifest, bytes, false, directory, where);
}

// Of a stream's lanes a user whose stream it is not gets at most half of what the others leave, whether it writes
// to them still or has closed them: else the first guest could keep everybody else from producing.
Result<void> Limits::check_guest(const Process& who, const Segment& segment) {
  if (who.uid == segment.manifest.uid || who.uid == 0) return {};
  const auto own = static_cast<std::uint64_t>(std::count_if(segment.lanes.begin(), segment.lanes.end(), [&](const auto& entry) {
    return entry.second.producer_id != 0 && entry.second.last_uid == who.uid;
  }));
  const std::uint64_t left = protocol::kMaxLanes - (segment.lanes.size() - own);
  if (own + 1 <= (left + 1) / 2) return {};
  return fail(Errc::limit_reached,
              "the limit of " + std::to_string((left + 1) / 2) + " lanes of a guest is reached: user " + user_name(who.uid) + " has " + std::to_string(own) +
                  " of '" + segment.name() + "', which belongs to " + user_name(segment.manifest.uid),
              segment.name(), (left + 1) / 2, "send through fewer producers, or open and close them less often");
}

Result<void> Limits::check_connections(uid_t uid, const Tally& of_user, std::uint64_t of_all) {
  if (auto allowed = check({}, uid, of_user, 1, of(uid).connections, "connections", {}); !allowed) return allowed;
  if (of_all >= options_.broker_limits.connections) return fail(all_reached(options_.broker_limits.connections, "connections", {}));
  return {};
}

Result<void> Limits::check_connection(const Process& who, const Tally& of_user) {
  return check(who, who.uid, of_user, 1, of(who.uid).connections, "connections", {});
}

Result<void> Limits::check_slot(const Process& who) {
  Tally of_user;
  for (const auto& [number, slot] : slots_.all())
    if (slot.process.uid == who.uid) of_user.add(slot.process);
  return check(who, who.uid, of_user, 1, of(who.uid).connections, "slots (connections, and processes that hold something without one)", {});
}

Result<void> Limits::check_attachment(const Slot& slot, const std::string& segment) {
  Tally of_user;
  for (const auto& [number, each] : slots_.all())
    if (each.process.uid == slot.process.uid) of_user.add(each.process, each.attachments.size());
  if (auto allowed = check(slot.process, slot.process.uid, of_user, 1, of(slot.process.uid).attachments, "attachments", segment); !allowed) return allowed;
  if (slots_.attachments().size() >= options_.broker_limits.attachments)
    return fail(all_reached(options_.broker_limits.attachments, "attachments", segment));
  return {};
}

Result<std::int64_t> Limits::connection_delay_ns(uid_t uid) {
  const UserLimits& limits = of(uid);
  const auto rate = static_cast<double>(std::max<std::uint64_t>(limits.connections_per_second, 1));
  const auto burst = static_cast<double>(limits.connection_burst);
  const std::int64_t now = monotonic_ns();
  Bucket& bucket = buckets_.try_emplace(uid, Bucket{burst, now}).first->second;
  bucket.tokens = std::min(burst, bucket.tokens + static_cast<double>(now - bucket.at_ns) * 1e-9 * rate);
  bucket.at_ns = now;
  // Below zero: what those who already wait will take.
  const double missing = 1 - bucket.tokens;
  const auto delay = missing <= 0 ? 0 : static_cast<std::int64_t>(missing / rate * 1e9);
  if (delay > kLongestDelayNs)
    return fail(Errc::limit_reached,
                "user " + user_name(uid) + " connects more often than " + std::to_string(limits.connections_per_second) + " times a second", {},
                limits.connections_per_second, "keep a connection open instead of connecting for each call");
  bucket.tokens -= 1;
  return delay;
}

Result<void> Limits::check_watch(const Process& who, const Tally& of_user, std::uint64_t of_all) {
  if (auto allowed = check(who, who.uid, of_user, 1, of(who.uid).watches, "waits for a segment", {}); !allowed) return allowed;
  if (of_all >= options_.broker_limits.watches) return fail(all_reached(options_.broker_limits.watches, "waits for a segment", {}));
  return {};
}

Result<void> Limits::check_descriptors(uid_t uid, std::uint64_t of_user, std::uint64_t of_all) {
  Tally tally;
  tally.add({}, of_user);
  const std::uint64_t quarter = quarter_of_descriptors();
  const std::uint64_t of_one = std::min(of(uid).descriptors, quarter);
  if (auto allowed = check({}, uid, tally, 1, of_one, "descriptors sent and not taken", {}); !allowed) return allowed;
  const std::uint64_t all = std::min(options_.broker_limits.descriptors, 2 * quarter);
  if (of_all >= all) return fail(all_reached(all, "descriptors sent and not taken", {}));
  return {};
}

}  // namespace atoll_ipc::daemon
