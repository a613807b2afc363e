// Taking up what an earlier broker left: the store's part that runs at the start, and when memory is offered back.
//
// The journal tells what the files cannot: what was begun, which file each memfd is, whose each lane was, what was spoilt.
// Of a `file` segment the manifest beside the data counts, because another broker may have had it in between.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "atoll/protocol/kill_point.hpp"
#include "data_directory.hpp"
#include "guard.hpp"
#include "process.hpp"
#include "segment_files.hpp"
#include "segment_store.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Backing;
using protocol::Role;

namespace {

constexpr std::uint64_t kSomebody = ~0ull;  // for a producer's number: the lane had one, whoever that was

json file_entry(const char* type, const Segment& segment, Role role, unsigned index) {
  return {{"t", type}, {"name", segment.name()}, {"generation", segment.manifest.generation}, {"role", protocol::role_name(role)}, {"index", index}};
}

json memory_entry(const Segment& segment, Role role, unsigned index, const FileIdentity& identity) {
  json entry = file_entry("memory", segment, role, index);
  entry["device"] = identity.device;
  entry["inode"] = identity.inode;
  entry["boot"] = boot_id();
  return entry;
}

json aside_entry(const Segment& segment, Role role, unsigned index, std::uint64_t incarnation) {
  json entry = file_entry("aside", segment, role, index);
  entry["incarnation"] = incarnation;
  return entry;
}

std::optional<Role> role_named(const std::string& name) {
  for (const Role role : {Role::header, Role::lane, Role::group, Role::bell, Role::data})
    if (name == protocol::role_name(role)) return role;
  return std::nullopt;
}

// Kept by who made it, closed against cutting and growing.
bool is_memory_of_ours(int fd) {
  struct stat status {};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  constexpr int kWanted = F_SEAL_SHRINK | F_SEAL_GROW;
  return ::fstat(fd, &status) == 0 && status.st_uid == ::geteuid() && seals >= 0 && (seals & kWanted) == kWanted;
}

}  // namespace

// Before the manifest that names the file: whoever gets a descriptor of it can be known again.
void SegmentStore::journal_memory(const Segment& segment, Role role, unsigned index) {
  const auto at = segment.memory.find({role, index});
  if (at != segment.memory.end()) journal_.append(memory_entry(segment, role, index, at->second));
}

void SegmentStore::set_aside(Segment& segment, const protocol::ManifestFile& file) {
  if (segment.aside.emplace(file.role, file.index, file.incarnation).second) journal_.append(aside_entry(segment, file.role, file.index, file.incarnation));
}

void SegmentStore::save(std::vector<json>& entries) const {
  const auto lane_entry = [](const Segment& segment, unsigned number, uid_t uid) {
    return json{{"t", "lane"}, {"name", segment.name()}, {"generation", segment.manifest.generation}, {"lane", number}, {"uid", uid}};
  };
  for (const auto& [name, segment] : segments_) {
    for (const auto& [which, identity] : segment->memory) entries.push_back(memory_entry(*segment, which.first, which.second, identity));
    for (const auto& [role, index, incarnation] : segment->aside) entries.push_back(aside_entry(*segment, role, index, incarnation));
    for (const auto& [number, uid] : segment->producers) entries.push_back(lane_entry(*segment, number, uid));
    for (const auto& [number, lane] : segment->lanes)
      if (lane.producer_id != 0 && !lane.owner && lane.last_uid != kNobodyKnown) entries.push_back(lane_entry(*segment, number, lane.last_uid));
  }
}

