#include "segment_store.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "clock.hpp"
#include "data_directory.hpp"
#include "guard.hpp"
#include "lane_recovery.hpp"
#include "segment_files.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;
using protocol::Backing;
using protocol::Role;

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
    struct stat status {};
    const bool of_others = ::fstatat(above->get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid != ::geteuid();
    if (!inner && !of_others) return fail(inner.error());
    if (!inner) continue;
    auto text = read_file_at(inner->get(), "manifest.json", protocol::kMaxManifest, "the manifest in " + directory + "/" + entry);
    if (!text && !spoilt(text.error())) return fail(text.error());
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
  relocate(best, directory);
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
  // What lies there and is no segment, or not to be read, is not touched.
  while (manifest.backing == Backing::file && ::faccessat(above.get(), segment->directory_name().c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) manifest.generation = ++generation_;
  journal_.append({{"t", "creating"}, {"name", manifest.name}, {"generation", manifest.generation}, {"directory", manifest.directory}, {"uuid", protocol::uuid_text(manifest.uuid)}});
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
    if (auto claimed = claim_directory(*segment); !claimed) {
      segment->directory.reset();  // what lies there is not ours
      segment->directory_path.clear();
      return undo(claimed.error());
    }
    if (auto noted = shm ? Result<void>() : note_boot(segment->directory); !noted) return undo(noted.error());
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
  // Manifests first: without one the rest is litter that a restart removes.
  ::unlinkat(runtime_.segments.get(), (protocol::path_component(segment.name()) + ".json").c_str(), 0);
  ATOLL_KILL_POINT("broker.remove.manifest");
  segment.memfds.clear();
  // By the directory that is open, which is ours: looking for another way in takes a descriptor.
  const bool open = segment.directory.get() >= 0;
  if (open) {
    for (const char* const name : {"manifest.json", "manifest.json.new", "boot", "boot.new", "bell", "header", "data"}) ::unlinkat(segment.directory.get(), name, 0);
    for (const protocol::ManifestFile& file : segment.manifest.files) remove_segment_file(segment, file);
    if (const auto strays = list_directory(segment.directory.get()))
      for (const std::string& stray : *strays) ::unlinkat(segment.directory.get(), stray.c_str(), 0);
    segment.directory.reset();
  }
  if (!segment.directory_path.empty()) ::rmdir(segment.directory_path.c_str());  // if it is empty
  if (segment.manifest.backing != Backing::file)
    remove_tree_at(runtime_.shm.get(), segment.directory_name());
  else if (!open)
    remove_data(segment.manifest.directory, segment.directory_name(), protocol::uuid_text(segment.manifest.uuid));
  ATOLL_KILL_POINT("broker.remove.files");
}

void SegmentStore::remove(const SegmentPtr& segment) {
  journal_.append({{"t", "removing"}, {"name", segment->name()}, {"generation", segment->manifest.generation}, {"directory", segment->manifest.directory},
                   {"uuid", protocol::uuid_text(segment->manifest.uuid)}});
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

}  // namespace atoll_ipc::daemon
