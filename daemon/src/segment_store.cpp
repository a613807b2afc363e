#include "segment_store.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "clock.hpp"
#include "guard.hpp"
#include "lane_recovery.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Backing;
using protocol::Role;

namespace {

json memory_entry(const Segment& segment, Role role, unsigned index, const FileIdentity& identity) {
  return {{"t", "memory"},           {"name", segment.name()}, {"generation", segment.manifest.generation}, {"role", protocol::role_name(role)}, {"index", index},
          {"device", identity.device}, {"inode", identity.inode}};
}

// Two brokers with runtime directories of their own may be told of the same data. For as long as the directory is open it is ours.
Result<void> claim_directory(const Segment& segment) {
  if (segment.manifest.backing != Backing::file || ::flock(segment.directory.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return {};
  return fail(Errc::in_use, "another broker has the data of '" + segment.name() + "' in " + segment.directory_path, segment.name(), 0,
              "use that broker's socket, or stop it and restart this one");
}

}  // namespace

Result<UniqueFd> open_data_directory(const std::string& path) {
  int opened;
  do opened = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (opened < 0 && errno == EINTR);
  UniqueFd fd(opened);
  if (fd) return fd;
  if (errno == ENOENT || errno == ENOTDIR)
    return fail(Errc::invalid_argument, "options.directory: " + path + " is not a directory", {}, 0, "make the directory first");
  return fail_errno(errno, "opening the directory " + path);
}

SegmentPtr SegmentStore::find(const std::string& name) const {
  const auto at = segments_.find(name);
  return at == segments_.end() ? nullptr : at->second;
}

Result<void> SegmentStore::publish(Segment& segment) {
  std::string text = protocol::manifest_text(segment.manifest);
  const std::string what = "the manifest of '" + segment.name() + "'";
  const bool beside = segment.manifest.backing == Backing::file;
  const auto of_segment = [&](Failure failure) {
    failure.segment = segment.name();
    return fail(std::move(failure));
  };
  if (beside) {
    ATOLL_KILL_POINT("broker.manifest.beside");
    if (auto replaced = replace_file_at(segment.directory.get(), "manifest.json", text, true, what); !replaced) return of_segment(replaced.error());
  }
  ATOLL_KILL_POINT("broker.manifest.rename");
  auto replaced = replace_file_at(runtime_.segments.get(), protocol::path_component(segment.name()) + ".json", text, false, what);
  ATOLL_KILL_POINT("broker.manifest.renamed");
  if (!replaced) {
    // The one beside the data must not say more; as well as can be, where there is no room.
    if (beside && !segment.manifest_text.empty()) static_cast<void>(replace_file_at(segment.directory.get(), "manifest.json", segment.manifest_text, true, what));
    return of_segment(replaced.error());
  }
  segment.manifest_text = std::move(text);
  return {};
}

Result<protocol::Manifest> SegmentStore::find_saved(const std::string& name, const std::string& directory) const {
  auto above = open_data_directory(directory);
  if (!above) return fail(above.error());
  const std::string prefix = protocol::path_component(name) + "@";
  protocol::Manifest best;
  auto entries = list_directory(above->get());
  if (!entries) return fail(entries.error());
  for (const std::string& entry : *entries) {
    if (entry.compare(0, prefix.size(), prefix) != 0) continue;
    // What cannot be looked at now may be the data: nothing is made in its place.
    auto inner = open_directory_at(above->get(), entry);
    if (!inner && passes(inner.error())) return fail(inner.error());
    if (!inner) continue;
    auto text = read_file_at(inner->get(), "manifest.json", protocol::kMaxManifest, "the manifest in " + directory + "/" + entry);
    if (!text && passes(text.error())) return fail(text.error());
    if (!text) continue;
    protocol::Manifest manifest;
    if (auto wrong = protocol::parse_manifest(*text, manifest)) {
      wrong->segment = name;
      wrong->message += " (in " + directory + "/" + entry + ")";
      return fail(std::move(*wrong));
    }
    if (manifest.name == name && manifest.generation > best.generation && prefix + std::to_string(manifest.generation) == entry) best = std::move(manifest);
  }
  if (best.generation == 0) return fail(Errc::unknown_segment, "the directory " + directory + " holds no data of '" + name + "'", name);
  // Where it is now counts, not where it was when it was written.
  best.directory = directory;
  for (protocol::ManifestFile& file : best.files)
    if (const auto slash = file.path.rfind('/'); slash != std::string::npos)
      file.path = directory + "/" + prefix + std::to_string(best.generation) + file.path.substr(slash);
  return best;
}

Result<SegmentPtr> SegmentStore::create(protocol::Manifest draft, bool& adopted) {
  adopted = false;
  auto segment = std::make_shared<Segment>();
  UniqueFd above;
  if (draft.backing == Backing::file) {
    auto opened = open_data_directory(draft.directory);
    if (!opened) return fail(opened.error());
    above = std::move(*opened);
    if (auto saved = find_saved(draft.name, draft.directory)) {
      segment->manifest = std::move(*saved);
      if (auto taken = adopt(*segment); !taken) return fail(taken.error());
      generation_ = std::max(generation_, segment->manifest.generation);
      if (auto published = publish(*segment); !published) return fail(published.error());
      segments_[segment->name()] = segment;
      adopted = true;
      return segment;
    } else if (saved.error().code != Errc::unknown_segment) {
      return fail(saved.error());
    }
  }
  segment->manifest = std::move(draft);
  protocol::Manifest& manifest = segment->manifest;
  manifest.generation = ++generation_;
  manifest.created_ns = real_ns();
  if (::getrandom(manifest.uuid.data(), manifest.uuid.size(), 0) < 0) return fail_errno(errno, "getrandom");
  journal_.append({{"t", "creating"}, {"name", manifest.name}, {"generation", manifest.generation}, {"directory", manifest.directory}});
  ATOLL_KILL_POINT("broker.create.intent");

  const auto undo = [&](Failure failure) {
    remove_files(*segment);
    journal_.append({{"t", "removed"}, {"name", manifest.name}, {"generation", manifest.generation}});
    if (failure.segment.empty()) failure.segment = manifest.name;
    return fail(std::move(failure));
  };
  if (manifest.backing != Backing::memfd) {
    const bool shm = manifest.backing == Backing::shm;
    const std::string where = shm ? runtime_.shm_path : manifest.directory;
    segment->directory_path = where + "/" + segment->directory_name();
    auto directory = make_directory_at(shm ? runtime_.shm.get() : above.get(), segment->directory_name(), where);
    if (!directory) return undo(directory.error());
    segment->directory = std::move(*directory);
    if (auto claimed = claim_directory(*segment); !claimed) return undo(claimed.error());
  }
  ATOLL_KILL_POINT("broker.create.directory");
  try {
    if (auto made = finish_creation(segment); !made) return undo(made.error());
  } catch (const std::bad_alloc&) {
    return undo({Errc::no_space, "there is no memory to create '" + manifest.name + "'", manifest.name, 0, {}});
  }
  ATOLL_KILL_POINT("broker.create.published");
  journal_.append({{"t", "created"}, {"name", manifest.name}, {"generation", manifest.generation}});
  ATOLL_KILL_POINT("broker.create.commit");
  return segment;
}

// Before the manifest that names the file: whoever gets a descriptor of it can be known again.
void SegmentStore::journal_memory(const Segment& segment, Role role, unsigned index) {
  const auto at = segment.memory.find({role, index});
  if (at != segment.memory.end()) journal_.append(memory_entry(segment, role, index, at->second));
}

void SegmentStore::save(std::vector<json>& entries) const {
  for (const auto& [name, segment] : segments_) {
    for (const auto& [which, identity] : segment->memory) entries.push_back(memory_entry(*segment, which.first, which.second, identity));
    for (const auto& [number, lane] : segment->lanes)
      if (lane.producer_id != 0 && !lane.owner)
        entries.push_back({{"t", "lane"}, {"name", name}, {"generation", segment->manifest.generation}, {"lane", number}, {"uid", lane.last_uid}, {"dead", lane.last_gone}});
  }
}

SegmentStore::Remembered::Remembered(const Replay& replay) {
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> lane_of;  // by attachment
  for (const json& entry : replay.entries) {
    const std::string type = entry["t"];
    const std::uint64_t generation = entry_number(entry, "generation");
    if (type == "memory") memory[{generation, entry_text(entry, "role"), entry_number(entry, "index")}] = {entry_number(entry, "device"), entry_number(entry, "inode")};
    if ((type == "attached" || type == "lane") && entry.contains("lane") && entry.contains("uid")) {
      const std::pair lane{generation, entry_number(entry, "lane")};
      producers[lane] = {static_cast<uid_t>(entry_number(entry, "uid")), entry_flag(entry, "dead")};
      if (type == "attached") lane_of[entry_number(entry, "id")] = lane;
    }
    if (const auto at = lane_of.find(entry_number(entry, "id")); type == "detached" && at != lane_of.end()) producers[at->second].gone = entry_flag(entry, "dead");
  }
}

Result<void> SegmentStore::finish_creation(const SegmentPtr& segment) {
  if (auto made = create_control_files(*segment); !made) return made;
  for (const protocol::ManifestFile& file : segment->manifest.files) journal_memory(*segment, file.role, file.index);
  ATOLL_KILL_POINT("broker.create.files");
  if (!guarded([&] { (segment->stream() ? segment->stream_header()->broker_epoch : segment->bytes_header()->broker_epoch).store_relaxed(epoch_); }))
    return fail(Errc::truncated_file, "the header of '" + segment->name() + "' was cut while it was made", segment->name());
  if (segment->stream()) {
    if (auto lane = add_lane(*segment); !lane) return fail(lane.error());
  } else if (auto published = publish(*segment); !published) {
    return published;
  }
  segments_[segment->name()] = segment;
  return {};
}

void SegmentStore::remove_files(Segment& segment) noexcept {
  try {
    unlink_files(segment);
  } catch (const std::bad_alloc&) {
    // gc, or the next broker, removes what is left.
  }
}

void SegmentStore::unlink_files(Segment& segment) {
  const bool beside = segment.manifest.backing == Backing::file;
  // Manifests first: without one the rest is litter that a restart removes.
  ::unlinkat(runtime_.segments.get(), (protocol::path_component(segment.name()) + ".json").c_str(), 0);
  ATOLL_KILL_POINT("broker.remove.manifest");
  if (segment.broken && segment.broken->code == Errc::in_use) return;  // another broker's
  segment.memfds.clear();
  // By the directory that is open: looking for another way in takes a descriptor.
  if (segment.directory) {
    for (const char* const name : {"manifest.json", "manifest.json.new", "bell", "header", "data"}) ::unlinkat(segment.directory.get(), name, 0);
    for (const protocol::ManifestFile& file : segment.manifest.files) remove_segment_file(segment, file);
  }
  if (!segment.directory_path.empty()) ::rmdir(segment.directory_path.c_str());
  if (beside) {
    if (auto above = open_data_directory(segment.manifest.directory)) remove_tree_at(above->get(), segment.directory_name());
  } else {
    remove_tree_at(runtime_.shm.get(), segment.directory_name());
  }
  segment.directory.reset();
  ATOLL_KILL_POINT("broker.remove.files");
}

void SegmentStore::remove(const SegmentPtr& segment) {
  journal_.append({{"t", "removing"}, {"name", segment->name()}, {"generation", segment->manifest.generation}, {"directory", segment->manifest.directory}});
  ATOLL_KILL_POINT("broker.remove.intent");
  segment->removed = true;
  if (segment->header)
    static_cast<void>(guarded([&] {
      (segment->stream() ? segment->stream_header()->state : segment->bytes_header()->state)
          .store_release(static_cast<std::uint32_t>(protocol::SegmentState::removed));
    }));
  ATOLL_KILL_POINT("broker.remove.state");
  changed(*segment);
  ATOLL_KILL_POINT("broker.remove.told");
  remove_files(*segment);
  segments_.erase(segment->name());
  journal_.append({{"t", "removed"}, {"name", segment->name()}, {"generation", segment->manifest.generation}});
}

void SegmentStore::ring(Segment& segment) {
  if (segment.bell) ring_sleepers(*segment.bell.as<protocol::BellFile>(), *runtime_.bells);
}

void SegmentStore::changed(Segment& segment) {
  if (segment.header)
    static_cast<void>(guarded([&] { (segment.stream() ? segment.stream_header()->changes : segment.bytes_header()->changes).fetch_add(1); }));
  ring(segment);
}

Result<void> SegmentStore::finish_interrupted(const Replay& replay) {
  // The last word on each generation decides.
  std::map<std::uint64_t, json> open;
  for (const json& entry : replay.entries) {
    const std::string type = entry["t"];
    const std::uint64_t generation = entry_number(entry, "generation");
    if (type == "creating" || type == "removing") open[generation] = entry;
    if (type == "created" || type == "removed") open.erase(generation);
    if (type == "creating" || type == "counters") generation_ = std::max(generation_, generation);
  }
  for (const auto& [generation, entry] : open) {
    Segment segment;
    segment.manifest.name = entry_text(entry, "name");
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
    if (there || !text) {
      remove_files(segment);
    } else if (segment.manifest.backing == Backing::file) {
      if (auto above = open_data_directory(segment.manifest.directory)) remove_tree_at(above->get(), segment.directory_name());
    } else {
      remove_tree_at(runtime_.shm.get(), segment.directory_name());
    }
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
  } else if (auto adopted = adopt(*segment); !adopted) {
    segment->broken = adopted.error();
  }
  if (segment->broken && wants(*segment->broken)) return fail(*segment->broken);
  if (text) segment->manifest_text = *text;
  generation_ = std::max(generation_, segment->manifest.generation);
  if (segment->broken) {
    segment->broken->segment = name;
    if (!segment->awaiting_memory) spdlog::error("'{}' cannot be used: {}", name, segment->broken->message);
  } else {
    segment->manifest_text = protocol::manifest_text(segment->manifest);
    spdlog::info("'{}' adopted: {} generation {}, {} lanes, {} groups", name, protocol::kind_name(segment->manifest.kind), segment->manifest.generation,
                 segment->lanes.size(), segment->groups.size());
  }
  segments_[name] = std::move(segment);
  return {};
}

Result<void> SegmentStore::adopt(Segment& segment) {
  const protocol::Manifest& manifest = segment.manifest;
  if (manifest.backing == Backing::memfd) {
    segment.awaiting_memory = true;
    for (const protocol::ManifestFile& file : manifest.files)
      if (const auto at = remembered_.memory.find({manifest.generation, protocol::role_name(file.role), file.index}); at != remembered_.memory.end())
        segment.memory[{file.role, file.index}] = at->second;
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
  if (auto claimed = claim_directory(segment); !claimed) return claimed;
  return adopt_files(segment);
}

void SegmentStore::remove_strays(Segment& segment) noexcept {
  try {
    const auto entries = list_directory(segment.directory.get());
    if (!entries) return;
    for (const std::string& entry : *entries) {
      bool known = entry == "manifest.json";
      for (const protocol::ManifestFile& file : segment.manifest.files)
        known = known || file.path == segment.directory_path + "/" + entry;
      if (!known) ::unlinkat(segment.directory.get(), entry.c_str(), 0);
    }
  } catch (...) {
  }
}

// A lane or group whose file cannot be opened is damaged, and the others are not.
Result<void> SegmentStore::adopt_files(Segment& segment) {
  for (const protocol::ManifestFile& file : segment.manifest.files) {
    auto fd = open_segment_file(segment, file, false);
    const bool part = file.role == Role::lane || file.role == Role::group;
    if (!fd && (!part || passes(fd.error()))) return fail(fd.error());
    if (!fd) spdlog::error("{}", fd.error().message);
    segment.next_incarnation = std::max(segment.next_incarnation, file.incarnation + 1);
    if (file.role == Role::lane) {
      Lane lane;
      lane.number = file.index;
      lane.incarnation = file.incarnation;
      // Whoever owned it is named by the journal; until then it is nobody's.
      lane.state = protocol::LaneState::orphaned;
      lane.damaged = !fd;
      protocol::LaneHeader header{};
      if (fd && ::pread(fd->get(), static_cast<void*>(&header), sizeof header, 0) == sizeof header &&
          header.state.raw == static_cast<std::uint32_t>(protocol::LaneState::closed))
        lane.state = protocol::LaneState::closed;
      lane.last_uid = segment.manifest.uid;
      // Who had it before may still write to it. A memfd lane counts as one that had a producer, whoever that was.
      constexpr std::uint64_t kSomebody = ~0ull;
      if (segment.manifest.backing == Backing::memfd) lane.producer_id = kSomebody;
      if (const auto at = remembered_.producers.find({segment.manifest.generation, lane.number}); at != remembered_.producers.end()) {
        lane.last_uid = at->second.uid;
        lane.last_gone = at->second.gone;
        lane.producer_id = kSomebody;
      }
      segment.lanes[lane.number] = std::move(lane);
    }
    if (file.role == Role::group) {
      Group group;
      group.id = file.index;
      group.incarnation = file.incarnation;
      group.name = file.group;
      group.flags = file.group_flags;
      group.damaged = !fd;
      segment.groups[group.id] = std::move(group);
    }
  }
  if (segment.manifest.backing != Backing::memfd) remove_strays(segment);
  if (auto mapped = map_control_files(segment); !mapped) return mapped;
  std::uint64_t lanes = 0;
  std::uint32_t groups = 0;
  for (const auto& [number, lane] : segment.lanes) lanes |= 1ull << number;
  // Producers could not learn how far a damaged group has read.
  for (const auto& [id, group] : segment.groups)
    if (!group.damaged) groups |= 1u << id;
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
    if (missing(file) && file.role != Role::lane && file.role != Role::group) return false;
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
  if (!offered) return false;
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