SegmentStore::Remembered::Remembered(const Replay& replay) {
  std::map<std::uint64_t, std::pair<std::pair<std::string, std::uint64_t>, unsigned>> lane_of;  // by attachment
  for (const json& entry : replay.entries) {
    const std::string type = entry["t"];
    const auto role = role_named(entry_text(entry, "role"));
    const auto index = static_cast<unsigned>(entry_number(entry, "index"));
    if (type == "detached") {
      if (const auto at = lane_of.find(entry_number(entry, "id")); at != lane_of.end()) segments[at->second.first].owners.erase(at->second.second);
      continue;
    }
    const std::pair which{entry_text(entry, "name"), entry_number(entry, "generation")};
    Noted& noted = segments[which];
    // Numbers of files begin anew with each boot of the machine, which takes all memory along anyway.
    if (type == "memory" && role && entry_text(entry, "boot") == boot_id()) noted.memory[{*role, index}] = {entry_number(entry, "device"), entry_number(entry, "inode")};
    if (type == "aside" && role) noted.aside.emplace(*role, index, entry_number(entry, "incarnation"));
    // Who holds a lane is told by its attachment as well.
    if ((type == "attached" || type == "lane") && entry.contains("lane") && entry.contains("uid")) {
      const auto lane = static_cast<unsigned>(entry_number(entry, "lane"));
      noted.producers[lane] = static_cast<uid_t>(entry_number(entry, "uid"));
      if (type == "attached") {
        noted.owners[lane] = entry_number(entry, "producer");
        lane_of[entry_number(entry, "id")] = {which, lane};
      }
    }
  }
}

const SegmentStore::Noted* SegmentStore::noted(const Segment& segment) const {
  const auto at = remembered_.segments.find({segment.name(), segment.manifest.generation});
  return at == remembered_.segments.end() ? nullptr : &at->second;
}

void SegmentStore::recall(Segment& segment) {
  const Noted* const known = noted(segment);
  if (known == nullptr) return;
  segment.producers = known->producers;
  for (const protocol::ManifestFile& file : segment.manifest.files) {
    if (const auto memory = known->memory.find({file.role, file.index}); memory != known->memory.end()) segment.memory.insert(*memory);
    if (known->aside.count({file.role, file.index, file.incarnation}) != 0) segment.aside.emplace(file.role, file.index, file.incarnation);
  }
}

Result<void> SegmentStore::finish_interrupted(const Replay& replay) {
  // The last word on each decides.
  std::map<std::pair<std::string, std::uint64_t>, json> open;
  for (const json& entry : replay.entries) {
    const std::string type = entry["t"];
    const std::uint64_t generation = entry_number(entry, "generation");
    const std::pair which{entry_text(entry, "name"), generation};
    if (type == "creating" || type == "removing") open[which] = entry;
    if (type == "created" || type == "removed") open.erase(which);
    if (type == "creating" || type == "counters") generation_ = std::max(generation_, generation);
  }
  for (const auto& [which, entry] : open) {
    const auto& [name, generation] = which;
    Segment segment;
    segment.manifest.name = name;
    segment.manifest.generation = generation;
    segment.manifest.directory = entry_text(entry, "directory");
    if (!segment.manifest.directory.empty()) segment.manifest.backing = Backing::file;
    if (!protocol::valid_name(segment.manifest.name)) continue;
    // A creation whose manifest of this generation was published is finished, not undone; unless its memory had no name
    // and is gone with the broker that was making it.
    auto text = read_file_at(runtime_.segments.get(), protocol::path_component(segment.manifest.name) + ".json", protocol::kMaxManifest, "a manifest");
    if (!text && passes(text.error())) return fail(text.error());  // not known to be missing
    protocol::Manifest published;
    const bool there = text && !protocol::parse_manifest(*text, published) && published.generation == generation;
    if (entry["t"] == "creating" && there && published.backing != Backing::memfd) continue;
    spdlog::info("{} of '{}' generation {} was interrupted: {}", entry["t"] == "creating" ? "creation" : "removal", segment.manifest.name, generation,
                 entry["t"] == "creating" ? "undone" : "finished");
    if (there || !text) ::unlinkat(runtime_.segments.get(), (protocol::path_component(segment.name()) + ".json").c_str(), 0);
    if (segment.manifest.backing == Backing::file)
      remove_data(segment.manifest.directory, segment.directory_name(), entry_text(entry, "uuid"));
    else
      remove_tree_at(runtime_.shm.get(), segment.directory_name());
  }
  return {};
}

Result<void> SegmentStore::adopt_all(const Replay& replay, std::uint64_t epoch) {
  epoch_ = epoch;
  remembered_ = Remembered(replay);
  if (auto finished = finish_interrupted(replay); !finished) return finished;
  auto files = list_directory(runtime_.segments.get());
  if (!files) return fail(files.error());
  for (const std::string& file : *files) {
    if (file.size() > 9 && file.compare(file.size() - 9, 9, ".json.new") == 0) {
      ::unlinkat(runtime_.segments.get(), file.c_str(), 0);
      continue;
    }
    if (file.size() > 5 && file.compare(file.size() - 5, 5, ".json") == 0)
      if (auto adopted = adopt_manifest(file); !adopted) return adopted;
  }
  remembered_ = {};
  return {};
}

