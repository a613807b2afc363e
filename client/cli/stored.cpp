#include "stored.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "atoll/protocol/names.hpp"
#include "atoll/protocol/wire.hpp"

namespace atoll_ipc::cli {
namespace {

namespace fs = std::filesystem;

fs::path segments_directory(const std::string& socket) { return fs::path(socket).parent_path() / "segments"; }

// Nothing (a null manifest) if it cannot be read or is no manifest.
StoredSegment read_manifest(const fs::path& path) {
  constexpr std::size_t kMost = 1u << 20;  // manifests have at most 256 KiB
  std::string text;
  std::error_code problem;
  if (fs::is_regular_file(path, problem) && fs::file_size(path, problem) <= kMost && !problem) {
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  StoredSegment segment{path.string(), Json::parse(text, nullptr, false)};
  const bool complete = segment.manifest.is_object() && segment.manifest.value("name", Json()).is_string() &&
                        segment.manifest.value("kind", Json()).is_string() && segment.manifest.value("files", Json()).is_array() &&
                        segment.manifest.value("uid", Json()).is_number_unsigned() &&
                        segment.manifest.value("created_ns", Json()).is_number_unsigned();
  if (!complete) segment.manifest = nullptr;
  return segment;
}

std::string user_name(std::uint64_t uid) {
  const passwd* entry = ::getpwuid(static_cast<uid_t>(uid));
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

}  // namespace

std::string socket_path(const std::string& option) {
  std::string path = option;
  if (path.empty())
    if (const char* given = ::secure_getenv("ATOLL_SOCKET"); given != nullptr) path = given;
  if (!path.empty()) {
    std::error_code problem;
    const fs::path absolute = fs::absolute(path, problem);
    return problem ? path : absolute.string();
  }
  const char* runtime = ::secure_getenv("XDG_RUNTIME_DIR");
  path = runtime != nullptr && *runtime == '/' ? std::string(runtime) + "/atoll/atoll.sock"
                                               : "/tmp/atoll-" + std::to_string(::geteuid()) + "/atoll.sock";
  return ::access(path.c_str(), F_OK) != 0 && ::access(protocol::kMachineSocket, F_OK) == 0 ? protocol::kMachineSocket : path;
}

std::vector<StoredSegment> stored_segments(const std::string& socket) {
  std::vector<StoredSegment> found;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(segments_directory(socket), problem)) {
    if (entry.path().extension() != ".json") continue;
    StoredSegment segment = read_manifest(entry.path());
    if (!segment.manifest.is_null()) found.push_back(std::move(segment));
  }
  std::sort(found.begin(), found.end(), [](const StoredSegment& a, const StoredSegment& b) { return a.manifest["name"] < b.manifest["name"]; });
  return found;
}

Result<StoredSegment> stored_segment(const std::string& socket, const std::string& name) {
  if (!protocol::valid_name(name)) return fail(Errc::invalid_name, "'" + name + "' is not a valid name", name);
  StoredSegment segment = read_manifest(segments_directory(socket) / (protocol::path_component(name) + ".json"));
  if (segment.manifest.is_null() || segment.manifest["name"] != name)
    return fail(Errc::unknown_segment, "there is no segment '" + name + "' (and no broker is running)", name);
  return segment;
}

Json describe(const StoredSegment& segment) {
  const Json& manifest = segment.manifest;
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  std::size_t lanes = 0;
  std::size_t groups = 0;
  for (const Json& file : manifest["files"]) {
    if (!file.is_object()) continue;
    if (const Json bytes = file.value("size", Json()); bytes.is_number_unsigned()) size += bytes.get<std::uint64_t>();
    const Json role = file.value("role", Json());
    lanes += role == "lane";
    groups += role == "group";
    struct stat status {};
    if (const Json path = file.value("path", Json()); path.is_string() && ::stat(path.get<std::string>().c_str(), &status) == 0)
      resident += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  const auto uid = manifest["uid"].get<std::uint64_t>();
  const auto created = manifest["created_ns"].get<std::uint64_t>();
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::uint64_t now_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  return {{"name", manifest["name"]},
          {"kind", manifest["kind"]},
          {"backing", manifest.value("backing", Json())},
          {"size", size},
          {"resident", resident},
          {"owner", user_name(uid)},
          {"uid", uid},
          {"producers", nullptr},
          {"consumers", nullptr},
          {"observers", nullptr},
          {"lanes", lanes},
          {"groups", groups},
          {"state", "offline"},
          {"generation", manifest.value("generation", Json())},
          {"uuid", manifest.value("uuid", Json())},
          {"created_ns", created},
          {"age_ns", now_ns > created ? now_ns - created : 0}};
}

}  // namespace atoll_ipc::cli
