// The places where a broker lives: its runtime directory (of the socket) and its shared memory directory.
//
// open() checks both, takes the lock that this process then holds for life, and makes the files that
// all clients share: `bells` and `life`. Nothing here is shared with another broker.
#pragma once

#include <cstdint>
#include <string>

#include "atoll/protocol/bell.hpp"
#include "files.hpp"
#include "options.hpp"
#include "result.hpp"

namespace atoll_ipc::daemon {

struct RuntimeDirectory {
  std::string path;           // the socket's directory
  std::string socket_name;    // in it
  std::string socket_path;
  std::string shm_path;       // /dev/shm/atoll-<uid>/<id>
  std::string segments_path;  // <path>/segments
  UniqueFd directory;
  UniqueFd segments;
  UniqueFd shm;
  UniqueFd shm_parent;  // /dev/shm/atoll-<uid>
  UniqueFd lock;
  UniqueFd life;
  UniqueFd bells_file;
  Mapping bells_mapping;
  protocol::BellsFile* bells = nullptr;

  // Errors: socket_path_too_long, bad_runtime_directory, broker_running, no_space.
  static Result<RuntimeDirectory> open(const Options& options);
};

// The name of a broker's directory under /dev/shm/atoll-<uid>: FNV-1a 64 of its runtime directory's path.
std::string directory_id(const std::string& path);

// Puts bells.life on this thread's robust list, so that the kernel marks it when this process dies,
// and wakes those who slept through the last broker's death.
void announce_life(protocol::BellsFile& bells);

}  // namespace atoll_ipc::daemon