// Fails for want of descriptors, memory or room only: such a broker had better not begin to serve.
Result<void> SegmentStore::adopt_manifest(const std::string& file_name) {
  std::string name = file_name.substr(0, file_name.size() - 5);
  std::replace(name.begin(), name.end(), '+', '/');
  if (!protocol::valid_name(name)) {
    spdlog::warn("segments/{}: not named like a segment, left alone", file_name);
    return {};
  }
  auto segment = std::make_shared<Segment>();
  segment->manifest.name = name;
  auto text = read_file_at(runtime_.segments.get(), file_name, protocol::kMaxManifest, "the manifest of '" + name + "'");
  if (!text) {
    segment->broken = text.error();
  } else if (auto wrong = protocol::parse_manifest(*text, segment->manifest)) {
    segment->broken = std::move(*wrong);
    segment->manifest.name = name;
  } else if (segment->manifest.name != name) {
    segment->broken = Failure{Errc::bad_manifest, "the manifest of '" + name + "' speaks of another segment", name, 0, {}};
    segment->manifest = {};
    segment->manifest.name = name;
  } else {
    recall(*segment);
    if (auto adopted = adopt(*segment); !adopted) segment->broken = adopted.error();
  }
  if (segment->broken && wants(*segment->broken)) return fail(*segment->broken);
  if (text) segment->manifest_text = *text;
  generation_ = std::max(generation_, segment->manifest.generation);
  if (segment->broken) {
    segment->broken->segment = name;
    if (!segment->awaiting_memory) spdlog::error("'{}' cannot be used: {}", name, segment->broken->message);
  } else {
    segment->manifest_text = protocol::manifest_text(segment->manifest);
    if (segment->manifest.backing == Backing::file && *text != segment->manifest_text)
      if (auto published = publish(*segment); !published) spdlog::error("{}", published.error().message);
    spdlog::info("'{}' adopted: {} generation {}, {} lanes, {} groups", name, protocol::kind_name(segment->manifest.kind), segment->manifest.generation,
                 segment->lanes.size(), segment->groups.size());
  }
  segments_[name] = std::move(segment);
  return {};
}

Result<void> SegmentStore::adopt_again(Segment& segment) {
  if (auto adopted = adopt(segment); !adopted) {
    segment.broken = adopted.error();
    return adopted;
  }
  segment.broken.reset();
  generation_ = std::max(generation_, segment.manifest.generation);
  return publish(segment);
}

Result<void> SegmentStore::adopt(Segment& segment) {
  const protocol::Manifest& manifest = segment.manifest;
  if (manifest.backing == Backing::memfd) {
    segment.awaiting_memory = true;
    return fail(Errc::segment_lost, "the memory of '" + manifest.name + "' had no name and nobody has offered it back", manifest.name);
  }
  const bool shm = manifest.backing == Backing::shm;
  UniqueFd above;
  if (!shm) {
    auto opened = open_data_directory(manifest.directory);
    if (!opened && passes(opened.error())) return fail(opened.error());
    if (!opened) return fail(Errc::truncated_file, "the directory " + manifest.directory + " of '" + manifest.name + "' is gone", manifest.name);
    above = std::move(*opened);
  }
  auto directory = open_directory_at(shm ? runtime_.shm.get() : above.get(), segment.directory_name());
  if (!directory && wants(directory.error())) return fail(directory.error());
  // Without a trace: nobody can come back to it, as the next Create of that name may know.
  if (!directory && shm && directory.error().detail == ENOENT)
    return fail(Errc::segment_lost, "the memory of '" + manifest.name + "' is gone from /dev/shm, as after a reboot", manifest.name, 0,
                "create it again; use backing file for what must survive a reboot");
  if (!directory)
    return fail(Errc::truncated_file, "the files of '" + manifest.name + "' are gone (" + directory.error().message + ")", manifest.name);
  segment.directory = std::move(*directory);
  segment.directory_path = (shm ? runtime_.shm_path : manifest.directory) + "/" + segment.directory_name();
  if (shm) return adopt_files(segment);
  auto adopted = adopt_data(segment);
  if (!adopted) segment.directory.reset();  // the claim ends: what cannot be used is not kept from others
  return adopted;
}

