// What can be said of the segments while no broker runs: their manifests stay in the runtime
// directory, and the commands that only look read them there.
//
// Nothing here needs the broker or changes anything. Manifests that cannot be read are left out:
// the next broker reports them.
#pragma once

#include <string>
#include <vector>

#include "atoll/error.hpp"
#include "output.hpp"

namespace atoll_ipc::cli {

struct StoredSegment {
  std::string manifest_path;
  Json manifest;
};

// The socket that a client would use, given --socket; its directory is the runtime directory.
[[nodiscard]] std::string socket_path(const std::string& option);

[[nodiscard]] std::vector<StoredSegment> stored_segments(const std::string& socket);
// Errors: unknown_segment, invalid_name.
Result<StoredSegment> stored_segment(const std::string& socket, const std::string& name);

// The keys of the interface's type Segment, from the manifest; what only a broker knows is null and
// state is "offline".
[[nodiscard]] Json describe(const StoredSegment& segment);

}  // namespace atoll_ipc::cli
