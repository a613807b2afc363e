#include "control_group.hpp"

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace atoll_ipc::daemon {
namespace {

// What the two versions of control groups call the same things (the kernel's cgroup-v2.rst and cgroup-v1/memory.rst).
struct Names {
  const char* limit;
  const char* usage;
  std::array<const char*, 3> dropped_at_need;  // of memory.stat
};
constexpr Names kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", {"total_active_file", "total_inactive_file", ""}};  // counts the kernel's own memory apart
constexpr Names kVersion2{"memory.max", "memory.current", {"active_file", "inactive_file", "slab_reclaimable"}};

struct Hierarchy {
  const Names* names = nullptr;
  std::string top;   // where it is mounted
  std::string path;  // of the group, below it: empty or from '/' on
};

bool among(const std::string& list, const std::string& word) { return ("," + list + ",").find("," + word + ",") != std::string::npos; }

// This process's group, as /proc/self/cgroup has it: "0::PATH", or "N:memory:PATH".
std::optional<std::string> path_of_group(bool version2) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version2 ? controllers.empty() : among(controllers, "memory")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// Where both versions are mounted, memory is version 1's if that has it.
std::optional<Hierarchy> find_hierarchy() {
  std::optional<Hierarchy> found;
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line), right(line.substr(dash + 3));
    std::string id, parent, device, root, top, type, source, options;
    left >> id >> parent >> device >> root >> top;
    right >> type >> source >> options;
    const bool version2 = type == "cgroup2";
    if (!version2 && !(type == "cgroup" && among(options, "memory"))) continue;
    auto path = path_of_group(version2);
    if (!path) continue;
    // In a container the mount may begin at the group itself.
    if (root != "/" && path->rfind(root, 0) == 0) path->erase(0, root.size());
    if (*path == "/") path->clear();
    // Without its own namespace a container sees a path that it has no files of; its group is then at the top.
    if (!std::ifstream(top + *path + "/cgroup.procs")) path->clear();
    found = Hierarchy{version2 ? &kVersion2 : &kVersion1, top, *path};
    if (!version2) break;
  }
  return found;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;  // "max", or no such file
}

std::optional<ControlGroup> memory_of(const std::string& folder, const Names& names) {
  const auto limit = number_in(folder + "/" + names.limit), usage = number_in(folder + "/" + names.usage);
  if (!limit || !usage || *limit > 1ull << 60) return std::nullopt;
  ControlGroup memory{folder, *limit, *usage};
  std::ifstream stat(folder + "/memory.stat");
  for (std::string name; stat >> name;) {
    std::uint64_t bytes = 0;
    if (!(stat >> bytes)) break;
    for (const char* const dropped : names.dropped_at_need)
      if (name == dropped) memory.used -= bytes < memory.used ? bytes : memory.used;
  }
  return memory;
}

}  // namespace

std::optional<ControlGroup> tightest_control_group() noexcept {
  try {
    const auto hierarchy = find_hierarchy();
    if (!hierarchy) return std::nullopt;
    std::optional<ControlGroup> tightest;
    for (std::string path = hierarchy->path;; path.erase(path.rfind('/'))) {
      if (const auto memory = memory_of(hierarchy->top + path, *hierarchy->names); memory && (!tightest || memory->left() < tightest->left())) tightest = memory;
      if (path.empty()) return tightest;
    }
  } catch (...) {  // no memory to look
    return std::nullopt;
  }
}

}  // namespace atoll_ipc::daemon