Result<void> SegmentStore::adopt_data(Segment& segment) {
  if (auto claimed = claim_directory(segment); !claimed) return claimed;
  auto beside = manifest_beside(segment.directory);
  if (!beside) return fail(beside.error());
  if (*beside) {
    if ((*beside)->uuid != segment.manifest.uuid || (*beside)->generation != segment.manifest.generation)
      return fail(Errc::truncated_file, "the files of '" + segment.name() + "' are gone; in " + segment.directory_path + " lie those of another segment", segment.name());
    const std::string where = segment.manifest.directory;
    segment.manifest = std::move(**beside);
    relocate(segment.manifest, where);
  }
  const bool writers_may_live = claimed_in_this_boot(segment.directory);
  if (auto noted = note_boot(segment.directory); !noted) spdlog::warn("{}", noted.error().message);
  if (auto adopted = adopt_files(segment, writers_may_live); !adopted) return adopted;
  if (*beside) remove_strays(segment);
  return {};
}

void SegmentStore::remove_strays(Segment& segment) noexcept {
  try {
    const auto entries = list_directory(segment.directory.get());
    if (!entries) return;
    for (const std::string& entry : *entries) {
      bool known = entry == "manifest.json" || entry == "boot";
      for (const protocol::ManifestFile& file : segment.manifest.files)
        known = known || file.path == segment.directory_path + "/" + entry;
      if (!known) ::unlinkat(segment.directory.get(), entry.c_str(), 0);
    }
  } catch (...) {
  }
}

// A lane or group whose file is spoilt is set aside, and the others are not.
Result<void> SegmentStore::adopt_files(Segment& segment, bool others_may_write) {
  const Noted* const known = noted(segment);
  const auto owned_here = [known](unsigned lane, std::uint64_t producer) {
    if (known == nullptr) return false;
    const auto at = known->owners.find(lane);
    return at != known->owners.end() && at->second == producer;
  };
  for (const protocol::ManifestFile& file : segment.manifest.files) {
    auto fd = open_segment_file(segment, file, false);
    const bool part = file.role == Role::lane || file.role == Role::group;
    if (!fd && (!part || !spoilt(fd.error()))) return fail(fd.error());
    if (!fd) {
      spdlog::error("{}", fd.error().message);
      set_aside(segment, file);
    }
    const bool aside = segment.aside.count({file.role, file.index, file.incarnation}) != 0;
    segment.next_incarnation = std::max(segment.next_incarnation, file.incarnation + 1);
    if (file.role == Role::lane) {
      Lane lane;
      lane.number = file.index;
      lane.incarnation = file.incarnation;
      // Whoever owned it is named by the journal; until then it is nobody's.
      lane.state = protocol::LaneState::orphaned;
      lane.damaged = aside;
      protocol::LaneHeader header{};
      if (fd && ::pread(fd->get(), static_cast<void*>(&header), sizeof header, 0) == sizeof header &&
          header.state.raw == static_cast<std::uint32_t>(protocol::LaneState::closed))
        lane.state = protocol::LaneState::closed;
      lane.last_uid = segment.manifest.uid;
      // Who had it before may still write to it. A memfd lane counts as one that had a producer, whoever that was.
      if (segment.manifest.backing == Backing::memfd) lane.producer_id = kSomebody;
      if (const auto at = segment.producers.find(lane.number); at != segment.producers.end()) {
        lane.last_uid = at->second;
        lane.producer_id = kSomebody;
      }
      if (others_may_write && header.state.raw == static_cast<std::uint32_t>(protocol::LaneState::owned) && !owned_here(lane.number, header.producer_id)) {
        // By a client of another broker, of whose death nobody here would hear: left as it is.
        lane.last_uid = kNobodyKnown;
        lane.producer_id = kSomebody;
        lane.state = protocol::LaneState::owned;
      }
      segment.lanes[lane.number] = std::move(lane);
    }
    if (file.role == Role::group) {
      Group group;
      group.id = file.index;
      group.incarnation = file.incarnation;
      group.name = file.group;
      group.flags = file.group_flags;
      group.damaged = group.aside = aside;
      segment.groups[group.id] = std::move(group);
    }
  }
  segment.producers.clear();
  if (segment.manifest.backing == Backing::shm) remove_strays(segment);
  if (auto mapped = map_control_files(segment); !mapped) return mapped;
  std::uint64_t lanes = 0;
  std::uint32_t groups = 0;
  for (const auto& [number, lane] : segment.lanes) lanes |= 1ull << number;
  // Producers could not learn how far one that was set aside has read.
  for (const auto& [id, group] : segment.groups)
    if (!group.aside) groups |= 1u << id;
  const bool whole = guarded([&] {
    if (segment.stream()) {
      protocol::SegmentHeader& header = *segment.stream_header();
      header.state.store_release(static_cast<std::uint32_t>(protocol::SegmentState::live));
      header.broker_epoch.store_relaxed(epoch_);
      // Each lane and group that was ever made is a change: clients may remember some that are gone.
      segment.next_incarnation = std::max(segment.next_incarnation, header.changes.load_relaxed() + 1);
      ATOLL_KILL_POINT("broker.adopt.live");
      header.active_lanes.store_release(lanes);
      ATOLL_KILL_POINT("broker.adopt.lanes");
      header.active_groups.exchange(groups);
      ATOLL_KILL_POINT("broker.adopt.groups");
      header.observers.store_relaxed(segment.observers);
    } else {
      segment.bytes_header()->state.store_release(static_cast<std::uint32_t>(protocol::SegmentState::live));
      segment.bytes_header()->broker_epoch.store_relaxed(epoch_);
    }
  });
  if (!whole) return fail(Errc::truncated_file, "the header of '" + segment.name() + "' was cut", segment.name());
  changed(segment);
  return raise_starts(segment);
}

