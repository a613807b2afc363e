#include "data_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include "process.hpp"

namespace atoll_ipc::daemon {
namespace {

bool taken_by_another(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; }

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

Result<void> claim_directory(const Segment& segment) {
  if (segment.manifest.backing != protocol::Backing::file || !taken_by_another(segment.directory.get())) return {};
  return fail(Errc::in_use, "another broker has the data of '" + segment.name() + "' in " + segment.directory_path, segment.name(), 0,
              "use that broker's socket, or stop it and restart this one");
}

Result<std::optional<protocol::Manifest>> manifest_beside(const UniqueFd& directory) {
  auto text = read_file_at(directory.get(), "manifest.json", protocol::kMaxManifest, "the manifest beside the data");
  if (!text && !spoilt(text.error())) return fail(text.error());
  protocol::Manifest manifest;
  if (!text || protocol::parse_manifest(*text, manifest)) return std::nullopt;
  return manifest;
}

void relocate(protocol::Manifest& manifest, const std::string& directory) {
  manifest.directory = directory;
  const std::string entry = protocol::path_component(manifest.name) + "@" + std::to_string(manifest.generation);
  for (protocol::ManifestFile& file : manifest.files)
    if (const auto slash = file.path.rfind('/'); slash != std::string::npos) file.path = directory + "/" + entry + file.path.substr(slash);
}

bool claimed_in_this_boot(const UniqueFd& directory) {
  const auto text = read_file_at(directory.get(), "boot", 64, "the file boot");
  return text ? !text->empty() && *text == boot_id() : !spoilt(text.error());  // not known: it may be
}

Result<void> note_boot(const UniqueFd& directory) { return replace_file_at(directory.get(), "boot", boot_id(), false, "the file boot beside the data"); }

void remove_data(const std::string& above, const std::string& entry, const std::string& uuid) {
  const auto parent = open_data_directory(above);
  if (!parent) return;
  {
    const auto directory = open_directory_at(parent->get(), entry);
    if (!directory || taken_by_another(directory->get())) return;
    const auto manifest = manifest_beside(*directory);
    if (!manifest || (*manifest && !uuid.empty() && protocol::uuid_text((*manifest)->uuid) != uuid)) return;
  }
  remove_tree_at(parent->get(), entry);
}

}  // namespace atoll_ipc::daemon