void SegmentStore::take_memory(Segment& segment) {
  segment.awaiting_memory = false;
  if (auto adopted = adopt_files(segment); !adopted) {
    segment.broken = adopted.error();
    return;
  }
  segment.broken.reset();
  segment.manifest_text = protocol::manifest_text(segment.manifest);
  for (auto& [number, lane] : segment.lanes) {
    const int seals = ::fcntl(segment.memfds[{Role::lane, number}].get(), F_GET_SEALS);
    lane.sealed = (seals & F_SEAL_FUTURE_WRITE) != 0;
  }
  spdlog::info("'{}' adopted from its clients' memory", segment.name());
}

bool SegmentStore::end_wait(Segment& segment) {
  const auto missing = [&](const protocol::ManifestFile& file) { return segment.memfds.count({file.role, file.index}) == 0; };
  segment.awaiting_memory = false;
  for (const protocol::ManifestFile& file : segment.manifest.files)
    if (missing(file) && file.role != Role::lane && file.role != Role::group) {
      segment.memfds.clear();
      return false;
    }
  for (const protocol::ManifestFile& file : segment.manifest.files)
    if (missing(file)) {
      spdlog::error("'{}' goes on without {}: nobody offered it back", segment.name(), describe(segment, file));
      segment.memory.erase({file.role, file.index});
      segment.next_incarnation = std::max(segment.next_incarnation, file.incarnation + 1);  // somebody may remember it
    }
  std::erase_if(segment.manifest.files, missing);
  take_memory(segment);
  // Should that fail, the next broker waits for it, too.
  if (auto published = publish(segment); !published) spdlog::error("{}", published.error().message);
  return !segment.broken;
}

bool SegmentStore::offer_memory(const UniqueFd& fd) {
  const auto offered = identity_of(fd.get(), "a descriptor that was offered");
  if (!offered || !is_memory_of_ours(fd.get())) return false;
  // By the journal, never by what stands in the file: that a producer may have written.
  for (auto& [name, segment] : segments_) {
    if (!segment->awaiting_memory) continue;
    const auto at = std::find_if(segment->memory.begin(), segment->memory.end(), [&](const auto& entry) { return entry.second == *offered; });
    if (at == segment->memory.end()) continue;
    if (segment->memfds.count(at->first) != 0) return false;
    auto writable = reopen(fd.get(), true, "memory of '" + name + "'");
    if (!writable) return false;
    segment->memfds[at->first] = std::move(*writable);
    if (segment->memfds.size() == segment->manifest.files.size()) take_memory(*segment);
    return true;
  }
  return false;
}

}  // namespace atoll_ipc::daemon
